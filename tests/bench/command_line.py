"""How long a person waits for the help."""

from __future__ import annotations

from collections.abc import Iterator

from tests.bench.measure import GPUCTL, Figure, median


def figures() -> Iterator[Figure]:
    yield Figure("gpuctl --help", median([GPUCTL, "--help"]), 0.3)
    yield Figure("gpuctl --version", median([GPUCTL, "--version"]), 0.3)
