"""Keeps one test host running: runs its container or its virtual machine, and runs it again when the host reboots.

A script of its own that imports only the standard library: it starts fast, and outlives any change of the package.
It runs in a mount namespace of its own, so its mounts end with its last process, however that ends; a virtual machine's
network cable is an open file of this process and of qemu, and ends with them.
Arguments: the orders (JSON) and the cgroups to join (JSON).
"""

from __future__ import annotations

import ctypes
import fcntl
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

REBOOTED = 133  # nspawn's status for "start me again" under --keep-unit
NSPAWN_RUNTIME = Path("/run/systemd/nspawn")
# A reset asked for by the guest; -no-reboot turns it into the end of qemu (qapi/run-state.json).
GUEST_RESETS = ("guest-reset", "host-qmp-system-reset")
_PR_SET_PDEATHSIG = 1  # linux/prctl.h
# linux/if_tun.h; the header in front of packets lets guest and machine leave out checksums between them.
_TUNSETIFF = 0x400454CA
_IFF_TAP, _IFF_NO_PI, _IFF_VNET_HDR = 0x0002, 0x1000, 0x4000
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


def start(command: list[str], directories: list[str], keep: tuple[int, ...] = ()) -> subprocess.Popen[bytes]:
    """Start nspawn or qemu in the host's cgroups; it dies with this process, and has the open files `keep`."""
    libc = ctypes.CDLL(None, use_errno=True)

    def prepare() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        join(directories)

    return subprocess.Popen(command, stdin=subprocess.DEVNULL, preexec_fn=prepare, pass_fds=keep)


def note(status: str, **facts: int) -> None:
    """Write down what the host does, for people who look."""
    Path(status).write_text(json.dumps({"supervisor": os.getpid(), "at": time.time(), **facts}) + "\n")


class Container:
    """A host under systemd-nspawn."""

    def __init__(self, orders: dict[str, Any], directories: list[str]) -> None:
        self._orders, self._directories = orders, directories
        self._child: subprocess.Popen[bytes] | None = None

    def run(self, booted: Callable[[int], None]) -> tuple[int, bool]:
        """Run it to its end (`booted` gets the process id); return the status, and whether it is to be run again."""
        self._child = start(self._orders["nspawn"], self._directories)
        booted(self._child.pid)
        status = self._child.wait()
        return status, status == REBOOTED

    def shut_down(self) -> None:
        """Begin an orderly end."""
        if self._child is not None:
            self._child.send_signal(signal.SIGTERM)  # nspawn hands it on as an orderly power-off


class VirtualMachine:
    """A host under qemu, told and watched through qemu's own protocol (QMP) on a pair of sockets without a name."""

    def __init__(self, orders: dict[str, Any], directories: list[str]) -> None:
        self._orders, self._directories = orders, directories
        self._tap = cable(orders["bridge"])
        self._monitor: socket.socket | None = None

    def run(self, booted: Callable[[int], None]) -> tuple[int, bool]:
        """Run it to its end (`booted` gets the process id); return the status, and whether it is to be run again.

        That is so where the guest asked for a reset: qemu has -no-reboot and ends then, too.
        """
        self._monitor, theirs = socket.socketpair()
        wires = ["-netdev", f"tap,id=lab,fd={self._tap}", "-chardev", f"socket,id=qmp,fd={theirs.fileno()}"]
        command = [*self._orders["qemu"], *wires, "-mon", "chardev=qmp,mode=control"]
        child = start(command, self._directories, (self._tap, theirs.fileno()))
        theirs.close()
        booted(child.pid)
        self._say({"execute": "qmp_capabilities"})
        again = False
        with self._monitor.makefile("rb") as lines, suppress(OSError):
            for line in lines:
                event = json.loads(line)
                if event.get("event") == "SHUTDOWN":
                    again = event["data"].get("reason") in GUEST_RESETS
        self._monitor.close()
        return child.wait(), again

    def shut_down(self) -> None:
        """Press Ctrl-Alt-Del, which init takes as an orderly reboot: it needs no daemon in the guest, unlike ACPI."""
        keys = [{"type": "qcode", "data": key} for key in ("ctrl", "alt", "delete")]
        self._say({"execute": "send-key", "arguments": {"keys": keys}})

    def _say(self, command: dict[str, Any]) -> None:
        if self._monitor is not None:
            with suppress(OSError):  # qemu has ended: `wait` tells
                self._monitor.sendall(json.dumps(command).encode() + b"\n")


def cable(bridge: str) -> int:
    """Make a tap on the lab's bridge; return its file descriptor. The kernel numbers it, and removes it at our end."""
    tap = os.open("/dev/net/tun", os.O_RDWR)
    answer = fcntl.ioctl(tap, _TUNSETIFF, struct.pack("16sH22x", b"vb-q%d", _IFF_TAP | _IFF_NO_PI | _IFF_VNET_HDR))
    name = answer[:16].rstrip(b"\0").decode()
    subprocess.run(["ip", "link", "set", "dev", name, "master", bridge, "up"], check=True, timeout=30)
    return tap


def keep(orders: dict[str, Any], directories: list[str]) -> int:
    """Run the host until it powers off; return the last status of what runs it.

    SIGTERM ends the host in good order, SIGHUP reboots it so.
    """
    boots = 0
    stopping = False
    host = VirtualMachine(orders, directories) if "qemu" in orders else Container(orders, directories)

    def stop(_number: int, _frame: object) -> None:
        nonlocal stopping
        stopping = True
        host.shut_down()

    def booted(process: int) -> None:
        note(orders["paths"]["status"], boots=boots, process=process)

    signal.signal(signal.SIGTERM, stop)
    if isinstance(host, VirtualMachine):
        signal.signal(signal.SIGHUP, lambda _number, _frame: host.shut_down())
    while True:
        started = time.monotonic()
        boots += 1
        status, again = host.run(booted)
        if not again or stopping:
            return status
        if time.monotonic() - started < _QUICK_S:
            time.sleep(_QUICK_S)


def main(orders_file: str, cgroups_file: str) -> int:
    """Do it; the files are read before anything is changed, so a lab that is gone starts nothing."""
    cgroups = json.loads(Path(cgroups_file).read_text())
    orders = json.loads(Path(orders_file).read_text())
    join(cgroups["keeper"])
    if "nspawn" in orders:
        mount_root(orders["paths"])
    return keep(orders, cgroups["machine"])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2]))
