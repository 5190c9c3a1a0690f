"""What keeps a job from ever beginning, found before anything of it is made."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from bootstrap.errors import GpuctlError, Problem
from bootstrap.exit_codes import ExitCode
from bootstrap.jobs.objects import MAKERS, path_of
from bootstrap.jobs.pods import GPU_RESOURCE, NAME_LABEL
from bootstrap.jobs.rights import Api, absent, read
from bootstrap.jobs.spec import JobSpec, Launcher
from bootstrap.kube.client import ApiError

TAKEN_FIX = "choose another --name, or delete it"
_MOST_NAMED = 4
_QUEUES = "/apis/scheduling.volcano.sh/v1beta1"


def refusals(api: Api, spec: JobSpec, objects: Sequence[Mapping[str, Any]]) -> Iterator[Problem]:
    """All that is wrong, as far as this user may read it. Raises ApiError: 403 only of the job's pods."""
    maker = MAKERS[spec.launcher]
    if maker.addon and not _served(api, f"/{maker.api}", maker.plural):
        fix = f"`gpuctl addon add {maker.addon}`, or choose --launcher job, which needs nothing"
        yield Problem("job-launcher-missing", f"the cluster knows no {maker.title}", fix)
        return
    if absent(api, f"/api/v1/namespaces/{spec.namespace}"):
        fix = f"`kubectl create namespace {spec.namespace}`, or choose another --namespace"
        yield Problem("job-namespace-unknown", f"there is no namespace {spec.namespace}", fix)
        return
    yield from _taken(api, spec, objects)
    if spec.gpus and spec.runtime_class and absent(api, _class_path(spec)):
        what, fix = f"the cluster has no runtime class {spec.runtime_class}", 'choose another, or --runtime-class ""'
        yield Problem("job-runtime-class-unknown", what, fix)
    if _has_queues(api, spec) and absent(api, f"{_QUEUES}/queues/{spec.queue}"):
        what = f"Volcano has no queue {spec.queue}"
        yield Problem("job-queue-unknown", what, "choose another --queue: `kubectl get queues.scheduling.volcano.sh`")
    if spec.gpus and (nodes := read(api, "/api/v1/nodes", None)) is not None:
        yield from _too_large(spec, nodes.get("items") or [])


def pods_of(api: Api, spec: JobSpec) -> list[dict[str, Any]]:
    """All pods that carry the job's name, whoever made them. Raises ApiError."""
    query = {"labelSelector": f"{NAME_LABEL}={spec.name}"}
    return list((api.get(f"/api/v1/namespaces/{spec.namespace}/pods", query) or {}).get("items") or [])


def without_missing_class(api: Api, spec: JobSpec) -> JobSpec:
    """The same without its runtime class where the cluster has none of that name: its nodes' own brings the GPUs then.

    Raises:
        GpuctlError: the API does not answer (exit 4).
    """
    try:
        missing = bool(spec.runtime_class) and absent(api, _class_path(spec))
    except ApiError as error:
        problem = Problem("cluster-unreachable", error.message, "look at the control plane")
        raise GpuctlError(ExitCode.PREFLIGHT, problem) from error
    return replace(spec, runtime_class="") if missing else spec


def _class_path(spec: JobSpec) -> str:
    return f"/apis/node.k8s.io/v1/runtimeclasses/{spec.runtime_class}"


def _served(api: Api, path: str, plural: str) -> bool:
    found = (read(api, path, {"resources": [{"name": plural}]}) or {}).get("resources") or []
    return any(item.get("name") == plural for item in found)


def _has_queues(api: Api, spec: JobSpec) -> bool:
    """Whether the job waits in a queue of Volcano's: the training operator leaves its pods to Volcano where that is."""
    operators = spec.launcher is Launcher.PYTORCHJOB
    return spec.launcher is Launcher.VOLCANO or (operators and _served(api, _QUEUES, "queues"))


def _taken(api: Api, spec: JobSpec, objects: Sequence[Mapping[str, Any]]) -> Iterator[Problem]:
    """Objects of that name, else pods: those of another launcher's job, or of one that is deleted and still ends."""
    there = [document for document in [*objects, *_made_later(spec)] if read(api, path_of(document), None) is not None]
    for document in there:
        what = f"{document['kind']} {spec.namespace}/{document['metadata']['name']} is there already"
        yield Problem("job-name-taken", what, TAKEN_FIX)
    pods = [] if there else [pod["metadata"] for pod in pods_of(api, spec)]
    names = ", ".join(str(meta["name"]) for meta in pods[:_MOST_NAMED]) + (", ..." if len(pods) > _MOST_NAMED else "")
    if pods and all(meta.get("deletionTimestamp") for meta in pods):
        what = f"pods of an earlier job {spec.name} are still ending in {spec.namespace}: {names}"
        yield Problem("job-name-taken", what, "wait until they are gone, or choose another --name")
    elif pods:
        what = f"pods of another job {spec.name} are in {spec.namespace}: {names}"
        yield Problem("job-name-taken", what, TAKEN_FIX)


def _made_later(spec: JobSpec) -> Iterator[dict[str, Any]]:
    """What the launcher itself makes under the job's name."""
    if spec.launcher in (Launcher.VOLCANO, Launcher.JOBSET):
        yield {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": spec.name, "namespace": spec.namespace},
        }


def _too_large(spec: JobSpec, nodes: Sequence[Mapping[str, Any]]) -> Iterator[Problem]:
    """More GPUs than there are: per node, or on so many nodes at once. What others hold now is a matter of waiting."""
    counts = [_gpus(node) for node in nodes]
    largest, places = max(counts, default=0), sum(count // spec.gpus for count in counts)
    wanted = f"{spec.nodes} pods with {spec.gpus} GPUs each"
    if spec.gpus > largest:
        has = f"the largest node has {largest}" if largest else "no node has any"
        yield Problem("job-too-large", f"{wanted}: {has}", "ask for fewer --gpus, on more --nodes")
    elif places < spec.nodes:
        room = f"the cluster's {sum(counts)} GPUs on {sum(count > 0 for count in counts)} nodes have room for {places}"
        yield Problem("job-too-large", f"{wanted}: {room}", "ask for fewer --nodes or --gpus")


def _gpus(node: Mapping[str, Any]) -> int:
    text = str((node.get("status") or {}).get("allocatable", {}).get(GPU_RESOURCE, "0"))
    return int(text) if text.isdecimal() else 0
