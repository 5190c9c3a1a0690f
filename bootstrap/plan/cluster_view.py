"""What all probes together say about the cluster: which host holds it, who is missing, who is extra."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from bootstrap.errors import GpuctlError, Problem
from bootstrap.exit_codes import ExitCode
from bootstrap.hostside.gpuctl_receipts import known_arguments
from bootstrap.inventory.model import Inventory
from bootstrap.probe.facts import HostFacts, KubeFacts, NodeFacts


@dataclass(frozen=True)  # without slots: nodes are looked up for each component of each host, and made a mapping once
class ClusterView:
    """The live cluster as its own control plane reports it.

    `seed` is the control-plane host that has the live cluster, else the first of the inventory; `kube` is None while
    no API answers; `exists` says whether any control-plane host shows a cluster that was ready once. The seed of a
    minikube inventory is its host, and `kube` is what a profile says that gpuctl has put something into.
    """

    seed: str
    exists: bool
    kube: KubeFacts | None

    @cached_property
    def nodes(self) -> Mapping[str, NodeFacts]:
        """Node name → node, empty while no API answers."""
        return {node.name: node for node in self.kube.nodes} if self.kube else {}


def view_cluster(inventory: Inventory, facts: Mapping[str, HostFacts]) -> ClusterView:
    """Find the host that holds the live cluster.

    Raises:
        GpuctlError: two control-plane hosts hold different clusters (exit 4): joining either would be a guess.
    """
    if inventory.minikube:
        name = inventory.minikube.name
        profile = facts[name].kube if name in facts and _answers(facts[name]) else None
        return ClusterView(seed=name, exists=profile is not None, kube=profile)
    holders = [h.name for h in inventory.control_plane if h.name in facts and _holds_cluster(facts[h.name])]
    _refuse_two_clusters(holders, facts)
    holders.sort(key=lambda name: recorded_argument(facts[name], "kubeadm", "kubeadm_role") != "init")
    live = [name for name in holders if _answers(facts[name])]
    seed = (live or holders or [inventory.control_plane[0].name])[0]
    kube = facts[seed].kube if live else None
    return ClusterView(seed=seed, exists=bool(holders), kube=kube)


def recorded_argument(facts: HostFacts, component: str, variable: str) -> Any:
    """The value that the host's receipt has for an argument; None when it has none."""
    return facts.receipts.get(component, {}).get("arguments", {}).get(variable, {}).get("value")


def recorded_for_cluster(view: ClusterView, component: str, variable: str) -> Any:
    """The value that the cluster's own receipt has for an argument; None when it has none."""
    receipt = view.kube.receipts.get(component, {}) if view.kube else {}
    return (known_arguments(receipt).get(variable) or {}).get("value")


def node_name(facts: HostFacts) -> str:
    """The name under which kubeadm registers the host: its hostname in lower case."""
    return facts.hostname.lower()


def extra_nodes(view: ClusterView, facts: Mapping[str, HostFacts]) -> tuple[str, ...]:
    """Nodes of the cluster that no probed host is, sorted."""
    known = {node_name(f) for f in facts.values()}
    return tuple(sorted(set(view.nodes) - known))


def _holds_cluster(facts: HostFacts) -> bool:
    """A finished init or join; half an init (receipt begun, API never ready) is not a cluster."""
    if not (facts.cluster.admin_conf and facts.cluster.etcd_data):
        return False
    receipt = facts.receipts.get("kubeadm")
    return _answers(facts) or receipt is None or receipt.get("state") == "complete"


def _answers(facts: HostFacts) -> bool:
    return facts.kube is not None and facts.kube.error is None and bool(facts.kube.nodes)


def _refuse_two_clusters(holders: list[str], facts: Mapping[str, HostFacts]) -> None:
    by_ca: dict[str, str] = {}
    for name in holders:
        by_ca.setdefault(facts[name].cluster.ca_hash or "unknown", name)
    if len(by_ca) > 1:
        first, second = list(by_ca.values())[:2]
        raise GpuctlError(
            ExitCode.PREFLIGHT,
            Problem(
                "leftover-cluster",
                f"holds another cluster than {first} (their certificate authorities differ)",
                fix=f"decide which cluster to keep, then `gpuctl reset --limit {second}` on the other host",
                host=second,
            ),
        )
