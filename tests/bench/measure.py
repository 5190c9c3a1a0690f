"""What every measurement shares."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

GPUCTL = str(Path(sys.executable).with_name("gpuctl"))


@dataclass(frozen=True)
class Figure:
    """One line of the table: seconds (or a ratio), and what to aim for in the same unit."""

    what: str
    value: float
    aim: float
    unit: str = "s"
    note: str = ""

    def line(self) -> str:
        kept = "within" if self.value <= self.aim else "OVER"
        note = f"   {self.note}" if self.note else ""
        return f"{self.what:44} {self.value:8.2f} {self.unit:2} aim {self.aim:g} {self.unit:2} {kept}{note}"


def timed(argv: Sequence[str], deadline_s: float, cwd: Path | None = None) -> float:
    """Seconds that a command takes; raises CalledProcessError with what it said when it fails."""
    begun = time.monotonic()
    done = subprocess.run(argv, cwd=cwd, capture_output=True, text=True, timeout=deadline_s, check=False)
    if done.returncode:
        raise subprocess.CalledProcessError(done.returncode, list(argv), done.stdout, done.stderr)
    return time.monotonic() - begun


def median(argv: Sequence[str], times: int = 9) -> float:
    """Median seconds of several runs, after one that warms the file cache."""
    timed(argv, 60)
    return statistics.median(timed(argv, 60) for _ in range(times))
