"""Processor time: what a measured command and its test hosts took, and what everything else took meanwhile."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

_CGROUPS = Path("/sys/fs/cgroup")


@dataclass
class Usage:
    """Seconds of processor time, and of wall clock."""

    ours: float = 0.0
    others: float = 0.0
    wall: float = 0.0

    def note(self) -> str:
        return f"{self.ours:.0f} s of processor time; others took {self.others:.0f} s meanwhile"


@contextmanager
def accounted(lab: str) -> Iterator[Usage]:
    """What this process's children and the lab's hosts take, and the rest of the machine."""
    usage, begun = Usage(), time.monotonic()
    before, machine = _ours(lab), _machine()
    yield usage
    usage.ours = _ours(lab) - before
    usage.others = max(0.0, _machine() - machine - usage.ours)
    usage.wall = time.monotonic() - begun


def _ours(lab: str) -> float:
    """Children that have ended, and the lab's cgroups (v1 or v2)."""
    times = os.times()
    v1 = [int(path.read_text()) / 1e9 for path in _CGROUPS.glob(f"cpuacct/gpuctl-{lab}-*/cpuacct.usage")]
    v2 = [_microseconds(path) / 1e6 for path in _CGROUPS.glob(f"gpuctl-{lab}-*/cpu.stat")]
    return times.children_user + times.children_system + sum(v1 or v2)


def _microseconds(stat: Path) -> int:
    return next((int(line.split()[1]) for line in stat.read_text().splitlines() if line.startswith("usage_usec")), 0)


def _machine() -> float:
    """Busy seconds of all processors since boot (proc(5): user, nice, system, idle, iowait, irq, softirq, …)."""
    ticks = [int(word) for word in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
    return (sum(ticks) - ticks[3] - ticks[4]) / os.sysconf("SC_CLK_TCK")
