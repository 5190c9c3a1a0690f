"""What every measurement shares."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

GPUCTL = str(Path(sys.executable).with_name("gpuctl"))


@dataclass(frozen=True)
class Figure:
    """One line of the table: seconds (or a ratio), and what to aim for in the same unit; no aim: it is to compare."""

    what: str
    value: float
    aim: float | None = None
    unit: str = "s"
    note: str = ""

    def line(self) -> str:
        kept = "" if self.aim is None else "within" if self.value <= self.aim else "OVER"
        aim = "" if self.aim is None else f"aim {self.aim:g} {self.unit:2} {kept}"
        note = f"   {self.note}" if self.note else ""
        return f"{self.what:44} {self.value:8.2f} {self.unit:2} {aim}{note}".rstrip()


@dataclass(frozen=True)
class Remark:
    """A line that is no figure: what was left out, and how to have it."""

    text: str

    def line(self) -> str:
        return self.text


def timed(
    argv: Sequence[str], deadline_s: float, cwd: Path | None = None, environment: Mapping[str, str] | None = None
) -> float:
    """Seconds that a command takes; raises CalledProcessError with what it said when it fails."""
    begun = time.monotonic()
    done = subprocess.run(
        argv, cwd=cwd, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True,
        timeout=deadline_s, check=False,
    )  # fmt: skip
    if done.returncode:
        raise subprocess.CalledProcessError(done.returncode, list(argv), done.stdout, done.stderr)
    return time.monotonic() - begun


def several(argv: Sequence[str], times: int) -> list[float]:
    """Seconds of several runs, after one that warms the file cache."""
    timed(argv, 60)
    return [timed(argv, 60) for _ in range(times)]


def median(argv: Sequence[str], times: int = 9) -> float:
    """Median seconds of several runs."""
    return statistics.median(several(argv, times))


def best(argv: Sequence[str], times: int = 5) -> float:
    """The shortest of several runs: what the program takes, without what else the machine did."""
    return min(several(argv, times))
