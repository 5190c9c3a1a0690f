"""A finding: what a check has to say about one host before anything is changed."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Severity(StrEnum):
    """REFUSE stops the run before any change; FIX is repaired on the way; WARN is only said."""

    REFUSE = "refuse"
    FIX = "fix"
    WARN = "warn"


@dataclass(frozen=True, slots=True)
class Finding:
    """One sentence about one host (None: about all). `fix` is the remedy, or what gpuctl will do about it."""

    host: str | None
    code: str
    severity: Severity
    message: str
    fix: str
