"""Keeps one test host running: mounts its root, runs nspawn, and runs it again when the host reboots.

A script of its own that imports only the standard library: it starts fast, and outlives any change of the package.
It runs in a mount namespace of its own, so its mounts end with its last process, however that ends.
Arguments: the orders (JSON) and the cgroups to join (JSON).
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

REBOOTED = 133  # nspawn's status for "start me again" under --keep-unit
NSPAWN_RUNTIME = Path("/run/systemd/nspawn")
_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_QUICK_S = 2.0  # a host that reboots faster than this is broken: wait before the next try


def join(directories: list[str]) -> None:
    """Move this process into cgroups."""
    for directory in directories:
        Path(directory, "cgroup.procs").write_text("0\n")


def mount_root(paths: dict[str, str]) -> None:
    """Mount the host's root: seed over the shared root file system, one writable layer on top.

    nspawn's own runtime directory gets a tmpfs in this namespace: its lock files otherwise stay after a kill.
    """
    NSPAWN_RUNTIME.mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "gpuctl-lab", str(NSPAWN_RUNTIME)], check=True, timeout=30)
    options = f"lowerdir={paths['lower']},upperdir={paths['upper']},workdir={paths['work']}"
    subprocess.run(["mount", "-t", "overlay", "-o", options, "gpuctl-lab", paths["root"]], check=True, timeout=30)


def start(command: list[str], directories: list[str]) -> subprocess.Popen[bytes]:
    """Start nspawn in the host's cgroups; it dies with this process."""
    libc = ctypes.CDLL(None, use_errno=True)

    def prepare() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        join(directories)

    return subprocess.Popen(command, stdin=subprocess.DEVNULL, preexec_fn=prepare)


def note(status: str, **facts: int) -> None:
    """Write down what the host does, for people who look."""
    Path(status).write_text(json.dumps({"supervisor": os.getpid(), "at": time.time(), **facts}) + "\n")


def keep(orders: dict[str, Any], directories: list[str]) -> int:
    """Run the host until it powers off; return nspawn's last status."""
    boots = 0
    child: subprocess.Popen[bytes] | None = None
    stopping = False

    def stop(_number: int, _frame: object) -> None:
        nonlocal stopping
        stopping = True
        if child is not None:
            child.send_signal(signal.SIGTERM)  # nspawn hands it on as an orderly power-off

    signal.signal(signal.SIGTERM, stop)
    while True:
        started = time.monotonic()
        child = start(orders["nspawn"], directories)
        boots += 1
        note(orders["paths"]["status"], boots=boots, nspawn=child.pid)
        status = child.wait()
        if status != REBOOTED or stopping:
            return status
        if time.monotonic() - started < _QUICK_S:
            time.sleep(_QUICK_S)


def main(orders_file: str, cgroups_file: str) -> int:
    """Do it; the files are read before anything is changed, so a lab that is gone starts nothing."""
    cgroups = json.loads(Path(cgroups_file).read_text())
    orders = json.loads(Path(orders_file).read_text())
    join(cgroups["keeper"])
    mount_root(orders["paths"])
    return keep(orders, cgroups["machine"])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2]))
