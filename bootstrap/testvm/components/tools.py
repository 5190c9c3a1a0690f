"""Runs the build tools: argv lists, a log for each, a deadline, and an error that says what went wrong."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
from typing import TYPE_CHECKING

from bootstrap.errors import GpuctlError, Problem
from bootstrap.exit_codes import ExitCode

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

LAST_LINES = 15


def build_failed(tool: str, message: str, fix: str = "", details: str = "") -> GpuctlError:
    """The error of a component that could not be built (exit 5)."""
    return GpuctlError(
        ExitCode.STEP_FAILED, Problem("component-build-failed", f"{tool}: {message}", fix, None, None, details)
    )


def need(tool: str, package: str) -> str:
    """Path of a program of this machine; GpuctlError "tool-missing" (exit 4) with the package that brings it."""
    found = shutil.which(tool)
    if found is None:
        problem = Problem("tool-missing", f"{tool} is not installed on this machine", fix=f"apt-get install {package}")
        raise GpuctlError(ExitCode.PREFLIGHT, problem)
    return found


def run(
    tool: str,
    argv: Sequence[str],
    *,
    log: Path,
    timeout_s: float,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
) -> None:
    """Runs `argv` with its output in `log` (added to).

    The command gets a process group of its own, which is ended as a whole when the deadline passes or the caller is
    interrupted: compilers do not outlive the build. Raises GpuctlError "component-build-failed".
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as sink:
        start = sink.tell()
        sink.write(f"$ {shlex.join(argv)}\n".encode())
        sink.flush()
        child = subprocess.Popen(
            list(argv),
            cwd=cwd,
            env=dict(env) if env is not None else None,
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            status = child.wait(timeout=timeout_s)
        except subprocess.TimeoutExpired:
            _end(child)
            raise build_failed(tool, f"no end after {timeout_s:.0f} s: {_short(argv)}", "", _last(log, start)) from None
        except BaseException:
            _end(child)
            raise
    if status != 0:
        message = f"`{_short(argv)}` ended with status {status}"
        raise build_failed(tool, message, f"the whole output is in {log}", _last(log, start))


def output(
    argv: Sequence[str], *, timeout_s: float = 60, env: Mapping[str, str] | None = None, cwd: Path | None = None
) -> str:
    """Standard output of a short command; GpuctlError "component-build-failed" when it fails."""
    env = dict(env) if env else None
    done = subprocess.run(list(argv), capture_output=True, text=True, timeout=timeout_s, env=env, cwd=cwd, check=False)
    if done.returncode != 0:
        raise build_failed(argv[0], f"`{_short(argv)}` ended with status {done.returncode}", "", done.stderr[-2000:])
    return done.stdout


def _end(child: subprocess.Popen[bytes]) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(child.pid, number)
            child.wait(timeout=5)
        except ProcessLookupError:
            break
        except subprocess.TimeoutExpired:
            continue
        break
    child.wait()


def _short(argv: Sequence[str], limit: int = 200) -> str:
    line = shlex.join(argv)
    return line if len(line) <= limit else line[: limit - 1] + "…"


def _last(log: Path, start: int) -> str:
    with log.open("rb") as handle:
        handle.seek(start)
        lines = handle.read().decode(errors="replace").splitlines()[1:]
    return "\n".join(lines[-LAST_LINES:])
