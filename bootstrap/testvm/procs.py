"""Run tools, and find and end processes of which it is proven that they are a lab's."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from bootstrap.errors import GpuctlError, Problem
from bootstrap.exit_codes import ExitCode

PROC = Path("/proc")
Proof = Callable[[int], bool]


def run(argv: Sequence[str], *, timeout: float = 30, text_in: str | None = None, check: bool = True) -> str:
    """Run a tool and return its standard output.

    Raises GpuctlError `tool-failed` on a non-zero status (unless `check` is off), on a time-out (seconds) and
    where the tool is not there; the details are its last lines.
    """
    try:
        done = subprocess.run(
            list(argv), input=text_in, capture_output=True, text=True, timeout=timeout, check=False, env=environment()
        )
    except FileNotFoundError as error:
        raise _failed(argv, "is not installed", "") from error
    except subprocess.TimeoutExpired as error:
        raise _failed(argv, f"did not end within {timeout:.0f} s", "") from error
    if check and done.returncode != 0:
        raise _failed(argv, f"ended with status {done.returncode}", (done.stderr or done.stdout)[-2000:])
    return done.stdout


def environment() -> dict[str, str]:
    """The environment for system tools: their directories are on PATH, messages are in English."""
    path = os.environ.get("PATH", "")
    return os.environ | {"PATH": f"{path}:/usr/local/sbin:/usr/sbin:/sbin:/usr/bin:/bin", "LC_ALL": "C.UTF-8"}


def detach(argv: Sequence[str], log: Path, **variables: str) -> None:
    """Start a process that outlives us: a session of its own, no child of ours, its output appended to `log`."""
    with log.open("ab") as out:
        subprocess.run(
            ["setsid", "--fork", *argv], stdin=subprocess.DEVNULL, stdout=out, stderr=out, cwd="/", timeout=30,
            check=True, env=environment() | variables,
        )  # fmt: skip


def _failed(argv: Sequence[str], what: str, details: str) -> GpuctlError:
    return GpuctlError(
        ExitCode.STEP_FAILED,
        Problem("tool-failed", f"`{' '.join(argv[:6])}` {what}", details=details.strip()),
    )


def argv_of(pid: int) -> tuple[str, ...]:
    """The command line of a process; empty for one that is gone or belongs to the kernel."""
    try:
        raw = (PROC / str(pid) / "cmdline").read_bytes()
    except OSError:
        return ()
    return tuple(part.decode(errors="replace") for part in raw.split(b"\0")[:-1])


def find(proof: Callable[[int], bool]) -> tuple[int, ...]:
    """Process ids for which `proof` holds; never this process."""
    pids = (int(entry.name) for entry in PROC.iterdir() if entry.name.isdecimal())
    return tuple(pid for pid in pids if pid != os.getpid() and proof(pid))


def has_arguments(*wanted: str) -> Callable[[int], bool]:
    """Proof by command line: every one of `wanted` is a whole argument."""
    return lambda pid: set(wanted) <= set(argv_of(pid))


def send(pid: int, proof: Callable[[int], bool], number: signal.Signals | int) -> bool:
    """Signal a process if `proof` (asked while the process is held by a pidfd) still holds; False if it is gone.

    The pidfd closes the gap in which the id could have passed to another process.
    """
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return False
    try:
        if not proof(pid):
            return False
        signal.pidfd_send_signal(fd, number)
    except ProcessLookupError:
        return False
    finally:
        os.close(fd)
    return True


def end_all(
    proof: Callable[[int], bool], deadline_s: float = 10, number: signal.Signals = signal.SIGKILL
) -> tuple[int, ...]:
    """Signal every process for which `proof` holds until none is left; return those left after `deadline_s`."""
    until = time.monotonic() + deadline_s
    while left := find(proof):
        for pid in left:
            send(pid, proof, number)
        if time.monotonic() > until:
            return left
        time.sleep(0.02)
    return ()


def children(pid: int) -> tuple[int, ...]:
    """Direct children of a process, over all its threads."""
    found: list[int] = []
    for task in (PROC / str(pid) / "task").glob("*/children"):
        try:
            found += [int(child) for child in task.read_text().split()]
        except OSError:
            continue
    return tuple(found)
