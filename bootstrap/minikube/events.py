"""What `minikube start --output=json` prints: one CloudEvent per line. Pure.

Types and fields are those of minikube 1.38 (pkg/minikube/out/register).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

_PREFIX = "io.k8s.sigs.minikube."


@dataclass(frozen=True, slots=True)
class Step:
    """A step of the start: `number` of `total`."""

    number: int
    total: int
    message: str


@dataclass(frozen=True, slots=True)
class Download:
    """Something is fetched; `percent` is None when it has just begun."""

    artifact: str
    percent: float | None = None


@dataclass(frozen=True, slots=True)
class Remark:
    """A sentence; `warning` says whether minikube thinks that it matters."""

    message: str
    warning: bool = False


@dataclass(frozen=True, slots=True)
class Failure:
    """The error that ends it: minikube's own name for it, exit status and advice; what is unknown is empty or 0."""

    message: str
    name: str = ""
    exit_code: int = 0
    advice: str = ""


Event = Step | Download | Remark | Failure


def parse_event(line: str) -> Event | None:
    """The event in a line; a line that is no event is a remark, an empty line or an event of no interest is None."""
    text = line.strip()
    if not text:
        return None
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return Remark(text)
    if not isinstance(found, dict):
        return Remark(text)
    data = found.get("data")
    fields = {str(key): value for key, value in data.items()} if isinstance(data, dict) else {}
    kind = str(found.get("type") or "").removeprefix(_PREFIX)
    message = str(fields.get("message") or "").strip()
    if kind == "step":
        return Step(_number(fields.get("currentstep")), _number(fields.get("totalsteps")), message)
    if kind in {"download", "download.progress"}:
        return Download(str(fields.get("artifact") or ""), _percent(fields.get("progress")))
    if kind == "error":
        return Failure(
            message, str(fields.get("name") or ""), _number(fields.get("exitcode")), str(fields.get("advice") or "")
        )
    if kind in {"warning", "info"} and message:
        return Remark(message, kind == "warning")
    return None


def words_of(event: Event) -> str:
    """The event in a line."""
    return f"download of {event.artifact}" if isinstance(event, Download) else event.message


def _number(value: Any) -> int:
    text = str(value or "0")
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 10 else 0


def _percent(value: Any) -> float | None:
    try:
        share = float(str(value))
    except ValueError:
        return None
    return min(max(share, 0.0), 1.0) * 100 if share == share else None
