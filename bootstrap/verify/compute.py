"""The top layer: pods that compute on every GPU of every node, each told apart by its UUID."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bootstrap.hostside.gpuctl_strictjson import misshapen, parse
from bootstrap.kube.client import ApiError, Cluster
from bootstrap.progress import Progress

GPU_RESOURCE = "nvidia.com/gpu"
_PAYLOAD = Path(__file__).parent / "payload" / "vectoradd.py"
_PAUSE_S = 0.4
POD_DEADLINE_S = 900  # a pod whose gpuctl was killed gives its GPUs back by itself
LIVES = "gpuctl.io/lives-s"  # on a namespace: for how long pods may run there, where it is not POD_DEADLINE_S
_NOT_ADMITTED = "allocatable-short"
_FINISHED = frozenset({"Succeeded", "Failed"})
_UNASKED = "without-gpus"
# The variable is what images made for GPUs come with: by itself it must give a container nothing.
_COUNT = "import glob, json; print(json.dumps({'gpus': len(glob.glob('/dev/nvidia[0-9]*'))}))"
_UNPRIVILEGED = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "runAsNonRoot": True,
    "runAsUser": 65534,
    "seccompProfile": {"type": "RuntimeDefault"},
}


@dataclass(frozen=True, slots=True)
class Computed:
    """What one node's pod came to.

    `devices` are the payload's reports; `code` and `error` are set when there are none; `held` names pods that hold
    GPUs which could not be tested: "namespace/pod (2 GPUs)". `unasked` counts the GPUs that a container saw which asked
    for none; None where that was not looked at.
    """

    node: str
    devices: tuple[Mapping[str, Any], ...] = ()
    code: str = ""
    error: str = ""
    held: tuple[str, ...] = ()
    unasked: int | None = None


@dataclass(frozen=True, slots=True)
class Assignment:
    """How many GPUs the pod on a node takes, and who holds the others."""

    node: str
    gpus: int
    held: tuple[str, ...]


def assign(pods: Sequence[Mapping[str, Any]], allocatable: Mapping[str, int]) -> tuple[Assignment, ...]:
    """One pod per node, with all the GPUs that no other pod holds."""
    held: dict[str, list[tuple[str, int]]] = {node: [] for node in allocatable}
    for pod in pods:
        node = pod.get("spec", {}).get("nodeName")
        count = _gpus_of(pod)
        if node in held and count and pod.get("status", {}).get("phase") not in _FINISHED:
            held[node].append((f"{pod['metadata']['namespace']}/{pod['metadata']['name']}", count))
    return tuple(
        Assignment(
            node,
            total - sum(count for _, count in held[node]),
            tuple(f"{name} ({count} GPUs)" for name, count in held[node]),
        )
        for node, total in allocatable.items()
    )


def compute(
    cluster: Cluster,
    allocatable: Mapping[str, int],
    *,
    run_id: str,
    image: str,
    runtime_class: str,
    timeout_s: float,
    progress: Progress,
    unasked: bool = False,
) -> dict[str, Computed]:
    """Run the vector addition on every free GPU of the nodes; the namespace made for it is deleted at the end.

    `allocatable` maps node names to GPU counts; a node with none is not asked. With `unasked` a container beside it,
    which asks for no GPU, counts those that it sees.
    """
    namespace = "gpuctl-verify-" + re.sub(r"[^a-z0-9]+", "-", run_id.lower()).strip("-")
    pods = (cluster.get("/api/v1/pods") or {}).get("items", [])
    assignments = assign(pods, {node: count for node, count in allocatable.items() if count})
    results = {
        a.node: Computed(a.node, code="gpu-taken", error="all GPUs are held", held=a.held)
        for a in assignments
        if a.gpus <= 0
    }
    wanted = [a for a in assignments if a.gpus > 0]
    if not wanted:
        return results
    try:
        _sweep(cluster)
        _make_namespace(cluster, namespace)
        results |= _round(cluster, namespace, wanted, image, runtime_class, timeout_s, progress, unasked)
        # GPUs that became unhealthy after the node was looked at: once more with those that are left.
        fewer = _fewer(cluster, [a for a in wanted if results[a.node].code == _NOT_ADMITTED])
        if fewer:
            results |= _round(cluster, namespace, fewer, image, runtime_class, timeout_s, progress, unasked)
    except ApiError as error:
        late = [a.node for a in wanted if a.node not in results]
        results |= {node: Computed(node, code="compute-failed", error=error.message) for node in late}
    finally:
        _delete_namespace(cluster, namespace)
    return results


def _round(
    cluster: Cluster,
    namespace: str,
    wanted: Sequence[Assignment],
    image: str,
    runtime_class: str,
    timeout_s: float,
    progress: Progress,
    unasked: bool,
) -> dict[str, Computed]:
    """One pod per assignment, until all have ended."""
    for assignment in wanted:
        manifest = pod_manifest(assignment, image, runtime_class, unasked=unasked)
        cluster.call("POST", f"/api/v1/namespaces/{namespace}/pods", body=manifest)
        progress.started(assignment.node, "compute")
    return _collect(cluster, namespace, wanted, timeout_s, progress)


def _fewer(cluster: Cluster, refused: Sequence[Assignment]) -> list[Assignment]:
    """The assignments that fit what the nodes offer now."""
    fitting = []
    for assignment in refused:
        node = cluster.get(f"/api/v1/nodes/{assignment.node}") or {}
        offered = int(node.get("status", {}).get("allocatable", {}).get(GPU_RESOURCE, 0))
        if 0 < offered < assignment.gpus:
            fitting.append(Assignment(assignment.node, offered, assignment.held))
    return fitting


def _sweep(cluster: Cluster) -> None:
    """Delete what killed runs left: namespaces of ours in which no pod may still run."""
    found = cluster.get("/api/v1/namespaces", {"labelSelector": "app.kubernetes.io/name=gpuctl-verify"}) or {}
    for item in found.get("items", []):
        made = datetime.fromisoformat(item["metadata"]["creationTimestamp"])
        lives = str((item["metadata"].get("annotations") or {}).get(LIVES))
        if (datetime.now(UTC) - made).total_seconds() > (int(lives) if lives.isdecimal() else POD_DEADLINE_S):
            _delete_namespace(cluster, item["metadata"]["name"])


def _make_namespace(cluster: Cluster, namespace: str) -> None:
    labels = {"app.kubernetes.io/managed-by": "gpuctl", "app.kubernetes.io/name": "gpuctl-verify"}
    cluster.call("POST", "/api/v1/namespaces", body={"metadata": {"name": namespace, "labels": labels}})
    payload = {"metadata": {"name": "payload"}, "data": {_PAYLOAD.name: _PAYLOAD.read_text(encoding="utf-8")}}
    cluster.call("POST", f"/api/v1/namespaces/{namespace}/configmaps", body=payload)


def _delete_namespace(cluster: Cluster, namespace: str) -> None:
    """Best effort: an API that does not answer was reported already."""
    with suppress(ApiError):
        cluster.delete(f"/api/v1/namespaces/{namespace}")


def pod_name(assignment: Assignment) -> str:
    """Unlike for another number of GPUs, so that a second round does not meet the first one's pod."""
    return f"compute-{assignment.node}-{assignment.gpus}"


