"""The top layer: pods that compute on every GPU of every node, each told apart by its UUID."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bootstrap.kube.client import ApiError, Cluster
from bootstrap.progress import Progress

GPU_RESOURCE = "nvidia.com/gpu"
_PAYLOAD = Path(__file__).parent / "payload" / "vectoradd.py"
_PAUSE_S = 0.4
_FINISHED = frozenset({"Succeeded", "Failed"})


@dataclass(frozen=True, slots=True)
class Computed:
    """What one node's pod came to.

    `devices` are the payload's reports; `code` and `error` are set when there are none; `held` names pods that hold
    GPUs which could not be tested: "namespace/pod (2 GPUs)".
    """

    node: str
    devices: tuple[Mapping[str, Any], ...] = ()
    code: str = ""
    error: str = ""
    held: tuple[str, ...] = ()


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
) -> dict[str, Computed]:
    """Run the vector addition on every free GPU of the nodes; the namespace made for it is deleted at the end.

    `allocatable` maps node names to GPU counts; a node with none is not asked.
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
        _create(cluster, namespace, wanted, image, runtime_class)
        for assignment in wanted:
            progress.started(assignment.node, "compute")
        results |= _collect(cluster, namespace, wanted, timeout_s, progress)
    except ApiError as error:
        results |= {a.node: Computed(a.node, code="compute-failed", error=error.message) for a in wanted}
    finally:
        cluster.delete(f"/api/v1/namespaces/{namespace}")
    return results


def _create(cluster: Cluster, namespace: str, wanted: Sequence[Assignment], image: str, runtime_class: str) -> None:
    labels = {"app.kubernetes.io/managed-by": "gpuctl", "app.kubernetes.io/name": "gpuctl-verify"}
    cluster.call("POST", "/api/v1/namespaces", body={"metadata": {"name": namespace, "labels": labels}})
    payload = {"metadata": {"name": "payload"}, "data": {_PAYLOAD.name: _PAYLOAD.read_text(encoding="utf-8")}}
    cluster.call("POST", f"/api/v1/namespaces/{namespace}/configmaps", body=payload)
    for assignment in wanted:
        cluster.call(
            "POST", f"/api/v1/namespaces/{namespace}/pods", body=pod_manifest(assignment, image, runtime_class)
        )


def pod_manifest(assignment: Assignment, image: str, runtime_class: str) -> dict[str, Any]:
    """The pod that computes on `assignment.gpus` GPUs of one node, under the restricted pod security standard."""
    return {
        "metadata": {"name": f"compute-{assignment.node}", "labels": {"app.kubernetes.io/managed-by": "gpuctl"}},
        "spec": {
            "restartPolicy": "Never",
            "runtimeClassName": runtime_class,
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
                    "securityContext": {
                        "allowPrivilegeEscalation": False,
                        "capabilities": {"drop": ["ALL"]},
                        "runAsNonRoot": True,
                        "runAsUser": 65534,
                        "seccompProfile": {"type": "RuntimeDefault"},
                    },
                    "volumeMounts": [{"name": "payload", "mountPath": "/payload", "readOnly": True}],
                }
            ],
            "volumes": [{"name": "payload", "configMap": {"name": "payload"}}],
        },
    }


def _collect(
    cluster: Cluster, namespace: str, wanted: Sequence[Assignment], timeout_s: float, progress: Progress
) -> dict[str, Computed]:
    """Wait for all pods; a pod that is not through at the deadline is reported with what it last said."""
    begun = time.monotonic()
    open_ones = {f"compute-{a.node}": a for a in wanted}
    results: dict[str, Computed] = {}
    while open_ones:
        listed = (cluster.get(f"/api/v1/namespaces/{namespace}/pods") or {}).get("items", [])
        late = time.monotonic() - begun > timeout_s
        for pod in listed:
            name = pod["metadata"]["name"]
            finished = pod.get("status", {}).get("phase") in _FINISHED
            if name not in open_ones or not (finished or late):
                continue
            assignment = open_ones.pop(name)
            result = (
                _finished(cluster, namespace, pod, assignment)
                if finished
                else _stuck(cluster, namespace, pod, assignment)
            )
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


def _finished(cluster: Cluster, namespace: str, pod: Mapping[str, Any], assignment: Assignment) -> Computed:
    log = cluster.text(f"/api/v1/namespaces/{namespace}/pods/{pod['metadata']['name']}/log")
    return parse_report(log, assignment)


def parse_report(log: str, assignment: Assignment) -> Computed:
    """The payload's JSON document, the last line of its log that is one."""
    for line in reversed(log.strip().splitlines()):
        try:
            report = json.loads(line)
        except json.JSONDecodeError:
            continue
        if isinstance(report, dict) and isinstance(report.get("devices"), list):
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
    words = next((str(e["message"]) for e in reversed(events) if e.get("type") == "Warning"), "no event says why")
    return Computed(assignment.node, code="pod-pending", error=words, held=assignment.held)


def _gpus_of(pod: Mapping[str, Any]) -> int:
    containers = pod.get("spec", {}).get("containers", [])
    return sum(int(c.get("resources", {}).get("limits", {}).get(GPU_RESOURCE, 0)) for c in containers)
