"""A node is emptied before a step disrupts it, and given back as it was: cordon, drain, act, wait, restore."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from bootstrap.access import Access
from bootstrap.errors import GpuctlError, Problem
from bootstrap.exit_codes import ExitCode
from bootstrap.inventory.model import Host
from bootstrap.kube.client import ApiError, Cluster, cluster_api
from bootstrap.plan.cluster_view import ClusterView
from bootstrap.progress import Progress

DRAIN_DEADLINE_S = 600.0  # pods may ask for minutes to save a checkpoint
READY_DEADLINE_S = 600.0  # a reboot of a server with much memory takes minutes
_PAUSE_S = 1.0
MARK = "gpuctl/cordoned"  # annotation of a node that gpuctl cordoned, so that a later run may give it back
_TOO_MANY_REQUESTS = 429  # what the API answers while a PodDisruptionBudget forbids an eviction


@dataclass(slots=True)
class Emptied:
    """What the body of `drained` says of itself: a node whose step failed is not given back."""

    succeeded: bool = False


@contextmanager
def drained(seed: Host, node: str, view: ClusterView, access: Access, progress: Progress) -> Iterator[Emptied]:
    """While the body runs, the node is cordoned and holds no pods but those of DaemonSets.

    After a body that sets `succeeded` the node is waited for, and its cordon is as it was before gpuctl set one; after
    another it stays cordoned, and the next run gives it back.

    Raises:
        GpuctlError: pods do not leave, the node does not come back, or the API does not answer within the deadline
            (exit 5); the node stays cordoned then, and the error says so.
    """
    emptied = Emptied()
    if view.kube is None or node not in view.nodes:
        yield emptied
        return
    with _answering(node), cluster_api(seed, access) as cluster:
        foreign = _cordoned_by_others(cluster, node)
        _cordon(cluster, node, foreign=foreign)
        progress.note(f"{node}: cordoned; its pods are asked to leave")
        _drain(cluster, node, progress)
    yield emptied
    if not emptied.succeeded:
        progress.note(f"{node}: stays cordoned until its step has succeeded")
        return
    with _answering(node), _once_it_answers(seed, access) as cluster:
        _wait_ready(cluster, node, progress)
        if not foreign:
            _uncordon(cluster, node)
            progress.note(f"{node}: takes pods again")


@contextmanager
def _answering(node: str) -> Iterator[None]:
    """The API's refusals as the problem of the node."""
    try:
        yield
    except ApiError as error:
        fix = f"once the API answers: run the same command again, or `kubectl uncordon {node}`"
        words = f"the API refused while the node was emptied: {error.message} (it may stay cordoned)"
        raise GpuctlError(ExitCode.STEP_FAILED, Problem("drain-refused", words, fix, node)) from error


@contextmanager
def _once_it_answers(seed: Host, access: Access) -> Iterator[Cluster]:
    """The API, waited for: the step may have restarted what it runs on."""
    deadline = time.monotonic() + READY_DEADLINE_S
    while True:
        try:
            with cluster_api(seed, access) as cluster:
                cluster.get("/version")
                break
        except (ApiError, GpuctlError):
            if time.monotonic() > deadline:
                raise
            time.sleep(_PAUSE_S)
    with cluster_api(seed, access) as cluster:
        yield cluster


def _cordoned_by_others(cluster: Cluster, node: str) -> bool:
    """Whether somebody else cordoned the node: our own cordon of an interrupted run carries our mark."""
    found = cluster.get(f"/api/v1/nodes/{node}") or {}
    mark = found.get("metadata", {}).get("annotations", {}).get(MARK)
    return bool(found.get("spec", {}).get("unschedulable")) and mark is None


def _cordon(cluster: Cluster, node: str, *, foreign: bool) -> None:
    annotations = {} if foreign else {MARK: "true"}
    _patch(cluster, node, {"metadata": {"annotations": annotations}, "spec": {"unschedulable": True}})


def _uncordon(cluster: Cluster, node: str) -> None:
    _patch(cluster, node, {"metadata": {"annotations": {MARK: None}}, "spec": {"unschedulable": None}})


def _patch(cluster: Cluster, node: str, body: dict[str, Any]) -> None:
    cluster.call("PATCH", f"/api/v1/nodes/{node}", body=body, content_type="application/strategic-merge-patch+json")


def _drain(cluster: Cluster, node: str, progress: Progress) -> None:
    deadline, said = time.monotonic() + DRAIN_DEADLINE_S, ""
    while pods := _evictable(cluster, node):
        names = ", ".join(f"{p['metadata']['namespace']}/{p['metadata']['name']}" for p in pods)
        if time.monotonic() > deadline:
            fix = f"look at these pods (a PodDisruptionBudget?) and run again; node back: `kubectl uncordon {node}`"
            raise GpuctlError(ExitCode.STEP_FAILED, Problem("drain-timeout", f"pods do not leave: {names}", fix, node))
        for pod in pods:
            _evict(cluster, pod)
        if names != said:
            progress.note(f"{node}: waiting for {names} to leave")
            said = names
        time.sleep(_PAUSE_S)


def _evictable(cluster: Cluster, node: str) -> list[dict[str, Any]]:
    """Pods that a drain moves: neither a DaemonSet's, nor static, nor finished."""
    found = cluster.get("/api/v1/pods", {"fieldSelector": f"spec.nodeName={node}"}) or {}
    return [pod for pod in found.get("items", []) if _moves(pod)]


def _moves(pod: dict[str, Any]) -> bool:
    owners = {owner["kind"] for owner in pod["metadata"].get("ownerReferences", [])}
    static = "kubernetes.io/config.mirror" in pod["metadata"].get("annotations", {})
    finished = pod.get("status", {}).get("phase") in {"Succeeded", "Failed"}
    return not (static or finished or owners & {"DaemonSet", "Node"})


def _evict(cluster: Cluster, pod: dict[str, Any]) -> None:
    name, namespace = pod["metadata"]["name"], pod["metadata"]["namespace"]
    body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name, "namespace": namespace}}
    try:
        cluster.call("POST", f"/api/v1/namespaces/{namespace}/pods/{name}/eviction", body=body, missing_ok=True)
    except ApiError as error:
        if error.status != _TOO_MANY_REQUESTS:
            raise GpuctlError(
                ExitCode.STEP_FAILED,
                Problem("drain-refused", f"{namespace}/{name}: {error.message}", "remove the pod, then run again"),
            ) from error


def _wait_ready(cluster: Cluster, node: str, progress: Progress) -> None:
    deadline = time.monotonic() + READY_DEADLINE_S
    while True:
        conditions = (cluster.get(f"/api/v1/nodes/{node}") or {}).get("status", {}).get("conditions", [])
        ready = next((c for c in conditions if c["type"] == "Ready"), {"status": "Unknown", "message": "no status yet"})
        if ready["status"] == "True":
            return
        if time.monotonic() > deadline:
            fix = f"once the node is well: `kubectl uncordon {node}`"
            words = f"does not come back: {ready.get('message')} (it stays cordoned)"
            raise GpuctlError(ExitCode.STEP_FAILED, Problem("node-not-ready", words, fix, node))
        progress.note(f"{node}: waiting until it is Ready")
        time.sleep(_PAUSE_S)
