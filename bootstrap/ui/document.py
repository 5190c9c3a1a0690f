"""`--output json`: exactly one versioned document, whatever happened."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bootstrap.errors import Problem
from bootstrap.exit_codes import ExitCode
from bootstrap.redact import Redactor

VERSION = 1  # raised when a key goes away or changes its meaning; new keys do not raise it

_GOOD = frozenset({ExitCode.OK, ExitCode.CHANGES})


def status_of(code: ExitCode) -> str:
    """`ok`, `partial` (some hosts done, some not) or `failed`."""
    if code in _GOOD:
        return "ok"
    return "partial" if code is ExitCode.PARTIAL else "failed"


def envelope(
    command: str,
    code: ExitCode,
    data: Mapping[str, Any] | None = None,
    problems: Sequence[Problem] = (),
    log: Path | None = None,
) -> dict[str, Any]:
    """The document: its keys are a contract. `command` is what was called, e.g. "testvm up"; `data` the result."""
    return {
        "version": VERSION,
        "command": command,
        "status": status_of(code),
        "exit_code": int(code),
        "data": dict(data or {}),
        "errors": [problem.as_dict() for problem in problems],
        "log": None if log is None else str(log),
    }


def as_text(document: Mapping[str, Any], redactor: Redactor | None = None) -> str:
    """The document as indented ASCII JSON with sorted keys, without secrets."""
    return json.dumps((redactor or Redactor()).tree(document), indent=2, sort_keys=True)
