"""What kubeadm's role is told: what the host is in the cluster, under which names its API is made, its address."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bootstrap.checks.network import upstream_resolv_conf
from bootstrap.inventory.model import Host, Inventory
from bootstrap.plan.addresses import node_address
from bootstrap.plan.cluster_view import ClusterView, node_name, recorded_argument
from bootstrap.probe.facts import HostFacts
from bootstrap.probe.forms import is_name_or_address


def kubeadm_arguments(
    host: Host,
    values: Mapping[str, Any],
    facts: Mapping[str, HostFacts],
    view: ClusterView,
    inventory: Inventory,
    gpu_host: bool,
) -> dict[str, Any]:
    """Derived arguments of kubeadm for one host; `gpu_host`: it has GPUs that the cluster is to have."""
    mine = facts[host.name]
    return {
        **_role_arguments(host, values, facts, view, inventory, gpu_host),
        "kubeadm_node_ip": node_address(host, mine),
        "kubeadm_node_labels": {"nvidia.com/gpu.present": "true"} if gpu_host else {},
        "kubeadm_resolv_conf": (upstream_resolv_conf(mine) or "") if mine.resolv_loop else "",
    }


def _role_arguments(
    host: Host,
    values: Mapping[str, Any],
    facts: Mapping[str, HostFacts],
    view: ClusterView,
    inventory: Inventory,
    gpu_host: bool,
) -> dict[str, Any]:
    """What the host is in the cluster: by the inventory, whatever its receipt says of it.

    A receipt decides only between what the inventory leaves open: which control plane was the first, under which names
    its API was made, and whether pods may run on it. Hosts that come or go later must not touch the others.
    """
    if not host.is_control_plane:
        return {"kubeadm_role": "worker", "kubeadm_cert_sans": [], "kubeadm_schedulable": False}
    has_workers = any(not h.is_control_plane for h in inventory.nodes)
    chosen = {
        "kubeadm_role": "init" if host.name == view.seed else "control-plane",
        "kubeadm_cert_sans": _cert_sans(values, facts, inventory),
        "kubeadm_schedulable": not has_workers or gpu_host,
    }
    mine = facts[host.name]
    recorded = {name: recorded_argument(mine, "kubeadm", name) for name in chosen}
    if recorded["kubeadm_role"] == "worker":  # it was moved to another group
        recorded = {}
    sans = recorded.get("kubeadm_cert_sans")
    if sans is not None and not all(is_name_or_address(name) for name in sans):
        recorded["kubeadm_cert_sans"] = None
    return {name: value if recorded.get(name) is None else recorded[name] for name, value in chosen.items()}


def _cert_sans(values: Mapping[str, Any], facts: Mapping[str, HostFacts], inventory: Inventory) -> list[str]:
    """Endpoint name, node names and addresses, every ansible_host of control planes, 127.0.0.1; sorted."""
    names = {str(values["cluster_endpoint"]), "127.0.0.1"}
    for host in inventory.control_plane:
        names.add(host.connection.from_here)
        if host.name in facts:
            names |= {node_name(facts[host.name]), node_address(host, facts[host.name])}
    return sorted(names - {""})
