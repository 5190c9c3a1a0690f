"""What a way to a host offers, whichever it is: commands, processes that stay open, ports."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from bootstrap.probe.ssh_errors import answer_too_long

DEFAULT_TIMEOUT_S = 15.0
# The longest answer that any command is asked for: the pods of a cluster, 5,000 of them with 6 KiB each.
MOST_BYTES = 32 << 20
_TURN_S = 0.25  # how long one stream is waited for before the other is looked at


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
    def python(self) -> tuple[str, ...]:
        """The Python there, as the words of a command."""

    @property
    def notes(self) -> tuple[str, ...]:
        """What was passed over on the way there, such as a broken line of known_hosts."""

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


def drain(channel: Channel, deadline: float, limit: int = MOST_BYTES) -> Completed:
    """Read a channel to its end, both streams by turns: what is not read, a host could make us keep.

    Raises:
        TimeoutError: not at its end at the deadline (time.monotonic).
        ConnectFailure: more than `limit` bytes came.
    """
    out, err = bytearray(), bytearray()
    while _take(channel.recv, channel, deadline, out):
        while channel.recv_stderr_ready() and _take(channel.recv_stderr, channel, deadline, err):
            _refuse_beyond(limit, out, err)
        _refuse_beyond(limit, out, err)
    while _take(channel.recv_stderr, channel, deadline, err):
        _refuse_beyond(limit, out, err)
    if not channel.status_event.wait(max(deadline - time.monotonic(), 0.0)):
        raise TimeoutError
    return Completed(channel.exit_status, out.decode("utf-8", "replace"), err.decode("utf-8", "replace"))


def _take(receive: Callable[[int], bytes], channel: Channel, deadline: float, data: bytearray) -> bool:
    """Add what comes within a turn; whether there may be more. Raises TimeoutError at the deadline."""
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    channel.settimeout(min(left, _TURN_S))
    try:
        chunk = receive(1 << 16)
    except TimeoutError:
        return True
    data += chunk
    return bool(chunk)


def _refuse_beyond(limit: int, out: bytearray, err: bytearray) -> None:
    if len(out) + len(err) > limit:
        raise answer_too_long(limit)
