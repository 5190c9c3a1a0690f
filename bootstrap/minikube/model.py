"""What the verbs of `gpuctl minikube` are asked to do, and what they came to."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bootstrap.access import Access
from bootstrap.apply.results import HostOutcome
from bootstrap.errors import Problem
from bootstrap.exit_codes import ExitCode
from bootstrap.inventory.model import Inventory
from bootstrap.jsonform import plain
from bootstrap.minikube.contexts import HomeContext
from bootstrap.minikube.options import DEFAULT_PROFILE, ProfileOptions
from bootstrap.rundir import RunDirectory


@dataclass(frozen=True, slots=True)
class MinikubeRequest:
    """Whose profile: on the minikube host of `inventory`.

    `kubeconfig` is the file here, for a host that is another machine; None: leave it. `purge` and `orphan` are
    for `down`: the bundle's files go, too; a container goes of which the user has no record. `bare` is for `start`:
    the inventory says only which machine it is, so that no setting of it is meant.
    """

    inventory: Inventory
    run: RunDirectory
    access: Access = field(default_factory=Access)
    profile: str = DEFAULT_PROFILE
    kubeconfig: Path | None = None
    purge: bool = False
    orphan: bool = False
    bare: bool = False


@dataclass(frozen=True, slots=True)
class UpRequest:
    """`gpuctl minikube up`. `use_context`: make the profile the current context, also if there is another.

    `again`: it is `start`, of a profile as it was made, which takes no other profile's services. `docker_group`: have
    the user of the connection join the group docker. `kubeconfig`, `bare` as for MinikubeRequest. `as_before`: no
    inventory was named, so that what an earlier run made of the host stays where no option says else.
    """

    inventory: Inventory
    run: RunDirectory
    options: ProfileOptions
    access: Access = field(default_factory=Access)
    use_context: bool = False
    docker_group: bool = False
    again: bool = False
    kubeconfig: Path | None = None
    bare: bool = False
    as_before: bool = False


@dataclass(frozen=True, slots=True)
class UpResult:
    """What `up` and `start` came to. `started` is whether minikube was called; `gpus` are allocatable ones.

    `context` is the profile's name where it is the current context there; `home` is the context here, for a host that
    is another machine. `kubeconfig` is the file here that has the context, where kubectl by itself reads another.
    `queues` of `entity` are those of the Launch agent that the inventory, or an option, asks for.
    """

    exit_code: ExitCode
    profile: str
    host: str
    started: bool
    elapsed_s: float
    node: str = ""
    kubernetes_version: str = ""
    gpus: int = 0
    gpus_expected: int = 0
    simulated: bool = False
    context: str = ""
    queues: tuple[str, ...] = ()
    entity: str = ""
    home: HomeContext | None = None
    kubeconfig: str = ""
    outcomes: tuple[HostOutcome, ...] = ()
    notes: tuple[str, ...] = ()
    problems: tuple[Problem, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """The `data` of the JSON document (problems go into its `errors`)."""
        return _data(self)


@dataclass(frozen=True, slots=True)
class StatusResult:
    """`gpuctl minikube status`: the profile as it is; `parts` is what minikube says of each.

    `agent` is the state of the Launch agent's service, as systemd has it; empty where none lives by the profile.
    """

    exit_code: ExitCode
    profile: str
    host: str
    phase: str
    parts: dict[str, str]
    elapsed_s: float
    node: str = ""
    ready: bool = False
    kubernetes_version: str = ""
    gpus: int = 0
    docker_version: str = ""
    minikube_version: str = ""
    agent: str = ""
    problems: tuple[Problem, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """The `data` of the JSON document."""
        return _data(self)


@dataclass(frozen=True, slots=True)
class DownResult:
    """`gpuctl minikube down` and `stop`.

    `was` is the phase before; `left` is what of the profile is still there; `purged` counts files of minikube's cache.
    """

    exit_code: ExitCode
    profile: str
    host: str
    was: str
    elapsed_s: float
    left: tuple[str, ...] = ()
    purged: int = 0
    notes: tuple[str, ...] = ()
    problems: tuple[Problem, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """The `data` of the JSON document."""
        return _data(self)


def _data(result: Any) -> dict[str, Any]:
    data: dict[str, Any] = plain(result)
    del data["exit_code"], data["problems"]
    return data
