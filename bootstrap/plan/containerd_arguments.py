"""What containerd's role is told about a host: whether one that is there stays, and where it keeps its data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bootstrap.checks.packages import keeps_containerd
from bootstrap.inventory.model import Host
from bootstrap.plan.cluster_view import recorded_argument
from bootstrap.probe.facts import ContainerdFacts, HostFacts

_ROOT, _STATE, _IMPORTS = "containerd_data_root", "containerd_state_folder", "containerd_further_imports"
_STATE_DEFAULT = "/run/containerd"


def containerd_arguments(host: Host, values: Mapping[str, Any], facts: HostFacts) -> dict[str, Any]:
    """Derived arguments of containerd for one host.

    A containerd that was there keeps its root, its state and what it imports; the receipt says so from then on.
    """
    before = recorded_argument(facts, "containerd", "containerd_adopt")
    there = facts.containerd if before is None and _is_there(facts) else None
    kept = there or ContainerdFacts()
    root = recorded_argument(facts, "containerd", _ROOT) or kept.root
    return {
        "containerd_adopt": keeps_containerd(facts) if before is None else bool(before),
        _ROOT: values[_ROOT] if _ROOT in host.explicit or not root else str(root),
        _STATE: str(recorded_argument(facts, "containerd", _STATE) or kept.state or _STATE_DEFAULT),
        _IMPORTS: list(recorded_argument(facts, "containerd", _IMPORTS) or kept.imports),
    }


def _is_there(facts: HostFacts) -> bool:
    """A package of it, or a unit without one: what a removed containerd left is nobody's data."""
    return keeps_containerd(facts) or "containerd.service" in facts.units
