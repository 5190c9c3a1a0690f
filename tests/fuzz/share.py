"""How many cases of a corpus this run takes, and who may say how it went."""

from __future__ import annotations

import os

# One in so many cases runs with the unit tests: the first of the seeded sequence, so that it is always the same.
_SHARE = 40


def cases(full: int) -> int:
    """The number of cases to run out of `full`: all under `make fuzz` (GPUCTL_FUZZ=all), else a fixed share."""
    return full if os.environ.get("GPUCTL_FUZZ") == "all" else max(full // _SHARE, 1)
