"""Runs a playbook of the project in a child process and reads what becomes of it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from bootstrap.apply.events import EventReader, HostRun
from bootstrap.content import content_root
from bootstrap.errors import Problem
from bootstrap.progress import Progress
from bootstrap.rundir import RunDirectory

# What the child gets of our environment: ansible_runner copies all of it into its artifacts.
_ALLOWED = ("HOME", "LANG", "LC_ALL", "LOGNAME", "PATH", "SSH_AUTH_SOCK", "TZ", "USER", "XDG_RUNTIME_DIR")
_CANCEL_GRACE_S = 15.0
# An event holds a dozen texts of 64 KiB at most (apply/ansible_child.py), escaped as JSON.
LONGEST_LINE = 8 << 20


@dataclass(frozen=True, slots=True)
class Execution:
    """How one playbook ended: `status` is ansible_runner's word (successful, failed, canceled …) or "died"."""

    status: str
    hosts: Mapping[str, HostRun]
    problems: tuple[Problem, ...]
    stopped: bool


@contextmanager
def private_directory() -> Iterator[Path]:
    """A 0700 directory for variables and connections, removed at the end; kept short, as sockets live in it."""
    path = Path(tempfile.mkdtemp(prefix="gpuctl-"))
    try:
        owner = path / "owner.new"
        owner.write_text(str(os.getpid()), encoding="ascii")
        owner.rename(path / "owner")  # never seen half written, and there before any secret
        yield path
    finally:
        _close_connections(path)
        shutil.rmtree(path, ignore_errors=True)


def sweep_private_directories() -> None:
    """Remove what a killed run of this user left: it may hold secrets. A directory whose owner lives is left alone."""
    for path in Path(tempfile.gettempdir()).glob("gpuctl-*"):
        with suppress(OSError):  # another run removes its own meanwhile
            seen = path.lstat()
            if not stat.S_ISDIR(seen.st_mode) or seen.st_uid != os.getuid():
                continue
            owner = (path / "owner").read_text(encoding="ascii", errors="replace").strip()
            if not Path("/proc", owner or "0").exists():
                _close_connections(path)
                shutil.rmtree(path, ignore_errors=True)


def execute(
    playbook: str, private: Path, inventory_file: Path, stop_file: Path, run: RunDirectory, view: Progress, forks: int
) -> Execution:
    """Run playbooks/<playbook> over the inventory.

    The first KeyboardInterrupt asks it to stop after the components that are under way; a second one goes on to the
    caller, with Ansible ended.
    """
    request = private / "request.json"
    root = content_root()
    request.write_text(
        json.dumps(
            {
                "owner": os.getpid(),
                "private_data_dir": str(private),
                "project_dir": str(_working_directory(root)),
                "playbook": str(root / "playbooks" / playbook),
                "inventory": str(inventory_file),
                "forks": max(forks, 1),
            }
        ),
        encoding="utf-8",
    )
    reader = EventReader(view, root)
    errors = private / "stderr"
    with errors.open("wb") as stderr:
        child = subprocess.Popen(
            [sys.executable, "-m", "bootstrap.apply.ansible_child", str(request)],
            env=_environment(root, private),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
            start_new_session=True,
        )
    end, stopped = _follow(child, reader, stop_file, run, view)
    reader.finish()
    problems = [r.problem for r in reader.hosts.values() if r.problem]
    status = str(end.get("status", "died"))
    if status not in {"successful", "canceled"} and not problems:
        problems.append(_unexplained(end, errors))
    return Execution(status, reader.hosts, tuple(problems), stopped)


def _working_directory(root: Path) -> Path:
    """Where Ansible's ssh runs: here, as the probe's does: both take a relative `-F ssh.cfg` for the same file."""
    try:
        return Path.cwd()
    except OSError:  # deleted under our feet
        return root / "playbooks"


def _follow(
    child: subprocess.Popen[str], reader: EventReader, stop_file: Path, run: RunDirectory, view: Progress
) -> tuple[dict[str, Any], bool]:
    """Read the child until it ends; (its last line, whether a stop was asked for).

    Whatever else ends the reading (a full disk, a bug in a view, a second Ctrl-C) ends the child first.
    """
    try:
        return _read(child, reader, stop_file, run, view)
    except BaseException:
        _end(child)
        raise


def _read(
    child: subprocess.Popen[str], reader: EventReader, stop_file: Path, run: RunDirectory, view: Progress
) -> tuple[dict[str, Any], bool]:
    end: dict[str, Any] = {}
    stopped = False
    assert child.stdout is not None  # noqa: S101 - Popen was given a pipe
    while True:
        try:
            for line in _lines(child.stdout):
                if (event := _parsed(line, run)) is None:
                    continue
                if event["kind"] == "end":
                    end = event
                else:
                    run.event(event)
                    reader.read(event)
            child.wait()
            return end, stopped
        except KeyboardInterrupt:
            if stopped:
                raise
            stopped = True
            stop_file.touch()
            view.note("stopping after the components that are under way; press Ctrl-C again to stop at once")


def _lines(stream: IO[str]) -> Iterator[str]:
    """The lines of the child, each of a bounded length: of one that is longer, its beginning."""
    while line := stream.readline(LONGEST_LINE):
        yield line
        while len(line) == LONGEST_LINE and not line.endswith("\n"):
            line = stream.readline(LONGEST_LINE)


def _parsed(line: str, run: RunDirectory) -> dict[str, Any] | None:
    try:
        event = json.loads(line)
    except (ValueError, RecursionError):
        run.log.info("ansible: %s", line.rstrip())
        return None
    return event if isinstance(event, dict) and "kind" in event else None


def _end(child: subprocess.Popen[str]) -> None:
    """Ask Ansible to end, and insist after a grace period, or when interrupted once more."""
    child.terminate()
    try:
        if child.stdout is not None:
            child.stdout.close()  # a child that is stuck in writing to us would not hear
        child.wait(_CANCEL_GRACE_S)
    except (subprocess.TimeoutExpired, KeyboardInterrupt):
        with suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        child.wait()


def _environment(root: Path, private: Path) -> dict[str, str]:
    kept = {name: os.environ[name] for name in _ALLOWED if name in os.environ}
    kept["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{kept.get('PATH', os.defpath)}"
    kept.setdefault("LANG", "C.UTF-8")
    return {
        **kept,
        "ANSIBLE_CONFIG": str(root / "ansible.cfg"),
        "ANSIBLE_HOME": str(private / "home"),
        "ANSIBLE_SSH_CONTROL_PATH_DIR": str(private / "cp"),
        "ANSIBLE_LOCAL_TEMP": str(private / "tmp"),
        "PYTHONDONTWRITEBYTECODE": "1",
    }


def _close_connections(private: Path) -> None:
    """End the ssh masters that kept connections open for this run."""
    for socket in (private / "cp").glob("*"):
        with suppress(OSError, subprocess.TimeoutExpired):  # the directory goes in any case
            subprocess.run(
                ["ssh", "-O", "exit", "-o", f"ControlPath={socket}", "gpuctl"],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=10,
                check=False,
            )


def _unexplained(end: Mapping[str, Any], errors: Path) -> Problem:
    said = errors.read_text(encoding="utf-8", errors="replace").strip()
    details = "\n".join(part for part in (str(end.get("tail", "")).strip(), said) if part)
    return Problem(
        "ansible-failed",
        f"Ansible ended with status {end.get('status', 'died')} and named no host",
        "see the details; a corrupt installation is mended by installing gpuctl again",
        details=details[-4000:],
    )
