"""The top layer: pods that compute on every GPU of every node, each told apart by its UUID."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from bootstrap.kube.client import ApiError, Cluster
from bootstrap.progress import Progress
from bootstrap.verify.ended import NOT_ADMITTED, Computed, finished, refused, stuck
from bootstrap.verify.pods import (
    ACCOUNT,
    FINISHED,
    GPU_RESOURCE,
    PAYLOAD,
    POD_DEADLINE_S,
    Assignment,
    assign,
    pod_manifest,
    pod_name,
)

_PAUSE_S = 0.4
LIVES = "gpuctl.io/lives-s"  # on a namespace: for how long pods may run there, where it is not POD_DEADLINE_S


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
        fewer = _fewer(cluster, [a for a in wanted if results[a.node].code == NOT_ADMITTED])
        if fewer:
            results |= _round(cluster, namespace, fewer, image, runtime_class, timeout_s, progress, unasked)
    except ApiError as error:
        late = [a.node for a in wanted if a.node not in results]
        results |= {node: refused(node, error) for node in late}
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
    """One pod per assignment, until all have ended. What the API server refuses concerns that pod, and no other."""
    results: dict[str, Computed] = {}
    for assignment in wanted:
        manifest = pod_manifest(assignment, image, runtime_class, unasked=unasked)
        progress.started(assignment.node, "compute")
        try:
            cluster.call("POST", f"/api/v1/namespaces/{namespace}/pods", body=manifest)
        except ApiError as error:
            results[assignment.node] = refused(assignment.node, error, assignment.held)
            progress.failed(assignment.node, "compute", results[assignment.node].error)
    started = [a for a in wanted if a.node not in results]
    return results | _collect(cluster, namespace, started, timeout_s, progress)


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
    cluster.call("POST", f"/api/v1/namespaces/{namespace}/serviceaccounts", body={"metadata": {"name": ACCOUNT}})
    payload = {"metadata": {"name": "payload"}, "data": {PAYLOAD.name: PAYLOAD.read_text(encoding="utf-8")}}
    cluster.call("POST", f"/api/v1/namespaces/{namespace}/configmaps", body=payload)


def _delete_namespace(cluster: Cluster, namespace: str) -> None:
    """Best effort: an API that does not answer was reported already."""
    with suppress(ApiError):
        cluster.delete(f"/api/v1/namespaces/{namespace}")


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
            through = pod.get("status", {}).get("phase") in FINISHED
            short = name in open_ones and not through and _lost_its_gpus(cluster, pod, open_ones[name])
            if name not in open_ones or not (through or late or short):
                continue
            assignment = open_ones.pop(name)
            if short:
                cluster.delete(f"/api/v1/namespaces/{namespace}/pods/{name}")
                words = f"{assignment.gpus} GPUs were allocatable, and are not any more"
                result = Computed(assignment.node, code=NOT_ADMITTED, error=words, held=assignment.held)
            elif through:
                result = finished(cluster, namespace, pod, assignment)
            else:
                result = stuck(cluster, namespace, pod, assignment)
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
