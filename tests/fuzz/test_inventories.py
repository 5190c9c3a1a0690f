"""Inventories with one thing changed: resolved, or refused with a problem; never a traceback, never without end."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from bootstrap.inventory.load import child_environment
from tests.fuzz.inventories import Outcome, mutations
from tests.fuzz.share import cases

_PARTS = 2  # for as many processors


@pytest.mark.parametrize("part", range(_PARTS))
def test_mutated_inventories_are_read_or_refused(part: int, tmp_path: Path, figure: Callable[[str], None]) -> None:
    count = cases(10_000) // _PARTS
    order = {"seed": 20261201 + part, "count": count, "folder": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-m", "tests.fuzz.inventories"],
        input=json.dumps(order), capture_output=True, text=True, check=False, env=child_environment(), timeout=3600,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    found: Outcome = json.loads(done.stdout)
    assert not found["broken"], "\n".join(found["broken"])
    assert found["good"] + found["refused"] == count
    assert found["good"] > count // 20, "the corpus has to hold inventories that are read to the end"
    assert found["refused"] > count // 20
    figure(f"mutated inventories, part {part + 1} of {_PARTS}: {count}, {found['good']} read, 0 tracebacks, 0 hangs")


def test_the_corpus_is_the_same_on_every_run() -> None:
    assert list(mutations(5, 50)) == list(mutations(5, 50))
