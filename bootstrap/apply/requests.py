"""What the commands that plan and change hosts are asked to do."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from bootstrap.access import Access
from bootstrap.rundir import RunDirectory


@dataclass(frozen=True, slots=True)
class BootstrapRequest:
    """`gpuctl bootstrap`. `limit` names hosts or groups whose steps may run (empty: all); all hosts are probed.

    A host that cannot be probed is no failure where `limit` leaves it out, or with `skip_unreachable`.

    `kubeconfig` is the file to merge into (the CLI resolves --kubeconfig, $KUBECONFIG's first entry, ~/.kube/config);
    a certificate for it is made in `user_name`.
    """

    inventory: Path
    run: RunDirectory
    kubeconfig: Path
    access: Access = field(default_factory=Access)
    limit: tuple[str, ...] = ()
    skip_unreachable: bool = False
    reboot: bool = False
    disrupt: bool = False
    force_conflicts: bool = False
    use_context: bool = False
    user_name: str = "gpuctl"
    renew_kubeconfig: bool = False


@dataclass(frozen=True, slots=True)
class PlanRequest:
    """`gpuctl plan`: probes, checks and plans; changes nothing."""

    inventory: Path
    run: RunDirectory
    access: Access = field(default_factory=Access)
    limit: tuple[str, ...] = ()
    skip_unreachable: bool = False


@dataclass(frozen=True, slots=True)
class ResetRequest:
    """`gpuctl reset`. Unless `yes`, ask `view.confirm(...)` once it is known what will be undone.

    `purge` also deletes data that people put where gpuctl made room for it: what the NFS export holds.
    """

    inventory: Path
    run: RunDirectory
    kubeconfig: Path
    access: Access = field(default_factory=Access)
    limit: tuple[str, ...] = ()
    skip_unreachable: bool = False
    yes: bool = False
    purge: bool = False
