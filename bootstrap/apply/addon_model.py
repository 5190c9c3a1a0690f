"""What the commands about addons are asked to do, and what they come to."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from bootstrap.access import Access
from bootstrap.apply.results import HostOutcome
from bootstrap.errors import Problem
from bootstrap.exit_codes import ExitCode
from bootstrap.jsonform import plain
from bootstrap.kube.addons import InUse, Workload
from bootstrap.plan.model import Plan
from bootstrap.rundir import RunDirectory


@dataclass(frozen=True, slots=True)
class AddonRequest:
    """`gpuctl addon add` and `remove`; `list` names none. `keep_inventory` leaves the inventory as it is."""

    inventory: Path
    run: RunDirectory
    access: Access = field(default_factory=Access)
    names: tuple[str, ...] = ()
    keep_inventory: bool = False
    force_conflicts: bool = False
    yes: bool = False


class State(StrEnum):
    """How an addon stands in the cluster."""

    ABSENT = "absent"
    READY = "ready"
    NOT_READY = "not-ready"  # pods of it do not run
    CHANGED = "changed"  # its objects are not as they were applied
    INTERRUPTED = "interrupted"  # a run that installed it did not get to its end
    UNKNOWN = "unknown"  # no API answers


@dataclass(frozen=True, slots=True)
class AddonState:
    """One addon. `wanted` is whether the inventory lists it, `detail` what is wrong with it."""

    name: str
    purpose: str
    wanted: bool
    installed: bool
    state: State
    version: str = ""
    detail: tuple[str, ...] = ()
    workloads: tuple[Workload, ...] = ()

    @property
    def extra(self) -> bool:
        """Whether it is installed and the inventory does not list it."""
        return self.installed and not self.wanted


@dataclass(frozen=True, slots=True)
class InventoryChange:
    """The inventory's list of addons: `line` is as it is to be, `changed` whether it was written, at `at`."""

    path: str
    line: str
    changed: bool
    at: str = ""


@dataclass(frozen=True, slots=True)
class ListResult:
    """`gpuctl addon list`. `note` says why nothing is known of the cluster."""

    cluster_name: str
    addons: tuple[AddonState, ...]
    elapsed_s: float
    note: str = ""
    exit_code: ExitCode = ExitCode.OK
    problems: tuple[Problem, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """The `data` of the JSON document."""
        return _data(self)


@dataclass(frozen=True, slots=True)
class AddResult:
    """`gpuctl addon add`. `inventory` is None where its list had the names already."""

    exit_code: ExitCode
    cluster_name: str
    addons: tuple[AddonState, ...]
    plan: Plan
    outcomes: tuple[HostOutcome, ...]
    elapsed_s: float
    inventory: InventoryChange | None = None
    problems: tuple[Problem, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """The `data` of the JSON document."""
        return _data(self)


@dataclass(frozen=True, slots=True)
class RemoveResult:
    """`gpuctl addon remove`. `in_use` are the objects for which it was refused."""

    exit_code: ExitCode
    cluster_name: str
    removed: tuple[str, ...]
    in_use: tuple[InUse, ...]
    outcomes: tuple[HostOutcome, ...]
    elapsed_s: float
    inventory: InventoryChange | None = None
    problems: tuple[Problem, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """The `data` of the JSON document."""
        return _data(self)


def _data(result: ListResult | AddResult | RemoveResult) -> dict[str, Any]:
    data: dict[str, Any] = plain(result)
    del data["exit_code"], data["problems"]
    for addon in data.get("addons", ()):
        addon["extra"] = addon["installed"] and not addon["wanted"]
    return data
