"""What bites later in a queue's configuration of several pods: a job that hangs, or that loses its logs. Pure.

What Volcano and the training operator make of it was read in their sources, releases 1.15.1 and 1.9.3.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from bootstrap.launch.queue_file import Place, QueueConfig
from bootstrap.launch.queue_rules import Caution

_ENDING = frozenset({"AbortJob", "TerminateJob", "CompleteJob", "RestartJob"})
# By a pod's restartPolicy: what Volcano makes of a failure. TaskFailed comes of restarts alone (three, or maxRetry).
_FAILING = {"Never": ("PodFailed",), "OnFailure": ("TaskFailed",), "Always": ("TaskFailed",)}
_FAILING_SOMEHOW = ("PodFailed", "TaskFailed")
_RESTARTING = ("OnFailure", "Always")


def gang_cautions(config: QueueConfig) -> Iterator[Caution]:
    """Of a Volcano Job or a PyTorchJob; of anything else nothing."""
    version, kind = str(config.kubernetes.get("apiVersion") or ""), config.kubernetes.get("kind")
    spec = _mapping(config.kubernetes.get("spec"))
    if version.startswith("batch.volcano.sh/") and kind == "Job":
        found = _volcano(spec)
    elif version.startswith("kubeflow.org/") and kind == "PyTorchJob":
        found = _pytorchjob(spec)
    else:
        return
    for words, place in found:
        yield Caution(words, config.at(("spec", *place)))


def _volcano(spec: Mapping[str, Any]) -> Iterator[tuple[str, Place]]:
    tasks = [_mapping(task) for task in _list(spec.get("tasks"))]
    replicas = [task.get("replicas") or 0 for task in tasks]
    if replicas != [1] and any(not _restarts(task) and not _ends(task, spec) for task in tasks):
        words = "no policy for PodFailed: when a worker fails the job goes on, and holds its GPUs; give it TerminateJob"
        yield words, ()
    for index, task in enumerate(tasks):
        for words in _again(task, spec):
            yield f"task {task.get('name') or index}: {words}", ("tasks", index)
    if least := spec.get("minAvailable"):  # 0 is as if it were not there
        yield from ((words, ("minAvailable",)) for words in _fewer(least, replicas, "pods"))
    else:
        for index, task in enumerate(tasks):
            for words in _fewer(task.get("minAvailable"), replicas[index : index + 1], "its pods"):
                yield f"task {task.get('name') or index}: {words}", ("tasks", index, "minAvailable")
    plugins = _mapping(spec.get("plugins"))
    if "pytorch" in plugins:
        yield from ((f"the pytorch plugin {words}", ("plugins",)) for words in _ranks(plugins["pytorch"], tasks))


def _policy(task: Mapping[str, Any]) -> Any:
    """The restartPolicy of a task's pods."""
    return _mapping(_mapping(task.get("template")).get("spec")).get("restartPolicy")


def _restarts(task: Mapping[str, Any]) -> bool:
    """Whether a pod of the task that failed is started again where it is: it does not count as failed then."""
    return _policy(task) in (None, "", *_RESTARTING)


def _again(task: Mapping[str, Any], spec: Mapping[str, Any]) -> Iterator[str]:
    """What makes pods of a task start again without an end."""
    policy = _policy(task)
    if policy in (None, ""):
        yield "no restartPolicy, so Always: a pod that is done, or has failed, starts again; take Never"
    elif _restarts(task) and not _ends(task, spec):
        fix = "take Never, or a policy for TaskFailed"
        yield f"restartPolicy {policy}: a pod that failed starts again, and nothing ends the job; {fix}"


def _ends(task: Mapping[str, Any], spec: Mapping[str, Any]) -> bool:
    """Whether a failing pod of the task ends the job: by the first policy for it, and the task's come first."""
    events = _FAILING.get(str(_policy(task)), _FAILING_SOMEHOW)
    policies = [_mapping(policy) for policy in (*_list(task.get("policies")), *_list(spec.get("policies")))]
    for policy in policies:
        said = {str(event) for event in (policy.get("event"), *_list(policy.get("events")))}
        if said & {"*", *events}:
            return str(policy.get("action")) in _ENDING
    return False


def _fewer(least: Any, replicas: list[Any], whose: str) -> Iterator[str]:
    """What is wrong with a least number beside the numbers of pods, if one is given."""
    if least is None or [least] == replicas:
        return
    counts = [_number(count) for count in replicas]
    if _number(least) is None or None in counts:
        yield "minAvailable beside replicas that vary: leave it out, and their sum is taken"
    elif least != sum(count or 0 for count in counts):
        yield f"minAvailable {least} is not the number of {whose}: a job that begins with fewer waits for the others"


def _ranks(flags: Any, tasks: list[Mapping[str, Any]]) -> Iterator[str]:
    """What keeps the pytorch plugin from giving each pod a RANK of its own."""
    master, worker = _flag(flags, "master"), _flag(flags, "worker")
    named = {str(task.get("name")): task for task in tasks}
    if master not in named:
        yield f"finds no task called {master}: no pod will have RANK and MASTER_ADDR"
        return
    if master == worker:
        yield f"takes task {master} for master and worker: no pod will have RANK 0"
    elif len(tasks) > 1 and worker not in named:
        yield f"finds no task called {worker}: no pod but the master will have RANK"
    count = _number(named[master].get("replicas"))
    if count is not None and count > 1:
        yield f"gives each of the {count} pods of task {master} RANK 0: have one, and the others as {worker}"


def _flag(flags: Any, name: str) -> str:
    """The value of a flag as Go reads it, `--name=value` or `--name value`; else its name, which is the default."""
    words = [str(word) for word in _list(flags)]
    for index, word in enumerate(words):
        key, equals, value = word.partition("=")
        if key in (f"-{name}", f"--{name}"):
            return value if equals else "".join(words[index + 1 : index + 2])
    return name


def _pytorchjob(spec: Mapping[str, Any]) -> Iterator[tuple[str, Place]]:
    run, replicas = _mapping(spec.get("runPolicy")), _mapping(spec.get("pytorchReplicaSpecs"))
    if _number(run.get("backoffLimit")) == 0:
        yield "backoffLimit 0: the operator deletes failed pods with their logs; leave it out", ("runPolicy",)
    rigid = spec.get("elasticPolicy") is None  # an elastic job goes on with fewer, and takes up those that come again
    if rigid:
        least = _mapping(run.get("schedulingPolicy")).get("minAvailable")
        given = [_mapping(replica).get("replicas") for replica in replicas.values()]
        counts = [1 if count is None else count for count in given]
        place: Place = ("runPolicy", "schedulingPolicy", "minAvailable")
        yield from ((words, place) for words in _fewer(least, counts, "pods"))
    for name, value in replicas.items():
        replica, place = _mapping(value), ("pytorchReplicaSpecs", str(name))
        policy = replica.get("restartPolicy")  # the pod's own is overwritten with it
        if rigid and run.get("backoffLimit") is None and policy in (None, "", *_RESTARTING):
            said = f"restartPolicy {policy}" if policy else "no restartPolicy, so OnFailure"
            yield f"{name}: {said}: a pod that failed starts again, and the job never ends; take Never", place
        pod = _mapping(_mapping(replica.get("template")).get("spec"))
        names = [_mapping(container).get("name") for container in _list(pod.get("containers"))]
        if names and "pytorch" not in names:
            yield f"{name}: no container is called pytorch, which the operator looks for", place


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _number(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None
