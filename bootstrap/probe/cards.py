"""Generations of NVIDIA's cards: which driver branches drive a PCI device id, and by which kernel module."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

DATA = Path(__file__).with_name("gpu_architectures.yml")
# The oldest branch that NVIDIA's repositories have for any distribution of SYSTEMS (Ubuntu 22.04's begins with it).
OLDEST_BRANCH = 515
OPEN, CLOSED = "open", "closed"


@dataclass(frozen=True, slots=True)
class Architecture:
    """One generation of GPUs: driver branches that drive it, and module flavours (none: no driver for PCI cards)."""

    name: str
    first_branch: int
    last_branch: int | None
    flavours: tuple[str, ...]

    def driven_by(self, branch: int) -> bool:
        """Whether that branch has a driver for it."""
        return bool(self.flavours) and self.first_branch <= branch <= (self.last_branch or branch)

    @property
    def current(self) -> bool:
        """Whether any branch drives it that can still be had."""
        return bool(self.flavours) and (self.last_branch is None or self.last_branch >= OLDEST_BRANCH)


@cache
def table() -> tuple[tuple[int, int, Architecture], ...]:
    """(first id, last id, generation), as the data file lists them."""
    import yaml

    rows = []
    for name, entry in yaml.safe_load(DATA.read_text(encoding="utf-8"))["architectures"].items():
        known = Architecture(name, entry["first_branch"], entry.get("last_branch"), tuple(entry["modules"]))
        rows += [(first, last, known) for first, last in entry["device_ids"]]
    return tuple(rows)


def architecture_of(device_id: str) -> Architecture | None:
    """The generation of a PCI device id (hex, "20b0"); None when the table does not know it."""
    try:
        number = int(device_id, 16)
    except ValueError:
        return None
    return next((known for first, last, known in table() if number and first <= number <= last), None)


def architectures(device_ids: Iterable[str]) -> list[Architecture]:
    """The generations of these PCI device ids, one for each that the table knows."""
    return [known for device_id in device_ids if (known := architecture_of(device_id))]


def branch_of(version: str | None) -> int | None:
    """The branch of a driver's version: 580 of "580.178.04"; None when it has none."""
    first = (version or "").split(".")[0]
    return int(first) if first.isascii() and first.isdecimal() else None


def is_driven(device_id: str, branches: Iterable[int | None]) -> bool:
    """Whether a card counts: a current branch drives it, or one of `branches`, which the host has already.

    A card that the table does not know is newer than the table.
    """
    known = architecture_of(device_id)
    return known is None or known.current or any(known.driven_by(branch) for branch in branches if branch)


def flavour_for(device_ids: Iterable[str]) -> str:
    """The module that drives all these cards: the open one unless one of them has only the closed one."""
    return CLOSED if any(known.flavours == (CLOSED,) for known in architectures(device_ids)) else OPEN
