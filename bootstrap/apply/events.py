"""What Ansible's events mean: progress for the view, outcomes per host, and failures as problems. Pure."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bootstrap.apply.remedies import told
from bootstrap.errors import Problem
from bootstrap.printable import one_line
from bootstrap.progress import Progress

# Whose messages may have a code: tasks of ours on the controller, and our modules, whose answers host_action has read.
_OURS = re.compile(r"(ansible\.builtin\.)?(assert|fail)|gpuctl_\w+")
# The modules whose result says that a component is through: its last task.
_RECEIPTS = frozenset({"gpuctl_receipt", "gpuctl_objects"})
# What a play does outside of any role for all its components at once: shown as a step of that name.
_PLAYS_STEPS = {"gpuctl_packages": "packages"}
_SENTENCE = 400  # characters of a host's sentence in an error's own line
_FAILED = frozenset({"runner_on_failed", "runner_on_unreachable"})


@dataclass(slots=True)
class HostRun:
    """One host while Ansible runs."""

    completed: list[str] = field(default_factory=list)
    current: str | None = None
    since: float = 0.0
    changed: int = 0
    problem: Problem | None = None


class EventReader:
    """Feeds a view and collects outcomes from the event stream; `clock` gives seconds."""

    def __init__(self, view: Progress, content: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self._view = view
        self._content = content
        self._clock = clock
        self.hosts: dict[str, HostRun] = {}

    def read(self, event: Mapping[str, Any]) -> None:
        """Take one event."""
        host, kind = event.get("host"), event.get("event")
        if not host or kind is None or kind == "playbook_on_task_start":
            return
        run = self.hosts.setdefault(str(host), HostRun())
        role = (
            str(event["role"]).rsplit(".", 1)[-1] if event.get("role") else _PLAYS_STEPS.get(str(event.get("action")))
        )
        if kind == "runner_on_start":
            self._task_started(str(host), run, role, str(event.get("task") or ""))
        elif kind == "runner_on_ok":
            self._task_done(str(host), run, role, event)
        elif kind in _FAILED and not event.get("ignored"):
            self._task_failed(str(host), run, role, event)

    def finish(self) -> None:
        """The stream has ended: a step that has neither completed nor failed was cut short."""
        for run in self.hosts.values():
            if run.problem is None and run.current in run.completed:
                run.current = None

    def _task_started(self, host: str, run: HostRun, role: str | None, task: str) -> None:
        if role is None or role in run.completed:
            return
        if role != run.current:
            run.current, run.since = role, self._clock()
            self._view.started(host, role)
        self._view.task(host, role, task.removeprefix(f"{role} : "))

    def _task_done(self, host: str, run: HostRun, role: str | None, event: Mapping[str, Any]) -> None:
        result = event.get("res") or {}
        run.changed += bool(result.get("changed"))
        if event.get("action") in _RECEIPTS and result.get("state") in {"complete", "absent"} and role is not None:
            run.completed.append(role)
            self._done(host, run, str(role))
        elif role in _PLAYS_STEPS.values():
            self._done(host, run, str(role))

    def _done(self, host: str, run: HostRun, step: str) -> None:
        self._view.done(host, step, self._clock() - run.since)
        run.current = None

    def _task_failed(self, host: str, run: HostRun, role: str | None, event: Mapping[str, Any]) -> None:
        if run.problem is not None:
            return
        run.current = role or run.current
        run.problem = problem_of(event, host, self._place(event.get("path")))
        self._view.failed(host, run.current or "ansible", run.problem.message)

    def _place(self, path: Any) -> str | None:
        """roles/x/tasks/y.yml:12, wherever the project is installed."""
        return str(path).removeprefix(f"{self._content}/") if path else None


def problem_of(event: Mapping[str, Any], host: str, place: str | None) -> Problem:
    """The failure that an event reports."""
    result = event.get("res") or {}
    message = str(result.get("msg") or "").strip() or "failed without a message"
    step = str(event.get("role") or event.get("play") or "ansible").rsplit(".", 1)[-1]
    where = f"{place} ({_bare(event)})" if place else _bare(event)
    if event.get("event") == "runner_on_unreachable":
        fix = "check that the host is up and that ssh to it works, then run the same command again"
        return Problem("unreachable", f"lost while in step {step}: {_first_line(message)}", fix, host, where, message)
    known = told(message) if _OURS.fullmatch(str(event.get("action") or "")) else None
    if known is not None:
        first, _, rest = known.what.partition("\n")
        details = "\n".join(part for part in (rest, known.left, _output(result)) if part)
        words = f"step {step} failed: {one_line(first, _SENTENCE)}"
        return Problem(known.code, words, known.fix, host, where, details)
    if result.get("argument_errors"):
        message = one_line("; ".join(map(str, result["argument_errors"])), _SENTENCE)
        return Problem(
            "variable-invalid", f"step {step}: {message}", "correct the variable in the inventory", host, where
        )
    fix = "see the details and the log; run the same command again once the cause is gone"
    details = "\n".join(part for part in (message, _output(result)) if part)
    return Problem("step-failed", f"step {step} failed: {_first_line(message)}", fix, host, where, details)


def _output(result: Mapping[str, Any]) -> str:
    parts = (str(result.get(key) or "").strip() for key in ("details", "stderr", "stdout"))
    return "\n".join(part for part in parts if part)[-2000:]


def _bare(event: Mapping[str, Any]) -> str:
    return str(event.get("task") or "").split(" : ", 1)[-1]


def _first_line(text: str) -> str:
    return one_line(next((line for line in text.splitlines() if line.strip()), text), _SENTENCE)
