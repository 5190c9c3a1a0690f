"""What the API says of the cluster before any pod is started: nodes, device plugins, and what every pod needs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

from bootstrap.errors import Problem
from bootstrap.kube.client import ApiError, Cluster
from bootstrap.verify.nodes import NodeSeen, node_seen
from bootstrap.verify.plugins import PluginPod, PluginSet, PluginView, obstacle, plugin_pods, plugin_sets
from bootstrap.verify.system import system_problems

_LOG_LINES = "5"


@dataclass(frozen=True, slots=True)
class ClusterSeen:
    """`problems` are the cluster's own: what no host is to blame for."""

    nodes: Mapping[str, NodeSeen] = field(default_factory=dict)
    plugins: Mapping[str, PluginView] = field(default_factory=dict)
    problems: tuple[Problem, ...] = ()


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
    deployments = _items(cluster, "/apis/apps/v1/namespaces/kube-system/deployments")
    problems = system_problems(daemonsets, deployments, len(nodes), runtime_class if not has_class else "")
    return ClusterSeen(nodes, views, problems)


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
