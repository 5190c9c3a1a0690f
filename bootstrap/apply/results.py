"""What planning and applying came to: frozen results that ui/ renders and `--output json` prints as they stand."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from bootstrap.checks.finding import Finding, Severity
from bootstrap.errors import Problem
from bootstrap.exit_codes import ExitCode
from bootstrap.jsonform import plain
from bootstrap.plan.model import Plan


@dataclass(frozen=True, slots=True)
class HostSummary:
    """One probed host in one line. `os` is "Debian 12"; `gpu_model` is empty without GPUs (or while unknown).

    `driver` is the loaded driver's version, None when there is none. `error` is set when the probe failed; the rest
    is then empty.
    """

    name: str
    os: str = ""
    cpus: int = 0
    memory_bytes: int = 0
    gpus: int = 0
    gpu_model: str = ""
    simulated: bool = False
    driver: str | None = None
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Preflight:
    """How many checks ran, and what they found."""

    checks: int = 0
    findings: tuple[Finding, ...] = ()

    def of(self, severity: Severity) -> tuple[Finding, ...]:
        """The findings of one severity."""
        return tuple(f for f in self.findings if f.severity is severity)


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
class NodeState:
    """One node as the API has it at the end."""

    name: str
    ready: bool
    reason: str
    gpus_allocatable: int
    gpus_expected: int


@dataclass(frozen=True, slots=True)
class Readiness:
    """What the API says at the end of a run."""

    nodes: tuple[NodeState, ...] = ()

    @property
    def nodes_ready(self) -> int:
        """How many nodes are Ready."""
        return sum(node.ready for node in self.nodes)

    @property
    def gpus_allocatable(self) -> int:
        """GPUs that pods may ask for, over all nodes."""
        return sum(node.gpus_allocatable for node in self.nodes)


@dataclass(frozen=True, slots=True)
class KubeconfigChange:
    """What happened to the user's kubeconfig. `current` is whether the context is now the current one."""

    path: str
    context: str
    added: bool  # False: it was there; its entries were brought up to date where needed
    current: bool


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
