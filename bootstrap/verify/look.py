"""What the API says of the cluster before any pod is started: nodes, device plugins, and what every pod needs."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

from bootstrap.errors import Problem
from bootstrap.kube.client import ApiError, Cluster
from bootstrap.progress import Progress
from bootstrap.verify.nodes import NodeSeen, node_seen
from bootstrap.verify.plugins import PluginPod, PluginSet, PluginView, obstacle, plugin_pods, plugin_sets
from bootstrap.verify.system import is_starting, system_problems

_LOG_LINES = "5"
_SYSTEM = "/apis/apps/v1/namespaces/kube-system/deployments"
_START_S = 45.0  # CoreDNS pulls its image and is ready after some 20 s on a new node
_PAUSE_S = 0.5


@dataclass(frozen=True, slots=True)
class ClusterSeen:
    """`problems` are the cluster's own: what no host is to blame for. Some may pass while pods are `starting`."""

    nodes: Mapping[str, NodeSeen] = field(default_factory=dict)
    plugins: Mapping[str, PluginView] = field(default_factory=dict)
    problems: tuple[Problem, ...] = ()
    starting: bool = False


def look(cluster: Cluster, names: Sequence[str], runtime_class: str) -> ClusterSeen:
    """Look at these nodes, and at what the whole cluster needs. Raises ApiError."""
    items = _items(cluster, "/api/v1/nodes")
    nodes = {item["metadata"]["name"]: node_seen(item) for item in items}
    pods = _items(cluster, "/api/v1/pods")
    daemonsets = _items(cluster, "/apis/apps/v1/daemonsets")
    sets = plugin_sets(daemonsets)
    on_node = plugin_pods(pods, sets)
    there = [name for name in names if name in nodes]
    failures = {} if all(name in on_node for name in there) else _failures(cluster, sets)
    views = {}
    for name in there:
        mine = tuple(_with_log(cluster, pod) for pod in on_node.get(name, ()))
        views[name] = PluginView(sets, mine, None if mine else obstacle(nodes[name], sets, failures))
    has_class = not runtime_class or cluster.get(f"/apis/node.k8s.io/v1/runtimeclasses/{runtime_class}") is not None
    deployments = _items(cluster, _SYSTEM)
    problems = system_problems(daemonsets, deployments, len(nodes), runtime_class if not has_class else "")
    return ClusterSeen(nodes, views, problems, is_starting(daemonsets, deployments))


def settled(cluster: Cluster, seen: ClusterSeen, progress: Progress) -> tuple[Problem, ...]:
    """The cluster's own problems once what was starting has started, or could have. Raises ApiError."""
    if not seen.starting:
        return seen.problems
    progress.note("waiting for the cluster's DNS and kube-proxy to be ready")
    deadline = time.monotonic() + _START_S
    while True:
        daemonsets, deployments = _items(cluster, "/apis/apps/v1/daemonsets"), _items(cluster, _SYSTEM)
        if not is_starting(daemonsets, deployments) or time.monotonic() > deadline:
            kept = [problem for problem in seen.problems if problem.code == "runtimeclass-missing"]
            return (*system_problems(daemonsets, deployments, len(seen.nodes), ""), *kept)
        time.sleep(_PAUSE_S)


def _items(cluster: Cluster, path: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (cluster.get(path) or {}).get("items", [])
    return found


def _failures(cluster: Cluster, sets: Sequence[PluginSet]) -> dict[str, str]:
    """What the DaemonSet controller says of pods that it could not make, the newest of each."""
    found: dict[str, str] = {}
    for plugin in sets:
        query = {
            "fieldSelector": f"involvedObject.kind=DaemonSet,involvedObject.name={plugin.name},reason=FailedCreate"
        }
        events = (cluster.get(f"/api/v1/namespaces/{plugin.namespace}/events", query) or {}).get("items", [])
        for event in events:
            if event.get("reason") == "FailedCreate" and event.get("message"):
                found[str(plugin)] = str(event["message"])
    return found


def _with_log(cluster: Cluster, pod: PluginPod) -> PluginPod:
    """A pod that does not run, with the last line that it wrote before it ended."""
    for previous in ("true", "false") if pod.state != "Running" else ():
        with suppress(ApiError):
            query = {"tailLines": _LOG_LINES, "previous": previous}
            text = cluster.text(f"/api/v1/namespaces/{pod.namespace}/pods/{pod.name}/log", query)
            if lines := [line.strip() for line in text.splitlines() if line.strip()]:
                return replace(pod, log=lines[-1][:300])
    return pod
