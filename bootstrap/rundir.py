"""The run directory: where a command leaves its log, its events, its plan and its report."""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import os
import re
import shutil
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bootstrap.errors import GpuctlError, Problem
from bootstrap.exit_codes import ExitCode
from bootstrap.redact import Redactor

KEPT_RUNS = 20
_RUN_NAME = re.compile(r"\d{8}-\d{6}-[a-z-]+(\.\d+)?")
_TRIES = 1000  # names for one second; more starts than that are something else gone wrong


def state_home() -> Path:
    """$XDG_STATE_HOME/gpuctl, by default ~/.local/state/gpuctl. A relative XDG_STATE_HOME is ignored, as XDG asks."""
    configured = os.environ.get("XDG_STATE_HOME", "")
    base = Path(configured) if configured.startswith("/") else Path.home() / ".local" / "state"
    return base / "gpuctl"


class _RedactingFormatter(logging.Formatter):
    """UTC time, level, text; tracebacks too pass through the redactor. Only an entry's first line is not indented."""

    converter = staticmethod(time.gmtime)

    def __init__(self, redactor: Redactor) -> None:
        super().__init__("%(asctime)s %(levelname)s %(message)s", "%Y-%m-%dT%H:%M:%SZ")
        self._redactor = redactor

    def format(self, record: logging.LogRecord) -> str:
        """The finished line, without secrets."""
        return self._redactor.text(super().format(record)).rstrip("\n").replace("\n", "\n    ")


class RunDirectory:
    """One run's directory (0700): `log`, `events.jsonl`, `plan.json`, `report.json`, all redacted (0600)."""

    def __init__(self, path: Path, redactor: Redactor | None = None) -> None:
        self.path = path
        self.redactor = redactor or Redactor()
        self.log = logging.getLogger(f"gpuctl.run.{path}")
        self._events = threading.Lock()
        self._open_log()

    @classmethod
    def create(cls, verb: str, redactor: Redactor | None = None, root: Path | None = None) -> RunDirectory:
        """Make a directory named by UTC time and verb, and drop all but the newest 20 runs.

        Raises GpuctlError (settings) when the state directory cannot be written.
        """
        runs = (root or state_home()) / "runs"
        try:
            runs.mkdir(mode=0o700, parents=True, exist_ok=True)
            path = _unique(runs, time.strftime("%Y%m%d-%H%M%S", time.gmtime()) + f"-{verb}")
            run = cls(path, redactor)
        except OSError as error:
            raise _unwritable(runs, error) from error
        prune(runs)
        return run

    @property
    def id(self) -> str:
        """The run's name: what GPUCTL_RUN and receipts carry."""
        return self.path.name

    @property
    def log_path(self) -> Path:
        """The log file."""
        return self.path / "log"

    def event(self, event: Mapping[str, Any]) -> None:
        """Append one event to events.jsonl, redacted. May be called from any thread."""
        line = json.dumps(self.redactor.tree(event), sort_keys=True, default=str)
        with self._events, self._open(self.path / "events.jsonl", "a") as file:
            file.write(line + "\n")

    def write_json(self, name: str, document: Mapping[str, Any]) -> Path:
        """Write plan.json, report.json or another document, redacted, whole or not at all."""
        path = self.path / name
        partial = path.with_suffix(path.suffix + ".partial")
        with self._open(partial, "w") as file:
            json.dump(self.redactor.tree(document), file, indent=2, sort_keys=True, default=str)
            file.write("\n")
        partial.replace(path)
        return path

    def close(self) -> None:
        """Release the log file."""
        for handler in list(self.log.handlers):
            self.log.removeHandler(handler)
            if isinstance(handler, logging.StreamHandler):
                handler.stream.close()
            handler.close()

    def _open_log(self) -> None:
        self.log.setLevel(logging.DEBUG)
        self.log.propagate = False
        stream = self._open(self.log_path, "a")
        with contextlib.suppress(OSError):  # a file system without locks: old runs may then go while they last
            fcntl.flock(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)
        handler = logging.StreamHandler(stream)
        handler.setFormatter(_RedactingFormatter(self.redactor))
        self.log.addHandler(handler)

    def _open(self, path: Path, mode: str) -> Any:
        return open(path, mode, encoding="utf-8", errors="replace", opener=_private)


def prune(runs: Path, keep: int = KEPT_RUNS) -> None:
    """Remove all but the newest `keep` run directories. What is under way, cannot be removed, or is no run, stays."""
    names = sorted((p.name for p in runs.iterdir() if _RUN_NAME.fullmatch(p.name)), key=_age)
    for name in names[: max(0, len(names) - keep)]:
        if not _under_way(runs / name / "log"):
            shutil.rmtree(runs / name, ignore_errors=True)


def _under_way(log: Path) -> bool:
    """Whether a process holds the run's log: its lock goes with the process, however that ends."""
    try:
        with log.open("rb") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def _age(name: str) -> tuple[str, str, int]:
    stem, _, number = name.partition(".")
    return stem[:15], stem[16:], int(number or 0)


def _unique(runs: Path, name: str) -> Path:
    for number in range(1, _TRIES):
        path = runs / (name if number == 1 else f"{name}.{number}")
        try:
            path.mkdir(mode=0o700)
        except FileExistsError:
            continue
        return path
    raise FileExistsError(f"{runs / name} and {_TRIES} more")


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _unwritable(runs: Path, error: OSError) -> GpuctlError:
    return GpuctlError(
        ExitCode.SETTINGS,
        Problem(
            "state-not-writable",
            f"{runs} cannot be written: {error.strerror or error}",
            "make it writable, free space on that disk, or set XDG_STATE_HOME to a directory of yours",
        ),
    )
