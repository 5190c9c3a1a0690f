"""What `gpuctl verify-gpus` is asked to do."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from bootstrap.access import Access
from bootstrap.rundir import RunDirectory


@dataclass(frozen=True, slots=True)
class VerifyRequest:
    """`limit` names hosts or groups (empty: all GPU hosts). `timeout_s` bounds the compute layer.

    `profile` counts where the inventory is that of a minikube host. `collective`: an all-reduce over the nodes,
    too; by PyTorch between their GPUs where `collective_image` names an image that has it. `require_all`: a GPU that
    another pod holds is a failure. `skip_unreachable`: a host that cannot be reached is none.
    """

    inventory: Path
    run: RunDirectory
    access: Access = field(default_factory=Access)
    limit: tuple[str, ...] = ()
    timeout_s: float = 300.0
    profile: str = ""
    collective: bool = False
    collective_image: str = ""
    require_all: bool = False
    skip_unreachable: bool = False
