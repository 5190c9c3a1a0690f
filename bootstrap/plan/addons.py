"""The addons that a cluster can have: what `cluster_addons` may name, and the role behind each name."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bootstrap.errors import GpuctlError, Problem
from bootstrap.exit_codes import ExitCode
from bootstrap.hostside.gpuctl_receipts import known_arguments
from bootstrap.inventory.model import Inventory
from bootstrap.inventory.schema import Component, component_named, variables
from bootstrap.plan.cluster_view import ClusterView

SETTING = "cluster_addons"


@dataclass(frozen=True, slots=True)
class Addon:
    """An addon by the name that users give it, and its role."""

    name: str
    component: Component


def known_addons() -> tuple[Addon, ...]:
    """All addons, in the order in which they are installed. A role has its addon's name with underscores."""
    found = [
        Addon(str(name), component_named(str(name).replace("-", "_"))) for name in variables()[SETTING].choices or ()
    ]
    return tuple(sorted(found, key=lambda addon: addon.component.order))


def addons_named(names: Sequence[str]) -> tuple[Addon, ...]:
    """The addons of these names, in the order in which they are installed.

    Raises:
        GpuctlError: no name, or one that no addon has (exit 2).
    """
    known = {addon.name: addon for addon in known_addons()}
    listed = f"the addons are: {', '.join(known)}"
    if not names:
        raise GpuctlError(ExitCode.USAGE, Problem("addon-unknown", "no addon was named", listed))
    problems = []
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            hint = f" (did you mean {near[0]}?)" if near else ""
            problems.append(Problem("addon-unknown", f"there is no addon {name}{hint}", listed))
    if problems:
        raise GpuctlError(ExitCode.USAGE, *problems)
    return tuple(addon for addon in known.values() if addon.name in names)


def wanted_addons(inventory: Inventory) -> tuple[str, ...]:
    """What the inventory lists, as it lists it; one list for all hosts (validated)."""
    return tuple(str(name) for name in inventory.hosts[0].settings[SETTING])


def receipt_of(addon: Addon, view: ClusterView) -> Mapping[str, Any] | None:
    """The addon's receipt in the cluster; None where it is not installed, or no API answers."""
    return view.kube.receipts.get(addon.component.name) if view.kube else None


def version_of(addon: Addon, receipt: Mapping[str, Any]) -> str:
    """The installed version: the argument that the first installation pins; empty where there is none."""
    known = known_arguments(receipt)
    return next((str(known[name].get("value", "")) for name in addon.component.pinned if name in known), "")
