"""What the roles of the NFS export are told about other hosts: who may mount it, and where it is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bootstrap.inventory.model import NFS_SERVER, Host, Inventory
from bootstrap.plan.absence import absent_hosts
from bootstrap.plan.addresses import node_address
from bootstrap.plan.cluster_view import ClusterView, recorded_argument, recorded_for_cluster
from bootstrap.probe.facts import HostFacts

# The name that a minikube node has for its host (pkg/minikube/constants, HostAlias): the host's end of their network.
_MINIKUBE_HOST = "host.minikube.internal"


def nfs_arguments(
    host: Host, values: Mapping[str, Any], facts: Mapping[str, HostFacts], view: ClusterView, inventory: Inventory
) -> dict[str, Any]:
    """Derived arguments of nfs_server, nfs_client and nfs_volumes for one host.

    The export goes to the nodes' own addresses unless networks are named. A server that the inventory has decides
    the path as well, unless that is set.
    """
    servers = inventory.group(NFS_SERVER)
    address = _address_of(servers[0], facts, view) if servers else ""
    if address and inventory.minikube:
        address = _MINIKUBE_HOST
    known = bool(inventory.group(NFS_SERVER) or values["nfs_volumes_server"])
    found: dict[str, Any] = {
        "nfs_server_clients": list(values["nfs_server_networks"]) or _addresses_of_nodes(host, facts, view, inventory),
        "nfs_volumes_server_address": address,
        "nfs_client_needed": known and bool(values["nfs_client_enabled"]),
        "nfs_volumes_wanted": known,
    }
    if servers and "nfs_volumes_path" not in host.explicit and not values["nfs_volumes_server"]:
        found["nfs_volumes_path"] = servers[0].settings["nfs_server_path"]
    return found


def _address_of(server: Host, facts: Mapping[str, HostFacts], view: ClusterView) -> str:
    """Of a server that could not be probed: as the cluster has it."""
    if server.name in facts:
        return node_address(server, facts[server.name])
    return str(recorded_for_cluster(view, "nfs_volumes", "nfs_volumes_server_address") or "")


def _addresses_of_nodes(
    host: Host, facts: Mapping[str, HostFacts], view: ClusterView, inventory: Inventory
) -> list[str]:
    if inventory.minikube:
        # The node has its address from Docker, and keeps it for as long as the profile lives.
        known = [node.internal_ip for node in view.nodes.values() if node.internal_ip]
        mine = facts.get(inventory.minikube.name)
        return sorted(known) or list((mine and recorded_argument(mine, "nfs_server", "nfs_server_clients")) or [])
    found = {node_address(node, facts[node.name]) for node in inventory.nodes if node.name in facts}
    if any(node.is_node for node in absent_hosts(inventory, facts)):  # it keeps its mount, whatever its address is
        found |= set(recorded_argument(facts[host.name], "nfs_server", "nfs_server_clients") or ())
    return sorted(found)
