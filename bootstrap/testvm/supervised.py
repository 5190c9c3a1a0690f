"""What all kinds of test hosts share: a supervisor that keeps the host running, and cgroups that hold all of it."""

from __future__ import annotations

import json
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from bootstrap.errors import GpuctlError, Problem
from bootstrap.exit_codes import ExitCode
from bootstrap.testvm import cgroups, procs, state
from bootstrap.testvm.names import lab_object, machine

if TYPE_CHECKING:
    from bootstrap.testvm.names import LabPaths

SUPERVISOR = Path(__file__).with_name("supervisor.py")
_STOP_WAIT_S = 30.0


class Supervised:
    """The part of a `Backend` that is the same for containers and for virtual machines.

    Everything is found by the host's name alone, so one kind of host can be ended by the backend of the other.
    """

    def is_created(self, paths: LabPaths, host: str) -> bool:
        """Whether the supervisor's orders are there."""
        return orders_file(paths, host).is_file()

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
        orders = [str(orders_file(paths, host)), str(paths.runtime / host / "cgroups.json")]
        own_mounts = ["unshare", "--mount", "--propagation", "private", "--"]
        procs.detach([*own_mounts, sys.executable, "-I", "-S", str(SUPERVISOR), *orders], paths.console(host))

    def stop(self, paths: LabPaths, host: str) -> None:
        """Ask the supervisor to shut the host down; kill what is left after 30 s."""
        for pid in self._supervisors(paths, host):
            procs.send(pid, self._proof(paths, host), signal.SIGTERM)
        until = time.monotonic() + _STOP_WAIT_S
        while self.is_running(paths, host) and time.monotonic() < until:
            time.sleep(0.05)
        self.destroy(paths, host)

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
        orders = str(orders_file(paths, host))

        def proof(pid: int) -> bool:
            argv = procs.argv_of(pid)
            return orders in argv and any(word.endswith("/testvm/supervisor.py") for word in argv)

        return proof

    def _supervisors(self, paths: LabPaths, host: str) -> tuple[int, ...]:
        return procs.find(self._proof(paths, host))


def orders_file(paths: LabPaths, host: str) -> Path:
    """The supervisor's orders (JSON); written last, so a host that has them is complete."""
    return paths.host(host) / "supervisor.json"
