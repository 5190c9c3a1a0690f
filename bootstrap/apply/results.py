"""What planning and applying came to: frozen results that ui/ renders and `--output json` prints as they stand."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from bootstrap.errors import Problem
from bootstrap.exit_codes import ExitCode
from bootstrap.jsonform import plain
from bootstrap.plan.model import Plan
from bootstrap.plan.summary import HostSummary as HostSummary
from bootstrap.plan.summary import NodeState as NodeState
from bootstrap.plan.summary import Preflight as Preflight
from bootstrap.plan.summary import Readiness as Readiness


class Outcome(StrEnum):
    """How a host came out of a run."""

    UNCHANGED = "unchanged"
    DONE = "done"
    FAILED = "failed"
    STOPPED = "stopped"  # the run ended before its steps were through
    NOT_STARTED = "not-started"


@dataclass(frozen=True, slots=True)
class HostOutcome:
    """One host (or "cluster") after a run: what was done in full, and where it stands.

    `changed` counts the tasks that changed something; `state` is e.g. "stopped before any driver package was touched".
    """

    host: str
    outcome: Outcome
    completed: tuple[str, ...] = ()
    stopped_at: str | None = None
    changed: int = 0
    state: str = ""


@dataclass(frozen=True, slots=True)
class KubeconfigChange:
    """What happened to the user's kubeconfig. `current` is whether the context is now the current one.

    `user` is the name in a certificate that was made just now, `valid_days` how long it is valid (clusters may sign for
    less than was asked for); `warning` says why there is none.
    """

    path: str
    context: str
    added: bool  # False: it was there; its entries were brought up to date where needed
    current: bool
    warning: str = ""
    user: str = ""
    valid_days: int = 0


@dataclass(frozen=True, slots=True)
class BootstrapResult:
    """`gpuctl bootstrap`. `components` counts those as wanted; `last_applied_s` is the newest receipt's age."""

    exit_code: ExitCode
    cluster_name: str
    hosts: tuple[HostSummary, ...]
    preflight: Preflight
    plan: Plan
    elapsed_s: float
    outcomes: tuple[HostOutcome, ...] = ()
    readiness: Readiness | None = None
    kubeconfig: KubeconfigChange | None = None
    components: int = 0
    last_applied_s: float | None = None
    problems: tuple[Problem, ...] = ()

    @property
    def nothing_changed(self) -> bool:
        """Whether the run left every host as it was."""
        return all(o.outcome in (Outcome.UNCHANGED, Outcome.NOT_STARTED) for o in self.outcomes)

    def as_dict(self) -> dict[str, Any]:
        """The `data` of the JSON document (problems go into its `errors`)."""
        return _data(self)


@dataclass(frozen=True, slots=True)
class PlanResult:
    """`gpuctl plan`. The exit code is OK also with steps; the CLI turns it into CHANGES for --detailed-exitcode."""

    exit_code: ExitCode
    cluster_name: str
    hosts: tuple[HostSummary, ...]
    preflight: Preflight
    plan: Plan
    elapsed_s: float
    readiness: Readiness | None = None
    components: int = 0
    last_applied_s: float | None = None
    problems: tuple[Problem, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """The `data` of the JSON document."""
        return _data(self)


@dataclass(frozen=True, slots=True)
class ResetResult:
    """`gpuctl reset`. `kept` names what was deliberately left, with the reason: "gpu1: /etc/x edited since"."""

    exit_code: ExitCode
    cluster_name: str
    hosts: tuple[HostSummary, ...]
    outcomes: tuple[HostOutcome, ...]
    elapsed_s: float
    kept: tuple[str, ...] = ()
    kubeconfig_removed: str | None = None  # the context that was taken out
    problems: tuple[Problem, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """The `data` of the JSON document."""
        return _data(self)


def _data(result: BootstrapResult | PlanResult | ResetResult) -> dict[str, Any]:
    data: dict[str, Any] = plain(result)
    del data["exit_code"], data["problems"]
    return data
