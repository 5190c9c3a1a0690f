"""The plan: the steps that a run will take, each with its reasons and its effect on what runs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

CLUSTER = "cluster"  # the host name of steps that belong to the cluster as a whole


class Effect(StrEnum):
    """What a step does to what already runs on the host, mildest first."""

    NONE = "none"
    RESTARTS_SERVICE = "restarts-service"
    DISRUPTS_GPU_PODS = "disrupts-gpu-pods"
    REBOOTS = "reboots"

    @property
    def disrupts(self) -> bool:
        """Whether pods have to leave the node first."""
        return self in {Effect.DISRUPTS_GPU_PODS, Effect.REBOOTS}


def worst(effects: Iterable[Effect]) -> Effect:
    """The effect that disturbs most; NONE without any."""
    return max(effects, key=list(Effect).index, default=Effect.NONE)


@dataclass(frozen=True, slots=True)
class Step:
    """One component on one host. `action` is install, change, repair or resume."""

    host: str
    component: str
    action: str
    reasons: tuple[str, ...]
    effect: Effect
    needs: str = ""  # the flag without which it is refused: --disrupt, --reboot, --force-conflicts


@dataclass(frozen=True, slots=True)
class Update:
    """A newer default that is not applied unasked."""

    component: str
    variable: str
    installed: str
    available: str
    command: str


@dataclass(frozen=True, slots=True)
class Plan:
    """All steps in the order in which they run, and what is only reported."""

    steps: tuple[Step, ...]
    updates: tuple[Update, ...] = ()
    extra: tuple[str, ...] = ()  # "gpu3: in the cluster, not in the inventory"
    waiting: tuple[str, ...] = ()  # steps that wait until a control plane can be reached again

    @property
    def empty(self) -> bool:
        """Whether nothing has to be done."""
        return not self.steps


# What only an upgrade may change on an installed host, and the word for it (live clusters are never surprised).
UPGRADES = {"kubeadm_kubernetes_version": "kubernetes", "nvidia_driver_branch": "nvidia-driver"}


def upgrade_command(component: str, variable: str) -> str:
    """The command that brings a newer default of a pinned variable."""
    return f"gpuctl upgrade {UPGRADES.get(variable, component)}"
