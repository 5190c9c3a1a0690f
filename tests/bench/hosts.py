"""How long test hosts take to ssh, and to be found as they are. The root file system is cached by a first lab."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.bench.measure import GPUCTL, Figure, timed

_LAB = "bench"


def figures() -> Iterator[Figure]:
    with tempfile.TemporaryDirectory() as folder:
        up = [GPUCTL, "testvm", "up", "--name", _LAB]
        try:
            timed([*up, "--hosts", "1"], 900, Path(folder))
            timed([GPUCTL, "testvm", "down", "--name", _LAB], 120)
            yield Figure("three hosts to ssh", timed(up, 300, Path(folder)), 15.0, note="root file system cached")
            yield Figure("testvm up again", timed(up, 60, Path(folder)), 2.0)
        finally:
            timed([GPUCTL, "testvm", "down", "--name", _LAB], 120)
