"""The host that exports data: what its other exports do to the paths that clients mount."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from bootstrap.checks.common import Say
from bootstrap.checks.finding import Finding
from bootstrap.inventory.model import NFS_SERVER

if TYPE_CHECKING:
    from bootstrap.inventory.model import Inventory
    from bootstrap.probe.facts import HostFacts


def pseudo_root(inventory: Inventory, facts: Mapping[str, HostFacts]) -> Iterator[Finding]:
    """An export with fsid=0 is the root that NFSv4 clients see: no other path can be mounted by its own name."""
    nodes = {address for node in inventory.nodes if node.name in facts for address in facts[node.name].address_list}
    for host in inventory.group(NFS_SERVER):
        if host.name not in facts:
            continue
        concerned = [root for root in facts[host.name].nfs_roots if _reaches(root.rpartition(" ")[2], nodes)]
        for root in dict.fromkeys(entry.rpartition(" ")[0] for entry in concerned):
            path = str(host.settings["nfs_server_path"])
            yield Say(host.name, "nfs-pseudo-root").refuse(
                f"it exports {root} with fsid=0, so that NFSv4 clients cannot mount {path} by its path",
                f"remove fsid=0 from the line of {root} in its exports (clients then mount {root} by that path), "
                "or export from another host",
            )


def _reaches(client: str, nodes: set[str]) -> bool:
    """Whether an export's client may be one of the nodes: a name or a pattern may, and while no node is known."""
    try:
        network = ipaddress.ip_network(client, strict=False)
    except ValueError:
        return True
    return not nodes or any(ipaddress.ip_address(address) in network for address in nodes)
