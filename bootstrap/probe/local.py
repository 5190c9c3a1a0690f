"""The way to this machine itself: commands run as they would over ssh, in a fresh environment, without a shell."""

from __future__ import annotations

import contextlib
import fcntl
import grp
import ipaddress
import os
import pwd
import select
import shlex
import shutil
import signal
import socket
import subprocess
import termios
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

from bootstrap.probe.session import DEFAULT_TIMEOUT_S, Completed, drain
from bootstrap.probe.ssh_errors import ConnectFailure
from bootstrap.probe.tunnel import Tunnel

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
    """Start a command in a session of its own: Ctrl-C in our terminal is not meant for it.

    Its pipes end with this process, however that ends. env(1) starts it: a program that is missing is its status 127,
    as with a shell.
    """
    environment = _environment()
    home = environment.get("HOME", "/")
    return subprocess.Popen(
        _as_docker(["env", "--", *argv]),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        bufsize=0,
        cwd=home if Path(home).is_dir() else "/",
        env=environment,
        start_new_session=True,
    )


def _end(process: subprocess.Popen[bytes]) -> None:
    """End what still runs of a command. What sudo runs is not ours to end: it sees that its streams have ended."""
    if process.poll() is None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
    for stream in (process.stdin, process.stdout, process.stderr):
        if stream is not None:
            with contextlib.suppress(OSError):
                stream.close()


class LocalChannel:
    """A command with its streams; what probe.session.Channel asks for."""

    def __init__(self, argv: Sequence[str], timeout_s: float) -> None:
        self.closed = False
        self.exit_status = -1
        self.status_event = threading.Event()
        self._timeout: float | None = timeout_s
        self._process = _start(argv)
        assert self._process.stdin is not None  # noqa: S101 - Popen was given pipes
        assert self._process.stdout is not None  # noqa: S101
        assert self._process.stderr is not None  # noqa: S101
        self._in, self._out, self._err = self._process.stdin, self._process.stdout, self._process.stderr
        os.set_blocking(self._in.fileno(), False)
        threading.Thread(target=self._reap, name="gpuctl-local", daemon=True).start()

    def _reap(self) -> None:
        self.exit_status = max(self._process.wait(), -1)  # below zero: the signal that ended it
        self.status_event.set()

    @property
    def eof_received(self) -> bool:
        """Whether the process has ended."""
        return self.status_event.is_set()

    def settimeout(self, timeout: float | None) -> None:
        """How long an operation may take from now on."""
        self._timeout = timeout

    def sendall(self, s: bytes) -> None:
        """Write to its standard input. One that no longer reads tells why by its exit status."""
        deadline = None if self._timeout is None else time.monotonic() + self._timeout
        left = memoryview(s)
        while left:
            try:
                left = left[os.write(self._in.fileno(), left) :]
            except BlockingIOError:
                _wait(self._in, select.POLLOUT, None if deadline is None else deadline - time.monotonic())
            except BrokenPipeError:
                return

    def shutdown_write(self) -> None:
        """End its standard input."""
        self._in.close()

    def recv(self, nbytes: int) -> bytes:
        """Some of its standard output, waited for; empty at the end."""
        return self._receive(self._out, nbytes)

    def recv_stderr(self, nbytes: int) -> bytes:
        """Some of its standard error, waited for; empty at the end."""
        return self._receive(self._err, nbytes)

    def _receive(self, stream: IO[bytes], nbytes: int) -> bytes:
        if stream.closed:
            return b""
        _wait(stream, select.POLLIN, self._timeout)
        return os.read(stream.fileno(), nbytes)

    def recv_ready(self) -> bool:
        """Whether there is standard output now."""
        return _waiting(self._out) > 0

    def recv_stderr_ready(self) -> bool:
        """Whether there is standard error now."""
        return _waiting(self._err) > 0

    def exit_status_ready(self) -> bool:
        """Whether the process has ended."""
        return self.status_event.is_set()

    def recv_exit_status(self) -> int:
        """The exit status, waited for."""
        self.status_event.wait()
        return self.exit_status

    def close(self) -> None:
        """End the streams, and the process with all that it started as us."""
        self.closed = True
        _end(self._process)


def _feed(channel: LocalChannel, data: bytes) -> None:
    """Write all input and end it; what cannot be written shows in how the command ends."""
    with contextlib.suppress(OSError, ValueError):  # TimeoutError too; ValueError: closed meanwhile
        channel.sendall(data)
        channel.shutdown_write()


def _wait(stream: IO[bytes], event: int, timeout_s: float | None) -> None:
    """Wait until a pipe can be read or written, or has ended. Raises TimeoutError."""
    poll = select.poll()
    poll.register(stream.fileno(), event)
    if not poll.poll(None if timeout_s is None else max(timeout_s, 0.0) * 1000):
        raise TimeoutError


def _waiting(stream: IO[bytes]) -> int:
    """How many bytes a pipe holds; none at its end."""
    if stream.closed:
        return 0
    count = bytearray(4)
    fcntl.ioctl(stream.fileno(), termios.FIONREAD, count)
    return int.from_bytes(count, "little")


class LocalSession:
    """The way to this machine; what probe.session.Session asks for."""

    address = "this machine"

    def __init__(self, python: str = "/usr/bin/python3") -> None:
        self.user = local_user()
        self.python = python
        self.lost = False
        self._channels: list[LocalChannel] = []
        self._tunnels: list[Tunnel] = []

    def open_exec(self, argv: Sequence[str], timeout_s: float) -> LocalChannel:
        """Start a command; the channel's operations time out after `timeout_s`."""
        if self.lost:
            raise ConnectFailure("unreachable", "the session on this machine was closed", "run again")
        channel = LocalChannel(argv, timeout_s)
        self._channels = [*(known for known in self._channels if not known.closed), channel]
        return channel

    def run(self, argv: Sequence[str], stdin: str = "", timeout_s: float = DEFAULT_TIMEOUT_S) -> Completed:
        """Run a command and wait for its end; exit status 127 when there is no such program.

        Raises:
            ConnectFailure: it took longer than `timeout_s` seconds, or said too much; it was ended then, with what it
                started.
        """
        deadline = time.monotonic() + timeout_s
        channel = self.open_exec(argv, timeout_s)
        try:
            # Beside the reading: a command may answer before it has read all.
            threading.Thread(target=_feed, args=(channel, stdin.encode()), name="gpuctl-stdin", daemon=True).start()
            return drain(channel, deadline)
        except TimeoutError as error:
            said = f"{argv[0]} on {self.address} did not end within {timeout_s:.0f} s"
            raise ConnectFailure("unreachable", said, "look at the load of the host and run again") from error
        finally:
            channel.close()

    def forward(self, remote_host: str, remote_port: int) -> int:
        """A port on 127.0.0.1 that leads to remote_host:remote_port: the port itself where that is this machine."""
        if _is_loopback(remote_host):
            return remote_port

        def connect(_origin: tuple[str, int]) -> Any:
            return socket.create_connection((remote_host, remote_port), timeout=_CONNECT_TIMEOUT_S)

        tunnel = Tunnel(connect)
        self._tunnels.append(tunnel)
        return tunnel.port

    def close(self) -> None:
        """End what still runs."""
        self.lost = True
        for tunnel in self._tunnels:
            tunnel.close()
        for channel in self._channels:
            channel.close()


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).version == 4 and ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
