"""Pods that compute, followed to their ends, or until it is known why they have none."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from bootstrap.kube.client import Cluster
from bootstrap.progress import Progress
from bootstrap.verify.ended import NOT_ADMITTED, Computed, finished
from bootstrap.verify.pods import FINISHED, Assignment, assign, pod_name
from bootstrap.verify.stuck import Stuck, why_stuck

_PAUSE_S = 0.4
_EVENTS_S = 3.0  # how often events are asked for, while pods have not begun


class Following:
    """The pods of one round, in one namespace."""

    def __init__(
        self,
        cluster: Cluster,
        namespace: str,
        wanted: Sequence[Assignment],
        resource: str,
        timeout_s: float,
        progress: Progress,
    ) -> None:
        self._cluster, self._namespace, self._resource = cluster, namespace, resource
        self._open = {pod_name(a): a for a in wanted}
        self._begun, self._timeout_s, self._progress = time.monotonic(), timeout_s, progress
        self._events: list[Mapping[str, Any]] = []
        self._asked = 0.0
        self._stuck: dict[str, tuple[str, float]] = {}  # pod → code of what holds it up, and since when

    def collect(self) -> dict[str, Computed]:
        """Wait for all; a pod that does not come to its end is reported with the reason, as soon as there is one."""
        results: dict[str, Computed] = {}
        while self._open:
            late = time.monotonic() - self._begun > self._timeout_s
            listed = (self._cluster.get(f"/api/v1/namespaces/{self._namespace}/pods") or {}).get("items", [])
            for pod in listed:
                assignment = self._open.get(pod["metadata"]["name"])
                result = self._result(pod, assignment, late) if assignment else None
                if assignment and result:
                    del self._open[pod["metadata"]["name"]]
                    results[assignment.node] = result
                    self._tell(result)
            if self._open and late:
                return results | {a.node: _vanished(a) for a in self._open.values()}
            if self._open:
                time.sleep(_PAUSE_S)
        return results

    def _result(self, pod: Mapping[str, Any], assignment: Assignment, late: bool) -> Computed | None:
        """What the pod came to; None while there is hope."""
        if pod.get("status", {}).get("phase") in FINISHED:
            return finished(self._cluster, self._namespace, pod, assignment)
        name = pod["metadata"]["name"]
        why = why_stuck(pod, self._recent_events(pod))
        if why.code == "pod-pending" and self._resource in why.words and self._fewer_now(assignment):
            self._cluster.delete(f"/api/v1/namespaces/{self._namespace}/pods/{name}")
            words = f"{assignment.gpus} GPUs could be had, and cannot any more"
            return Computed(assignment.node, code=NOT_ADMITTED, error=words, held=assignment.held)
        if not (late or self._hopeless(name, why)):
            return None
        return Computed(assignment.node, code=why.code, error=why.words, held=assignment.held, fix=why.fix)

    def _hopeless(self, name: str, why: Stuck) -> bool:
        """Whether the same has held the pod up for as long as that can pass by itself."""
        code, since = self._stuck.get(name, ("", 0.0))
        if code != why.code:
            since = time.monotonic()
            self._stuck[name] = (why.code, since)
        return time.monotonic() - since >= why.patience_s

    def _recent_events(self, pod: Mapping[str, Any]) -> list[Mapping[str, Any]]:
        """The namespace's events, asked for now and then, and only where the pod's own status says nothing."""
        running = any(c.get("state", {}).get("running") for c in pod.get("status", {}).get("containerStatuses") or [])
        if not running and time.monotonic() - max(self._asked, self._begun) > _EVENTS_S:
            found = self._cluster.get(f"/api/v1/namespaces/{self._namespace}/events") or {}
            self._events, self._asked = found.get("items", []), time.monotonic()
        return self._events

    def _fewer_now(self, assignment: Assignment) -> bool:
        """Whether the node has fewer for the pod by now than it asks for."""
        count = allocatable_now(self._cluster, assignment.node, self._resource)
        pods = (self._cluster.get("/api/v1/pods") or {}).get("items", [])
        others = [pod for pod in pods if pod["metadata"].get("namespace") != self._namespace]
        return assign(others, {assignment.node: count}, self._resource)[0].gpus < assignment.gpus

    def _tell(self, result: Computed) -> None:
        if result.error:
            self._progress.failed(result.node, "compute", result.error)
        else:
            self._progress.done(result.node, "compute", time.monotonic() - self._begun)


def allocatable_now(cluster: Cluster, node: str, resource: str) -> int:
    """What the node has of the resource, whoever holds it."""
    found = cluster.get(f"/api/v1/nodes/{node}") or {}
    return int(found.get("status", {}).get("allocatable", {}).get(resource, 0))


def _vanished(assignment: Assignment) -> Computed:
    fix = "somebody deleted it: run again"
    return Computed(assignment.node, code="pod-pending", error="its pod vanished", held=assignment.held, fix=fix)
