"""What an earlier cluster, or an earlier container runtime, left on a host."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from bootstrap.checks.common import Say, begun
from bootstrap.checks.finding import Finding

if TYPE_CHECKING:
    from bootstrap.inventory.model import Inventory
    from bootstrap.probe.facts import HostFacts


def leftovers(inventory: Inventory, facts: Mapping[str, HostFacts]) -> Iterator[Finding]:
    """Hosts that belong to another cluster than this inventory's, or to one that is gone."""
    # An admin.conf that was moved away is made again; etcd's data is what a cluster is.
    held = [f.cluster for f in _control_planes(inventory, facts) if _ours(f)]
    alive = {traces.ca_hash for traces in held if traces.admin_conf or traces.etcd_data} - {None}
    everyone = all(h.name in facts for h in inventory.control_plane)
    for host in inventory.nodes:
        found = facts.get(host.name)
        if found is None:
            continue
        message = _trouble(host.is_control_plane, found, frozenset(alive), everyone)
        if message:
            fix = f"if nobody needs it: gpuctl reset --limit {host.name}, then run again"
            yield Say(host.name, "leftover-cluster").refuse(message, fix)


def _control_planes(inventory: Inventory, facts: Mapping[str, HostFacts]) -> list[HostFacts]:
    return [facts[h.name] for h in inventory.control_plane if h.name in facts]


def _ours(facts: HostFacts) -> bool:
    """A cluster that gpuctl began, or that works: both can be gone on with."""
    return begun(facts, "kubeadm") or (facts.kube is not None and facts.kube.error is None)


def _trouble(control_plane: bool, facts: HostFacts, alive: frozenset[str | None], everyone: bool) -> str | None:
    """What is wrong with the traces on one host; `alive` are the CA hashes of this inventory's cluster."""
    traces = facts.cluster
    if control_plane and (traces.admin_conf or traces.etcd_data) and not _ours(facts):
        return "it holds parts of a cluster that gpuctl did not make and whose API does not answer"
    node_of = traces.kubelet_ca_hash
    if not traces.kubelet_conf or node_of is None:
        return None
    if alive and node_of not in alive:
        return f"it is a node of another cluster ({traces.server or 'unknown server'})"
    if not alive and everyone and not control_plane:
        return f"it is a node of a cluster that this inventory does not hold ({traces.server or 'unknown server'})"
    return None
