"""Hosts of the inventory that could not be probed: what goes on without them, and what waits for them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from bootstrap.errors import Problem
from bootstrap.inventory.model import Host, Inventory
from bootstrap.plan.cluster_view import ClusterView
from bootstrap.plan.model import Effect, Step
from bootstrap.probe.facts import HostFacts, NodeFacts, Unreachable

# No answer, or that of another machine. Other failures (no such user, no sudo) come from the settings.
_GONE = frozenset({"unreachable", "host-key-changed", "probe-failed"})
_SKIP = "; to leave it out of this run: --skip-unreachable"


def problem_of_absent(probe: Unreachable) -> Problem:
    """What is said of a host that could not be probed, where the others are gone on with."""
    return Problem(probe.code, probe.message, probe.fix + _SKIP, probe.host)


def absent_hosts(inventory: Inventory, facts: Mapping[str, HostFacts]) -> tuple[Host, ...]:
    """Hosts that could not be probed, in the order of the inventory."""
    return tuple(host for host in inventory.hosts if host.name not in facts)


def blocks_everything(
    inventory: Inventory, facts: Mapping[str, HostFacts], lost: Iterable[Unreachable], view: ClusterView | None
) -> bool:
    """Whether nothing can be planned without the hosts that are `lost`.

    A cluster that answers goes on without any of its hosts. One that has yet to be made needs all its control planes,
    and settings that reach all hosts. `view` is None while no control plane could be probed.
    """
    if view is None or inventory.minikube:
        return True
    if view.exists:
        return view.kube is None and bool(_absent_control_planes(inventory, facts))
    return bool(_absent_control_planes(inventory, facts)) or any(probe.code not in _GONE for probe in lost)


def has_to_wait(step: Step, host: Host, inventory: Inventory, facts: Mapping[str, HostFacts]) -> bool:
    """Whether the step may take etcd's majority, or the last API server: no control plane is touched while one is gone.

    Source: etcd's FAQ on failure tolerance (a cluster of three survives the loss of one member, and only of one).
    """
    if not host.is_control_plane or step.host != host.name or not _absent_control_planes(inventory, facts):
        return False
    return step.effect is not Effect.NONE or step.component == "kubeadm"


def waiting(step: Step, inventory: Inventory, facts: Mapping[str, HostFacts]) -> str:
    """What is said of a step that waits."""
    names = ", ".join(_absent_control_planes(inventory, facts))
    return f"{step.host}: {step.component}, until {names} can be reached ({'; '.join(step.reasons)})"


def is_absent_node(node: NodeFacts, absent: Iterable[Host]) -> bool:
    """Whether a node of the cluster is, by its name or address, one of the hosts that could not be probed."""
    return any(
        node.name in {host.name.lower(), host.connection.address.lower().split(".")[0]}
        or node.internal_ip in {host.connection.address, host.connection.from_here}
        for host in absent
    )


def _absent_control_planes(inventory: Inventory, facts: Mapping[str, HostFacts]) -> list[str]:
    return [host.name for host in inventory.control_plane if host.name not in facts]