def pod_manifest(assignment: Assignment, image: str, runtime_class: str, *, unasked: bool = False) -> dict[str, Any]:
    """The pod that computes on `assignment.gpus` GPUs of one node, under the restricted pod security standard."""
    return {
        "metadata": {"name": pod_name(assignment), "labels": {"app.kubernetes.io/managed-by": "gpuctl"}},
        "spec": {
            "restartPolicy": "Never",
            "activeDeadlineSeconds": POD_DEADLINE_S,
            **({"runtimeClassName": runtime_class} if runtime_class else {}),
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "terminationGracePeriodSeconds": 1,
            "nodeSelector": {"kubernetes.io/hostname": assignment.node},
            "tolerations": [{"operator": "Exists"}],
            "containers": [
                {
                    "name": "compute",
                    "image": image,
                    "imagePullPolicy": "IfNotPresent",
                    "command": ["python3", f"/payload/{_PAYLOAD.name}"],
                    "resources": {"limits": {GPU_RESOURCE: str(assignment.gpus)}},
                    "securityContext": _UNPRIVILEGED,
                    "volumeMounts": [{"name": "payload", "mountPath": "/payload", "readOnly": True}],
                },
                *([_container_without(image)] if unasked else []),
            ],
            "volumes": [{"name": "payload", "configMap": {"name": "payload"}}],
        },
    }


def _container_without(image: str) -> dict[str, Any]:
    return {
        "name": _UNASKED,
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "command": ["python3", "-c", _COUNT],
        "env": [{"name": "NVIDIA_VISIBLE_DEVICES", "value": "all"}],
        "securityContext": _UNPRIVILEGED,
    }


