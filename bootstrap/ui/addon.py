"""The screens of `gpuctl addon`."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bootstrap.exit_codes import ExitCode
from bootstrap.ui.layout import brief, columns

if TYPE_CHECKING:
    from bootstrap.apply.addon_model import AddonState, AddResult, InventoryChange, ListResult, RemoveResult

_WORDS = {"not-ready": "not ready", "unknown": "?"}


def list_screen(result: ListResult, inventory: Path) -> list[str]:
    """A line per addon, then what is wrong, and what is extra."""
    rows = [("addon", "state", "version", "inventory", "for")]
    rows += [
        (one.name, _WORDS.get(one.state, one.state), one.version or "-", _listed(one), one.purpose)
        for one in result.addons
    ]
    lines = columns(rows, indent=0)
    lines += [f"{one.name}: {line}" for one in result.addons for line in one.detail]
    lines += [_extra(one, inventory) for one in result.addons if one.extra]
    return [*lines, f"cluster {result.cluster_name}: {result.note}"] if result.note else lines


def _listed(addon: AddonState) -> str:
    if addon.extra:
        return "extra"
    return "wanted" if addon.wanted else "-"


def _extra(addon: AddonState, inventory: Path) -> str:
    return (
        f"extra: {addon.name} is installed, and the inventory does not ask for it (any more): "
        f"`{_command('add', [addon.name], inventory)}` lists it, `remove` takes it away"
    )


def add_screen(result: AddResult, inventory: Path) -> list[str]:
    """How the addons stand now, and what became of the inventory."""
    lines = []
    if result.exit_code is ExitCode.OK:
        names = ", ".join(f"{one.name} {one.version}".rstrip() for one in result.addons)
        did = "nothing to do" if result.plan.empty else "added"
        lines.append(f"{did}: {names} {'is' if len(result.addons) == 1 else 'are'} ready ({brief(result.elapsed_s)})")
    return [*lines, *_inventory(result.inventory, inventory)]


def remove_screen(result: RemoveResult, names: Sequence[str], inventory: Path) -> list[str]:
    """What is gone, and what became of the inventory."""
    if result.exit_code is not ExitCode.OK:
        return []
    took = brief(result.elapsed_s)
    lines = [f"removed {', '.join(result.removed)} ({took})"] if result.removed else []
    absent = [name for name in dict.fromkeys(names) if name not in result.removed]
    lines += [f"{name} is not installed{'' if result.removed else f' ({took})'}" for name in absent]
    return [*lines, *_inventory(result.inventory, inventory)]


def _inventory(change: InventoryChange | None, inventory: Path) -> list[str]:
    if change is None:
        return []
    if change.changed:
        return [f"  inventory: {change.at} is now `{change.line}`"]
    return [f"  inventory: {inventory} was left as it is; for the next bootstrap it needs `{change.line}`"]


def _command(verb: str, names: Sequence[str], inventory: Path) -> str:
    return shlex.join(["gpuctl", "addon", verb, *names, "--inventory", str(inventory)])
