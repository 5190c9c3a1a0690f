"""What is to be said about the Launch agent before anything is changed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from bootstrap.checks.finding import Finding, Severity
from bootstrap.inventory.plain_http import CODE, FIX, unencrypted

if TYPE_CHECKING:
    from bootstrap.inventory.model import Inventory
    from bootstrap.probe.facts import HostFacts

_GROUP = "launch_agent"


def unencrypted_key(inventory: Inventory, _facts: Mapping[str, HostFacts]) -> Iterator[Finding]:
    """The agents send their API key with every request."""
    agents = [host for host in inventory.hosts if _GROUP in host.groups]
    here = bool(agents) and all(host.connection.local for host in agents)
    urls = dict.fromkeys(str(host.settings.get("launch_agent_base_url") or "") for host in agents)
    for url in urls:
        if words := unencrypted(url, lab=inventory.lab, from_here=here):
            yield Finding(None, CODE, Severity.WARN, words, FIX)
