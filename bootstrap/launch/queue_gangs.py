"""What bites later in a queue's configuration of several pods: a job that hangs, or that loses its logs. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from bootstrap.launch.queue_file import QueueConfig
from bootstrap.launch.queue_rules import Caution

_ENDING = frozenset({"AbortJob", "TerminateJob", "CompleteJob", "RestartJob"})
_FAILING = frozenset({"PodFailed", "*"})


def gang_cautions(config: QueueConfig) -> Iterator[Caution]:
    """Of a Volcano Job or a PyTorchJob; of anything else nothing."""
    version = str(config.kubernetes.get("apiVersion") or "")
    if version.startswith("batch.volcano.sh/"):
        yield from _volcano(config)
    elif version.startswith("kubeflow.org/") and config.kubernetes.get("kind") == "PyTorchJob":
        yield from _pytorchjob(config)


def _volcano(config: QueueConfig) -> Iterator[Caution]:
    spec = _mapping(config.kubernetes.get("spec"))
    tasks = [_mapping(task) for task in _list(spec.get("tasks"))]
    if not _ends(spec) and not (tasks and all(_ends(task) for task in tasks)):
        words = "no policy for PodFailed: when a worker fails the job goes on, and holds its GPUs; give it TerminateJob"
        yield Caution(words, config.at(("spec",)))
    least = spec.get("minAvailable")
    replicas = [task.get("replicas", 1) for task in tasks]
    if least is not None and (_number(least) is None or any(_number(count) is None for count in replicas)):
        words = "minAvailable beside replicas that vary: leave it out, and Volcano takes their sum"
        if [least] != replicas:
            yield Caution(words, config.at(("spec", "minAvailable")))
    elif least is not None and _number(least) != sum(_number(count) or 0 for count in replicas):
        words = f"minAvailable {least} is not the number of pods: a job that begins with fewer waits for the others"
        yield Caution(words, config.at(("spec", "minAvailable")))
    flags = _mapping(spec.get("plugins")).get("pytorch")
    if flags is not None:
        master = next((str(f).partition("=")[2] for f in _list(flags) if str(f).startswith("--master=")), "master")
        if master not in [task.get("name") for task in tasks]:
            words = f"the pytorch plugin finds no task called {master}: no pod will have RANK and MASTER_ADDR"
            yield Caution(words, config.at(("spec", "plugins")))


def _ends(holder: Mapping[str, Any]) -> bool:
    """Whether a job, or a task, has a policy that ends the job when a pod of it fails."""
    for policy in map(_mapping, _list(holder.get("policies"))):
        events = {str(event) for event in (policy.get("event"), *_list(policy.get("events")))}
        if events & _FAILING and str(policy.get("action")) in _ENDING:
            return True
    return False


def _pytorchjob(config: QueueConfig) -> Iterator[Caution]:
    spec = _mapping(config.kubernetes.get("spec"))
    if _number(_mapping(spec.get("runPolicy")).get("backoffLimit")) == 0:
        words = "backoffLimit 0: the operator deletes failed pods with their logs; leave it out"
        yield Caution(words, config.at(("spec", "runPolicy")))
    for name, replica in _mapping(spec.get("pytorchReplicaSpecs")).items():
        pod = _mapping(_mapping(_mapping(replica).get("template")).get("spec"))
        names = [_mapping(container).get("name") for container in _list(pod.get("containers"))]
        if names and "pytorch" not in names:
            words = f"{name}: no container is called pytorch, which the operator looks for"
            yield Caution(words, config.at(("spec", "pytorchReplicaSpecs", str(name))))


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _number(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None
