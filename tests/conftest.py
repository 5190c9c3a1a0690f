"""Shared by all tests: golden files, and which lanes of end-to-end tests there is time for."""

from __future__ import annotations

import difflib
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

_LEFT_AT_START: dict[str, float] = {}  # lane → seconds left when its first test was about to begin

# A busy machine makes no test fail: how long an example takes is not what these tests are about.
settings.register_profile("gpuctl", deadline=None)
settings.load_profile("gpuctl")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="write what is produced as what is expected")


def pytest_configure() -> None:
    """A shell starts its background jobs deaf to Ctrl-C, and what they start with them: tests send it to programs."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The main job goes before the other end-to-end lanes: what matters most is known first."""
    items.sort(key=lambda item: bool(item.get_closest_marker("e2e")) and not _is_main_job(item))


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Begin a lane of end-to-end tests only if its known cost fits into the time left, and say so when it does not.

    GPUCTL_TEST_UNTIL is that time, in seconds since 1970; a lane is a module with its cost in LANE_COST_S (seconds, on
    two cores, everything built). The main job's lane always runs.
    """
    until = os.environ.get("GPUCTL_TEST_UNTIL")
    if not until or not item.get_closest_marker("e2e") or _is_main_job(item):
        return
    module = item.getparent(pytest.Module)
    lane = module.name if module else item.name
    cost = float(getattr(module.obj, "LANE_COST_S", 0)) if module else 0.0
    left = _LEFT_AT_START.setdefault(lane, float(until) - time.time())
    if left < cost:
        pytest.skip(f"SKIPPED for time: {lane} takes about {cost:.0f} s, {max(left, 0):.0f} s are left")


@pytest.fixture
def figure(record_property: Callable[[str, object], None]) -> Callable[[str], None]:
    """Say what was measured or counted: printed at the end of the run, with xdist too."""
    return lambda text: record_property("figure", text)


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Print the figures of the tests that passed and failed."""
    reports = [report for kind in ("passed", "failed") for report in terminalreporter.stats.get(kind, ())]
    figures = [text for report in reports for name, text in getattr(report, "user_properties", ()) if name == "figure"]
    if figures:
        terminalreporter.section("figures")
        for text in sorted(figures):
            terminalreporter.write_line(f"  {text}")


def _is_main_job(item: pytest.Item) -> bool:
    return item.path.name == "test_main_job.py"


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Callable[[Path, str], None]:
    """Compare a text with a file, byte for byte; pytest --update-golden writes the file."""

    def compare(path: Path, text: str) -> None:
        if request.config.getoption("--update-golden"):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        expected = path.read_text(encoding="utf-8") if path.exists() else ""
        if text != expected:
            lines = (expected.splitlines(keepends=True), text.splitlines(keepends=True))
            pytest.fail(
                f"{path.name} differs (--update-golden):\n" + "".join(difflib.unified_diff(*lines)), pytrace=False
            )

    return compare