def _collect(
    cluster: Cluster, namespace: str, wanted: Sequence[Assignment], timeout_s: float, progress: Progress
) -> dict[str, Computed]:
    """Wait for all pods; a pod that is not through at the deadline is reported with what it last said."""
    begun = time.monotonic()
    open_ones = {pod_name(a): a for a in wanted}
    results: dict[str, Computed] = {}
    while open_ones:
        listed = (cluster.get(f"/api/v1/namespaces/{namespace}/pods") or {}).get("items", [])
        late = time.monotonic() - begun > timeout_s
        for pod in listed:
            name = pod["metadata"]["name"]
            finished = pod.get("status", {}).get("phase") in _FINISHED
            short = name in open_ones and not finished and _lost_its_gpus(cluster, pod, open_ones[name])
            if name not in open_ones or not (finished or late or short):
                continue
            assignment = open_ones.pop(name)
            if short:
                cluster.delete(f"/api/v1/namespaces/{namespace}/pods/{name}")
                words = f"{assignment.gpus} GPUs were allocatable, and are not any more"
                result = Computed(assignment.node, code=_NOT_ADMITTED, error=words, held=assignment.held)
            elif finished:
                result = _finished(cluster, namespace, pod, assignment)
            else:
                result = _stuck(cluster, namespace, pod, assignment)
            results[assignment.node] = result
            if result.error:
                progress.failed(assignment.node, "compute", result.error)
            else:
                progress.done(assignment.node, "compute", time.monotonic() - begun)
        if open_ones and late:
            return results | {
                a.node: Computed(a.node, code="pod-pending", error="its pod vanished") for a in open_ones.values()
            }
        time.sleep(_PAUSE_S)
    return results


def _lost_its_gpus(cluster: Cluster, pod: Mapping[str, Any], assignment: Assignment) -> bool:
    """Whether a pod finds no place since its node offers fewer GPUs than when it was asked for."""
    conditions = pod.get("status", {}).get("conditions") or []
    if not any(c.get("type") == "PodScheduled" and GPU_RESOURCE in str(c.get("message")) for c in conditions):
        return False
    return bool(_fewer(cluster, [assignment]))


def _finished(cluster: Cluster, namespace: str, pod: Mapping[str, Any], assignment: Assignment) -> Computed:
    status = pod.get("status", {})
    if status.get("phase") == "Failed" and not status.get("containerStatuses"):
        words = str(status.get("message") or status.get("reason") or "the kubelet did not admit the pod")
        return Computed(assignment.node, code=_NOT_ADMITTED, error=words, held=assignment.held)
    path = f"/api/v1/namespaces/{namespace}/pods/{pod['metadata']['name']}/log"
    names = [container.get("name") for container in pod.get("spec", {}).get("containers", [])]
    try:
        report = parse_report(cluster.text(path, {"container": "compute"}), assignment)
        beside = cluster.text(path, {"container": _UNASKED}) if _UNASKED in names else ""
    except ApiError as error:
        return Computed(assignment.node, code="compute-failed", error=error.message, held=assignment.held)
    return replace(report, unasked=_counted(beside))


def _counted(log: str) -> int | None:
    """What the container without GPUs has counted; None where it said nothing of the kind."""
    try:
        found = parse(log.strip().splitlines()[-1])["gpus"]
    except (ValueError, LookupError, TypeError):
        return None
    return found if isinstance(found, int) else None


def parse_report(log: str, assignment: Assignment) -> Computed:
    """The payload's JSON document, the last line of its log that is one."""
    for line in reversed(log.strip().splitlines()):
        try:
            report = parse(line)
        except ValueError:
            continue
        if isinstance(report, dict) and not misshapen({"devices!": [dict]}, report):
            error = str(report.get("error") or "")
            code = str(report.get("code") or ("compute-failed" if error else ""))
            return Computed(assignment.node, tuple(report["devices"]), code, error, assignment.held)
    last = log.strip().splitlines()[-1:] or ["its pod said nothing"]
    return Computed(assignment.node, code="compute-failed", error=last[0][:300], held=assignment.held)


def _stuck(cluster: Cluster, namespace: str, pod: Mapping[str, Any], assignment: Assignment) -> Computed:
    """Why a pod is not through: the scheduler's or the kubelet's own words."""
    status = pod.get("status", {})
    for container in status.get("containerStatuses", []):
        waiting = container.get("state", {}).get("waiting")
        if waiting and "Pull" in str(waiting.get("reason")):
            return Computed(
                assignment.node, code="image-pull-failed", error=str(waiting.get("message") or waiting["reason"])
            )
        if container.get("state", {}).get("running"):
            return Computed(assignment.node, code="compute-failed", error="the computation does not end")
    query = {"fieldSelector": f"involvedObject.name={pod['metadata']['name']}"}
    events = (cluster.get(f"/api/v1/namespaces/{namespace}/events", query) or {}).get("items", [])
    words = next((str(e.get("message")) for e in reversed(events) if e.get("type") == "Warning"), "no event says why")
    return Computed(assignment.node, code="pod-pending", error=words, held=assignment.held)


def _gpus_of(pod: Mapping[str, Any]) -> int:
    containers = pod.get("spec", {}).get("containers", [])
    return sum(int(c.get("resources", {}).get("limits", {}).get(GPU_RESOURCE, 0)) for c in containers)
