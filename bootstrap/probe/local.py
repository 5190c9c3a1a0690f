"""The way to this machine itself: commands run as they would over ssh, in a fresh environment, without a shell."""

from __future__ import annotations

import contextlib
import grp
import ipaddress
import os
import pwd
import shlex
import shutil
import socket
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bootstrap.probe.process_channel import ProcessChannel, run_through, start_process
from bootstrap.probe.session import DEFAULT_TIMEOUT_S, Completed
from bootstrap.probe.ssh_errors import ConnectFailure, too_slow
from bootstrap.probe.tunnel import Tunnels

# What a login sets, not what this process has: its virtual environment would otherwise come before the system's tools.
SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_KEPT = ("HOME", "LOGNAME", "USER", "XDG_RUNTIME_DIR")
_PROXIES = frozenset({"all_proxy", "http_proxy", "https_proxy", "no_proxy"})
_CONNECT_TIMEOUT_S = 10.0


def local_user() -> str:
    """As whom commands run here: the owner of this process, whatever the environment says."""
    if os.geteuid() == 0:
        return "root"
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:  # a container's user without a name
        return str(os.geteuid())


def _environment() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name in _KEPT or name.lower() in _PROXIES}
    return {**kept, **_own_account(kept.get("HOME", "")), "LANG": "C.UTF-8", "PATH": SYSTEM_PATH}


def _own_account(home: str) -> dict[str, str]:
    """What sudo may have left of another: root's files in somebody's home directory would lock that person out."""
    with contextlib.suppress(OSError):
        if Path(home).stat().st_uid == os.geteuid():
            return {}
    try:
        account = pwd.getpwuid(os.geteuid())
    except KeyError:  # a container's user without a name
        return {}
    return {"HOME": account.pw_dir, "LOGNAME": account.pw_name, "USER": account.pw_name}


def _as_docker(argv: Sequence[str]) -> list[str]:
    """The command with the group docker, where this process began before its user joined it; sg(1) asks nobody then."""
    try:
        group = grp.getgrnam("docker")
    except KeyError:
        return list(argv)
    joined = local_user() in group.gr_mem and group.gr_gid not in os.getgroups()
    return ["sg", "docker", "-c", f"exec {shlex.join(argv)}"] if joined and shutil.which("sg") else list(argv)


def _start(argv: Sequence[str]) -> subprocess.Popen[bytes]:
    """Start a command; env(1) does: a program that is missing is its status 127, as with a shell."""
    environment = _environment()
    home = environment.get("HOME", "/")
    return start_process(_as_docker(["env", "--", *argv]), environment, home if Path(home).is_dir() else "/")


class LocalSession:
    """The way to this machine; what probe.session.Session asks for."""

    address = "this machine"
    notes: tuple[str, ...] = ()

    def __init__(self, python: tuple[str, ...] = ("/usr/bin/python3",)) -> None:
        self.user = local_user()
        self.python = python
        self.lost = False
        self._channels: list[ProcessChannel] = []
        self._tunnels = Tunnels()

    def open_exec(self, argv: Sequence[str], timeout_s: float) -> ProcessChannel:
        """Start a command; the channel's operations time out after `timeout_s`."""
        if self.lost:
            raise ConnectFailure("unreachable", "the session on this machine was closed", "run again")
        channel = ProcessChannel(_start(argv), timeout_s)
        self._channels = [*(known for known in self._channels if not known.closed), channel]
        return channel

    def run(self, argv: Sequence[str], stdin: str = "", timeout_s: float = DEFAULT_TIMEOUT_S) -> Completed:
        """Run a command and wait for its end; exit status 127 when there is no such program.

        Raises:
            ConnectFailure: it took longer than `timeout_s` seconds, or said too much; it was ended then, with what it
                started.
        """
        deadline = time.monotonic() + timeout_s
        try:
            return run_through(self.open_exec(argv, timeout_s), stdin, deadline)
        except TimeoutError as error:
            raise too_slow(argv[0], self.address, timeout_s) from error

    def forward(self, remote_host: str, remote_port: int) -> int:
        """A port on 127.0.0.1 that leads to remote_host:remote_port: the port itself where that is this machine."""
        if _is_loopback(remote_host):
            return remote_port

        def connect(_origin: tuple[str, int]) -> Any:
            return socket.create_connection((remote_host, remote_port), timeout=_CONNECT_TIMEOUT_S)

        return self._tunnels.open(connect)

    def close(self) -> None:
        """End what still runs."""
        self.lost = True
        self._tunnels.close()
        for channel in self._channels:
            channel.close()


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).version == 4 and ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
