"""What one look at hosts and cluster comes to, before and after a run: one line per host, findings, readiness."""

from __future__ import annotations

from dataclasses import dataclass

from bootstrap.checks.finding import Finding, Severity


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
