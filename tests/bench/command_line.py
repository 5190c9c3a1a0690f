"""How long a person waits for the help."""

from __future__ import annotations

from collections.abc import Iterator

from tests.bench.measure import GPUCTL, Figure, best


def figures() -> Iterator[Figure]:
    yield Figure("gpuctl --help", best([GPUCTL, "--help"]), 0.3, note="best of 5")
    yield Figure("gpuctl --version", best([GPUCTL, "--version"]), 0.3, note="best of 5")
