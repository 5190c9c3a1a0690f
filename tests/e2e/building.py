"""Groups of components that only some lanes need: built when such a lane begins, if there is time for it."""

from __future__ import annotations

import os
import subprocess
import time

import pytest

from bootstrap.testvm import components, mirror
from tests.e2e.tool import GPUCTL

# What a build of the group took on two cores with nothing cached, with half of it again for a slower machine (seconds).
COLD_S = {"minikube": 650, "batch": 450}


def built_groups() -> set[str]:
    """The groups of components that the mirror has."""
    made = components.current()
    if made is None:
        return set()
    return {group for group, there in (("minikube", made.minikube), ("batch", mirror.manifests(made.path))) if there}


def have(group: str, lane_cost_s: float) -> None:
    """Have the mirror hold the group; say so and leave the lane out where the time left is too short for both."""
    left = float(os.environ.get("GPUCTL_TEST_UNTIL", "inf")) - time.time()
    needed = COLD_S[group] + lane_cost_s
    words = f"SKIPPED for time: to build the components of {group} and to test with them takes"
    if group not in built_groups() and left < needed:
        pytest.skip(f"{words} {needed:.0f} s, {left:.0f} s are left")
    command = [GPUCTL, "testvm", "components", "build", "--with", group]
    try:
        subprocess.run(command, check=True, timeout=None if left == float("inf") else max(left - lane_cost_s, 60))
    except subprocess.TimeoutExpired:
        pytest.skip(f"{words} longer than the {left:.0f} s that were left")
