"""What the roles of the NFS export are told about other hosts: who may mount it, and where it is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bootstrap.inventory.model import NFS_SERVER, Host, Inventory
from bootstrap.plan.addresses import node_address
from bootstrap.plan.cluster_view import ClusterView, recorded_argument
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
    servers = [server for server in inventory.group(NFS_SERVER) if server.name in facts]
    address = node_address(servers[0], facts[servers[0].name]) if servers else ""
    if address and inventory.minikube:
        address = _MINIKUBE_HOST
    known = bool(inventory.group(NFS_SERVER) or values["nfs_volumes_server"])
    found: dict[str, Any] = {
        "nfs_server_clients": list(values["nfs_server_networks"]) or _addresses_of_nodes(facts, view, inventory),
        "nfs_volumes_server_address": address,
        "nfs_client_needed": known and bool(values["nfs_client_enabled"]),
        "nfs_volumes_wanted": known,
    }
    if servers and "nfs_volumes_path" not in host.explicit and not values["nfs_volumes_server"]:
        found["nfs_volumes_path"] = servers[0].settings["nfs_server_path"]
    return found


def _addresses_of_nodes(facts: Mapping[str, HostFacts], view: ClusterView, inventory: Inventory) -> list[str]:
    if inventory.minikube:
        # The node has its address from Docker, and keeps it for as long as the profile lives.
        known = [node.internal_ip for node in view.nodes.values() if node.internal_ip]
        mine = facts.get(inventory.minikube.name)
        return sorted(known) or list((mine and recorded_argument(mine, "nfs_server", "nfs_server_clients")) or [])
    return sorted(node_address(node, facts[node.name]) for node in inventory.nodes if node.name in facts)
