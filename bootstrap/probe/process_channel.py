"""A process of this machine with its three streams, as probe.session.Channel asks for them."""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import signal
import subprocess
import termios
import threading
import time
from collections.abc import Mapping, Sequence
from typing import IO

from bootstrap.probe.session import Completed, drain


def start_process(argv: Sequence[str], env: Mapping[str, str], cwd: str | None = None) -> subprocess.Popen[bytes]:
    """Start a command in a session of its own: Ctrl-C in our terminal is not meant for it, nor may it ask there.

    Its pipes end with this process, however that ends.
    """
    pipe = subprocess.PIPE
    return subprocess.Popen(
        argv, stdin=pipe, stdout=pipe, stderr=pipe, bufsize=0, cwd=cwd, env=env, start_new_session=True
    )


def end_process(process: subprocess.Popen[bytes]) -> None:
    """End what still runs of a command. What sudo runs is not ours to end: it sees that its streams have ended."""
    if process.poll() is None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
    for stream in (process.stdin, process.stdout, process.stderr):
        if stream is not None:
            with contextlib.suppress(OSError):
                stream.close()


class ProcessChannel:
    """A command with its streams; what probe.session.Channel asks for."""

    def __init__(self, process: subprocess.Popen[bytes], timeout_s: float) -> None:
        self.closed = False
        self.exit_status = -1
        self.status_event = threading.Event()
        self._timeout: float | None = timeout_s
        self._process = process
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
        end_process(self._process)


def _feed(channel: ProcessChannel, data: bytes) -> None:
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


def run_through(channel: ProcessChannel, stdin: str, deadline: float) -> Completed:
    """Give a process all its input and wait for its end; it is ended then in any case.

    Raises:
        TimeoutError: not at its end at the deadline (time.monotonic).
        ConnectFailure: it said too much.
    """
    try:
        # Beside the reading: a command may answer before it has read all.
        threading.Thread(target=_feed, args=(channel, stdin.encode()), name="gpuctl-stdin", daemon=True).start()
        return drain(channel, deadline)
    finally:
        channel.close()
