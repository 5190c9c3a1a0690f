"""Errors as text: host and what, then the remedy, the place, what was seen; the log last, where the eye lands."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from bootstrap.errors import GpuctlError, Problem
from bootstrap.printable import one_line, printable
from bootstrap.ui.layout import clip, count

_SHOWN_DETAIL_LINES = 12  # the rest is in the log
_SHOWN_DETAIL_COLUMNS = 400  # of a line


def error_lines(error: GpuctlError, log: Path | None = None, *, nothing_changed: bool = False) -> list[str]:
    """All lines for an error; `log` is named last when there is one."""
    return problem_lines(error.problems, log, nothing_changed=nothing_changed)


def problem_lines(
    problems: Sequence[Problem], log: Path | None = None, *, nothing_changed: bool = False, state: str = ""
) -> list[str]:
    """Problems in the order given, one block each; the same problem on several hosts is one block.

    `state` says where a run that had begun was left. `nothing_changed` adds that sentence, with the number of errors.
    """
    lines = [line for hosts, problem in _grouped(problems) for line in _block(hosts, problem)]
    if len(problems) > 1 or nothing_changed:
        lines.append(count(len(problems), "error") + ("; nothing was changed" if nothing_changed else ""))
    if state:
        lines.append(f"  state: {state}")
    if log is not None:
        lines.append(f"  log:  {home_relative(log)}")
    return lines


def home_relative(path: Path) -> str:
    """The path with ~ for the home directory."""
    try:
        return f"~/{path.relative_to(Path.home())}"
    except (ValueError, RuntimeError):
        return str(path)


def _grouped(problems: Sequence[Problem]) -> list[tuple[list[str], Problem]]:
    groups: dict[tuple[str, ...], tuple[list[str], Problem]] = {}
    for problem in problems:
        key = (problem.code, problem.message, problem.fix, problem.at or "", problem.details)
        hosts, _ = groups.setdefault(key, ([], problem))
        if problem.host and problem.host not in hosts:
            hosts.append(problem.host)
    return list(groups.values())


def _block(hosts: list[str], problem: Problem) -> list[str]:
    # Without a host the place is the subject ("lab.ini:14: unknown variable ..."); with one it is a detail.
    subject = ", ".join(hosts) or problem.at or ""
    # One line: what a host says in it cannot look like a remedy, a place or another error of ours.
    lines = [f"error: {subject + ': ' if subject else ''}{one_line(problem.message)}   [{problem.code}]"]
    lines += _labelled("fix:", printable(problem.fix))
    if hosts and problem.at:
        lines += _labelled("at:", one_line(problem.at))
    return lines + _said(hosts, _tail(printable(problem.details)))


def _said(hosts: list[str], details: list[str]) -> list[str]:
    """What was seen; where a host is named, it is the host that says so."""
    if not hosts or not details:
        return _labelled("seen:", "\n".join(details))
    return [f"  {', '.join(hosts)} {'says' if len(hosts) == 1 else 'say'}:", *(f"        {line}" for line in details)]


def _labelled(label: str, text: str) -> list[str]:
    if not text:
        return []
    first, *rest = text.splitlines()
    return [f"  {label:5} {first}", *(f"        {line}" for line in rest)]


def _tail(details: str) -> list[str]:
    """The last lines: tools name the cause at the end."""
    lines = [clip(line, _SHOWN_DETAIL_COLUMNS) for line in details.rstrip().splitlines()]
    left_out = len(lines) - _SHOWN_DETAIL_LINES
    if left_out <= 0:
        return lines
    return [f"({count(left_out, 'line')} before these in the log)", *lines[-_SHOWN_DETAIL_LINES:]]
