"""What a way to a host offers, whichever it is: commands, processes that stay open, ports."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

DEFAULT_TIMEOUT_S = 15.0


@dataclass(frozen=True, slots=True)
class Completed:
    """What a command left: exit status (-1: killed by a signal), standard output, standard error."""

    rc: int
    out: str
    err: str


class Ended(Protocol):
    """What is set once a process has ended."""

    def wait(self, timeout: float | None = None) -> bool:
        """Wait for it; whether it is set."""


class Channel(Protocol):
    """A process on a host with its three streams, as paramiko has it. Operations raise TimeoutError and OSError."""

    closed: bool
    exit_status: int

    @property
    def eof_received(self) -> int:
        """Nonzero when the process will say nothing more."""

    @property
    def status_event(self) -> Ended:
        """Set once `exit_status` is known."""

    def settimeout(self, timeout: float | None) -> None:
        """How long an operation may take from now on."""

    def sendall(self, s: bytes) -> None:
        """Write to its standard input."""

    def shutdown_write(self) -> None:
        """End its standard input."""

    def recv(self, nbytes: int) -> bytes:
        """Some of its standard output, waited for; empty at the end."""

    def recv_stderr(self, nbytes: int) -> bytes:
        """Some of its standard error, waited for; empty at the end."""

    def recv_ready(self) -> bool:
        """Whether there is standard output now."""

    def recv_stderr_ready(self) -> bool:
        """Whether there is standard error now."""

    def exit_status_ready(self) -> bool:
        """Whether the process has ended."""

    def recv_exit_status(self) -> int:
        """The exit status, waited for."""

    def close(self) -> None:
        """End the streams."""


class Session(Protocol):
    """A way to one host that is open."""

    @property
    def user(self) -> str:
        """As whom commands run there."""

    @property
    def address(self) -> str:
        """Where the host is, for messages."""

    @property
    def python(self) -> str:
        """The Python there, as the inventory has it."""

    @property
    def lost(self) -> bool:
        """Whether nothing can be run any more."""

    def open_exec(self, argv: Sequence[str], timeout_s: float) -> Channel:
        """Start a command; the channel's operations time out after `timeout_s`. Raises ConnectFailure."""

    def run(self, argv: Sequence[str], stdin: str = "", timeout_s: float = DEFAULT_TIMEOUT_S) -> Completed:
        """Run a command there and wait for its end; exit status 127 when there is no such program.

        Raises:
            ConnectFailure: the connection was lost, or the command took longer than `timeout_s` seconds.
        """

    def forward(self, remote_host: str, remote_port: int) -> int:
        """A port on 127.0.0.1 whose connections come out of the host, to remote_host:remote_port; until closed."""

    def close(self) -> None:
        """End everything that goes through it."""


def drain(channel: Channel, deadline: float) -> Completed:
    """Read a channel to its end. Raises TimeoutError at the deadline (time.monotonic)."""
    out = _read(channel, channel.recv, deadline)
    err = _read(channel, channel.recv_stderr, deadline)
    if not channel.status_event.wait(max(deadline - time.monotonic(), 0.0)):
        raise TimeoutError
    return Completed(channel.exit_status, out, err)


def _read(channel: Channel, receive: Callable[[int], bytes], deadline: float) -> str:
    data = bytearray()
    while True:
        channel.settimeout(max(deadline - time.monotonic(), 0.001))
        chunk = receive(1 << 16)
        if not chunk:
            return data.decode("utf-8", "replace")
        data += chunk
