"""Test hosts as systemd-nspawn containers with their own init, network, cgroups and writable layer."""

from __future__ import annotations

import json
import signal
from dataclasses import replace
from typing import TYPE_CHECKING

from bootstrap.testvm import cgroups, procs, seed, ssh, state
from bootstrap.testvm.names import lab_object, machine
from bootstrap.testvm.supervised import Supervised, orders_file

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from bootstrap.testvm.backend import HostSpec
    from bootstrap.testvm.names import LabPaths

# On ext4, not on the host's overlay: overlayfs refuses an overlay as its upper layer.
PERSISTENT = ("containerd", "docker", "kubelet")
# All but the clock, which belongs to the machine: several hosts would each set it.
CAPABILITIES = ("--capability=all", "--drop-capability=CAP_SYS_TIME")
_SIGRTMIN = signal.SIGRTMIN
_REBOOT = _SIGRTMIN + 5  # systemd(1): start reboot.target


class NspawnBackend(Supervised):
    """The `Backend` for systemd-nspawn."""

    patience = ssh.Patience()

    def prepare(self, rootfs: Path, report: Callable[[str, str], None]) -> None:
        """Nothing: containers run the root file system as it is."""

    def create(self, spec: HostSpec) -> None:
        """Lay down the host's seed, its layers and the supervisor's orders (which are written last)."""
        home = spec.paths.host(spec.host.name)
        directories = [home / part for part in ("seed", "upper", "work", *(f"var/{name}" for name in PERSISTENT))]
        for directory in directories:
            directory.mkdir(parents=True, exist_ok=True)
        for directory in (home / "upper", home / "seed"):
            directory.chmod(0o755)  # becomes the host's /
        hardware = _hardware(home, spec)
        seed.lay(home / "seed", replace(spec.seed, kernel_binds=tuple(b for b in hardware if b.staged)))
        binds = [f"--bind={home / 'var' / name}:/var/lib/{name}" for name in PERSISTENT]
        orders = {
            "paths": {
                "lower": f"{home / 'seed'}:{spec.rootfs}",
                "upper": str(home / "upper"),
                "work": str(home / "work"),
                "root": str(spec.paths.runtime / spec.host.name / "root"),
                "status": str(spec.paths.runtime / spec.host.name / "status.json"),
            },
            "nspawn": [*_command(spec), *binds, *(bind.option for bind in hardware)],
        }
        state.write(orders_file(spec.paths, spec.host.name), json.dumps(orders, indent=1))

    def reboot(self, paths: LabPaths, host: str) -> None:
        """Tell the host's init to reboot, without needing ssh or a healthy host; a host that is down is started."""
        init = self._init(paths, host)
        if init is None:
            self.start(paths, host)
            return
        members = cgroups.pids(machine(paths.name, host))
        procs.send(init, lambda pid: pid in members, _REBOOT)

    def _init(self, paths: LabPaths, host: str) -> int | None:
        """The host's process 1, as this machine numbers it."""
        for supervisor in self._supervisors(paths, host):
            for nspawn in procs.children(supervisor):
                for child in procs.children(nspawn):
                    return child
        return None


def _command(spec: HostSpec) -> list[str]:
    name = machine(spec.paths.name, spec.host.name)
    # No --suppress-sync, although it would be faster: it refuses files opened with O_SYNC, which containerd does.
    return [
        "systemd-nspawn", "--quiet", "--boot", "--register=no", "--keep-unit", f"--machine={name}",
        f"--hostname={spec.host.name}", f"--directory={spec.paths.runtime / spec.host.name / 'root'}",
        f"--network-bridge={lab_object(spec.paths.name)}", *CAPABILITIES, "--system-call-filter=@known",
        "--console=pipe", "--resolv-conf=off", "--timezone=off", "--link-journal=no",
        "--bind=/dev/kmsg",
    ]  # fmt: skip


def _hardware(home: Path, spec: HostSpec) -> list[seed.HostBind]:
    """Binds that make the host look as if its GPUs, and none of this machine's devices, were plugged in."""
    from bootstrap.testvm.simgpu import hardware

    binds = hardware.prepare(home, spec.host.model, spec.host.gpus, f"{spec.paths.name}/{spec.host.name}")
    return [seed.HostBind(i, str(bind.source), bind.target, bind.read_only) for i, bind in enumerate(binds)]
