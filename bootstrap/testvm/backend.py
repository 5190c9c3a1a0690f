"""What a kind of test host must be able to do: nspawn containers and qemu virtual machines are kinds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from bootstrap.testvm.names import LabPaths
    from bootstrap.testvm.seed import SeedFacts
    from bootstrap.testvm.ssh import Patience
    from bootstrap.testvm.state import HostRecord


@dataclass(frozen=True, slots=True)
class HostSpec:
    """Everything that a backend needs to make one host."""

    paths: LabPaths
    host: HostRecord
    rootfs: Path
    seed: SeedFacts
    memory_mib: int = 0  # of a virtual machine; a container has the machine's
    cpus: int = 0


class Backend(Protocol):
    """Makes and ends the hosts of labs; every method is safe to call again."""

    @property
    def patience(self) -> Patience:
        """How long such hosts may take to boot and to answer."""

    def prepare(self, rootfs: Path, report: Callable[[str, str], None]) -> None:
        """Make what all hosts of this kind share besides the root file system."""

    def create(self, spec: HostSpec) -> None:
        """Lay down the host's files; it does not run yet."""

    def is_created(self, paths: LabPaths, host: str) -> bool:
        """Whether the host's files are complete."""

    def start(self, paths: LabPaths, host: str) -> None:
        """Start the host in the background; no wait."""

    def stop(self, paths: LabPaths, host: str) -> None:
        """Shut the host down in good order; at once where that takes too long."""

    def reboot(self, paths: LabPaths, host: str) -> None:
        """Ask the host's init to reboot; no wait."""

    def destroy(self, paths: LabPaths, host: str) -> None:
        """End the host and all that it holds but its files."""

    def is_running(self, paths: LabPaths, host: str) -> bool:
        """Whether the host's container or machine is there."""

    def leftovers(self, lab: str) -> tuple[str, ...]:
        """Names of hosts of a lab that have something on this machine, found without any record."""
