"""Shared by all tests: golden files, and the time that the end-to-end tests may take."""

from __future__ import annotations

import difflib
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import settings

_BEGUN = time.monotonic()

# A busy machine makes no test fail: how long an example takes is not what these tests are about.
settings.register_profile("gpuctl", deadline=None)
settings.load_profile("gpuctl")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="write what is produced as what is expected")


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Begin no end-to-end test once the budget is spent: a machine's time limit would cut one off half way."""
    budget = os.environ.get("GPUCTL_TEST_BUDGET_S")
    if budget and item.get_closest_marker("e2e") and time.monotonic() - _BEGUN > float(budget):
        pytest.skip(f"SKIPPED for time: {budget} s (GPUCTL_TEST_BUDGET_S) are spent")


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
