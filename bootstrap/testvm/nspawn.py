"""Test hosts as systemd-nspawn containers with their own init, network, cgroups and writable layer."""

from __future__ import annotations

import json
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from bootstrap.errors import GpuctlError, Problem
from bootstrap.exit_codes import ExitCode
from bootstrap.testvm import cgroups, procs, seed, state
from bootstrap.testvm.names import lab_object, machine

if TYPE_CHECKING:
    from bootstrap.testvm.backend import HostSpec
    from bootstrap.testvm.names import LabPaths

SUPERVISOR = Path(__file__).with_name("supervisor.py")
# On ext4, not on the host's overlay: overlayfs refuses an overlay as its upper layer.
PERSISTENT = ("containerd", "docker", "kubelet")
# All but the clock, which belongs to the machine: several hosts would each set it.
CAPABILITIES = ("--capability=all", "--drop-capability=CAP_SYS_TIME")
_SIGRTMIN = signal.SIGRTMIN
_REBOOT = _SIGRTMIN + 5  # systemd(1): start reboot.target
_STOP_WAIT_S = 30.0


class NspawnBackend:
    """The `Backend` for systemd-nspawn."""

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
        state.write(_orders(spec.paths, spec.host.name), json.dumps(orders, indent=1))

    def is_created(self, paths: LabPaths, host: str) -> bool:
        """Whether the supervisor's orders are there."""
        return _orders(paths, host).is_file()

    def start(self, paths: LabPaths, host: str) -> None:
        """Start the host's supervisor, which joins the host's cgroups before it does anything."""
        if self.is_running(paths, host):
            return
        self.destroy(paths, host)  # what an ended supervisor left
        (paths.runtime / host / "root").mkdir(parents=True, exist_ok=True)
        joined = cgroups.create(machine(paths.name, host))
        state.write(
            paths.runtime / host / "cgroups.json",
            json.dumps({"keeper": [str(p) for p in joined.keeper], "machine": [str(p) for p in joined.machine]}),
        )
        orders = [str(_orders(paths, host)), str(paths.runtime / host / "cgroups.json")]
        procs.detach(
            [
                "unshare",
                "--mount",
                "--propagation",
                "private",
                "--",
                sys.executable,
                "-I",
                "-S",
                str(SUPERVISOR),
                *orders,
            ],
            paths.console(host),
        )

    def stop(self, paths: LabPaths, host: str) -> None:
        """Ask the supervisor to shut the host down; kill what is left after 30 s."""
        for pid in self._supervisors(paths, host):
            procs.send(pid, self._proof(paths, host), signal.SIGTERM)
        until = time.monotonic() + _STOP_WAIT_S
        while self.is_running(paths, host) and time.monotonic() < until:
            time.sleep(0.05)
        self.destroy(paths, host)

    def reboot(self, paths: LabPaths, host: str) -> None:
        """Tell the host's init to reboot, without needing ssh or a healthy host; a host that is down is started."""
        init = self._init(paths, host)
        if init is None:
            self.start(paths, host)
            return
        members = cgroups.pids(machine(paths.name, host))
        procs.send(init, lambda pid: pid in members, _REBOOT)

    def destroy(self, paths: LabPaths, host: str) -> None:
        """Kill the supervisor first (it would restart the host), then everything in the host's cgroups."""
        left = procs.end_all(self._proof(paths, host))
        left = left or tuple(cgroups.remove(machine(paths.name, host)))
        if left:
            raise GpuctlError(
                ExitCode.STEP_FAILED,
                Problem(
                    "down-incomplete",
                    f"processes that do not end: {', '.join(map(str, left))}",
                    "see what they wait for in /proc/PID/stack, then run `gpuctl testvm down` again",
                    host=host,
                ),
            )

    def is_running(self, paths: LabPaths, host: str) -> bool:
        """Whether a supervisor of this host is alive."""
        return bool(self._supervisors(paths, host))

    def leftovers(self, lab: str) -> tuple[str, ...]:
        """Hosts of the lab that still have a cgroup."""
        prefix = f"{lab_object(lab)}-"
        return tuple(name.removeprefix(prefix) for name in cgroups.names(prefix))

    def _proof(self, paths: LabPaths, host: str) -> procs.Proof:
        """Our script with this host's orders: an editor that has the same file open is not it."""
        orders = str(_orders(paths, host))

        def proof(pid: int) -> bool:
            argv = procs.argv_of(pid)
            return orders in argv and any(word.endswith("/testvm/supervisor.py") for word in argv)

        return proof

    def _supervisors(self, paths: LabPaths, host: str) -> tuple[int, ...]:
        return procs.find(self._proof(paths, host))

    def _init(self, paths: LabPaths, host: str) -> int | None:
        """The host's process 1, as this machine numbers it."""
        for supervisor in self._supervisors(paths, host):
            for nspawn in procs.children(supervisor):
                for child in procs.children(nspawn):
                    return child
        return None


def _orders(paths: LabPaths, host: str) -> Path:
    return paths.host(host) / "supervisor.json"


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
