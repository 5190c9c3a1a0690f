"""The top layer: pods that compute on every GPU of every node, each told apart by its UUID."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime

from bootstrap.kube.client import ApiError, Cluster
from bootstrap.progress import Progress
from bootstrap.verify.ended import NOT_ADMITTED, Computed, refused
from bootstrap.verify.following import Following, allocatable_now
from bootstrap.verify.pods import (
    ACCOUNT,
    GPU_RESOURCE,
    PAYLOAD,
    POD_DEADLINE_S,
    Assignment,
    PodKind,
    assign,
    pod_manifest,
)

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
    resource: str = GPU_RESOURCE,
) -> dict[str, Computed]:
    """Run the vector addition on every free GPU of the nodes; the namespace made for it is deleted at the end.

    `allocatable` maps node names to what they have of `resource`; a node with none is not asked. With `unasked` a
    container beside it, which asks for no GPU, counts those that it sees.
    """
    namespace = "gpuctl-verify-" + re.sub(r"[^a-z0-9]+", "-", run_id.lower()).strip("-")
    assignments = _assigned(cluster, {node: count for node, count in allocatable.items() if count}, resource)
    results = {a.node: Computed(a.node, held=a.held) for a in assignments if not a.gpus}
    wanted = [a for a in assignments if a.gpus > 0]
    if not wanted:
        return results
    kind = PodKind(image, runtime_class, resource, unasked)
    try:
        _sweep(cluster)
        _make_namespace(cluster, namespace)
        results |= _round(cluster, namespace, wanted, kind, timeout_s, progress)
        # GPUs that became unhealthy, or another pod's, after the node was looked at: once more with those left.
        left = _left(cluster, [a for a in wanted if results[a.node].code == NOT_ADMITTED], resource)
        results |= {a.node: Computed(a.node, held=a.held) for a in left if not a.gpus and a.held}
        if again := [replace(a, again=True) for a in left if a.gpus]:
            results |= _round(cluster, namespace, again, kind, timeout_s, progress)
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
    kind: PodKind,
    timeout_s: float,
    progress: Progress,
) -> dict[str, Computed]:
    """One pod per assignment, until all have ended. What the API server refuses concerns that pod, and no other."""
    results: dict[str, Computed] = {}
    for assignment in wanted:
        progress.started(assignment.node, "compute")
        try:
            cluster.call("POST", f"/api/v1/namespaces/{namespace}/pods", body=pod_manifest(assignment, kind))
        except ApiError as error:
            results[assignment.node] = refused(assignment.node, error, assignment.held)
            progress.failed(assignment.node, "compute", results[assignment.node].error)
    started = [a for a in wanted if a.node not in results]
    return results | Following(cluster, namespace, started, kind.resource, timeout_s, progress).collect()


def _assigned(cluster: Cluster, allocatable: Mapping[str, int], resource: str) -> tuple[Assignment, ...]:
    return assign((cluster.get("/api/v1/pods") or {}).get("items", []), allocatable, resource)


def _left(cluster: Cluster, refused_ones: Sequence[Assignment], resource: str) -> tuple[Assignment, ...]:
    """What the nodes of these assignments have for a pod now, if there is any that has none."""
    if not refused_ones:
        return ()
    return _assigned(cluster, {a.node: allocatable_now(cluster, a.node, resource) for a in refused_ones}, resource)


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
