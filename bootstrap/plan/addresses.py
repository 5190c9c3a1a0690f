"""By which address other hosts reach a host."""

from __future__ import annotations

from bootstrap.inventory.model import Host
from bootstrap.probe.facts import HostFacts


def node_address(host: Host, facts: HostFacts) -> str:
    """The address by which other hosts reach this one.

    The inventory's when the host has it, else that of the interface by which its default route leaves.
    """
    if host.connection.address in facts.address_list:
        return host.connection.address
    return facts.primary_address or host.connection.from_here
