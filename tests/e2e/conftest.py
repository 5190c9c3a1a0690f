"""The lab that the main lane runs on: made once, taken down at the end, also when the tests are interrupted."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.e2e.tool import GPUCTL, Lab


def lab_name(prefix: str) -> str:
    """A name of this run: two runs on one machine do not meet."""
    return f"{prefix}{os.getpid() % 1000000:x}"[:8]


def pytest_configure() -> None:
    """Take labs down when the run is ended by SIGTERM, too, as when it is by Ctrl-C."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def _needs_root() -> None:
    if os.geteuid() != 0:
        pytest.skip("SKIPPED end-to-end tests: test hosts need root")


@contextmanager
def made_lab(folder: Path, prefix: str, *options: str) -> Iterator[Lab]:
    """A lab with these options of `gpuctl testvm up`; gone afterwards unless GPUCTL_TEST_KEEP_LAB is set."""
    made = Lab(lab_name(prefix), folder)
    try:
        made.gpuctl("testvm", "up", "--name", made.name, *options)
        yield made
    finally:
        made.disconnect()
        if not os.environ.get("GPUCTL_TEST_KEEP_LAB"):
            subprocess.run([GPUCTL, "testvm", "down", "--name", made.name], timeout=300, check=False)
            shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """Three hosts: a control plane and two workers with eight simulated GPUs each."""
    with made_lab(tmp_path_factory.mktemp("lab"), "t", "--hosts", "3", "--gpus", "8") as made:
        yield made
