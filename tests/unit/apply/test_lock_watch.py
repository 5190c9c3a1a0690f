"""A lock that is lost in mid-run stops the run; a host that the run reboots takes its lock again."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pytest

from bootstrap.apply import lock
from bootstrap.apply.lock import LockWatch
from bootstrap.probe.lock import HeldLocks
from bootstrap.probe.ssh_errors import ConnectFailure


@dataclass
class Locks:
    """Locks of which some are lost; `answer` is what taking one anew says ("" for: taken)."""

    gone: set[str] = field(default_factory=set)
    answer: str = ""
    tries: int = 0

    def lost(self) -> tuple[str, ...]:
        return tuple(self.gone)

    def retake(self, name: str) -> None:
        self.tries += 1
        if self.answer:
            raise ConnectFailure(self.answer, "no", "fix")
        self.gone.discard(name)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "_LOOK_EVERY_S", 0.01)


def until(condition: Callable[[], Any]) -> bool:
    end = time.monotonic() + 10
    while not condition() and time.monotonic() < end:
        time.sleep(0.01)
    return bool(condition())


def test_a_lost_lock_stops_the_run_and_is_named(tmp_path: Path) -> None:
    held, stop = Locks(), tmp_path / "stop"
    with LockWatch(cast(HeldLocks, held)).running() as watch, watch.stopping(stop):
        assert not stop.exists()
        held.gone.add("gpu1")
        assert until(stop.exists)
    assert [(p.host, p.code) for p in watch.problems] == [("gpu1", "lock-lost")]
    assert held.tries == 0, "somebody else may have had it meanwhile"
    with watch.stopping(tmp_path / "next"):
        assert (tmp_path / "next").exists(), "what comes next does not begin"


def test_a_host_that_is_rebooted_takes_its_lock_again(tmp_path: Path) -> None:
    held = Locks({"gpu1"}, "unreachable")
    with LockWatch(cast(HeldLocks, held)).running() as watch, watch.stopping(tmp_path / "stop", {"gpu1"}):
        assert until(lambda: held.tries > 2)
        held.answer = ""
        assert until(lambda: not held.gone)
    assert watch.problems == ()


def test_unless_another_run_was_quicker(tmp_path: Path) -> None:
    held = Locks({"gpu1"}, "lock-held")
    with LockWatch(cast(HeldLocks, held)).running() as watch, watch.stopping(tmp_path / "stop", {"gpu1"}):
        assert until(lambda: watch.problems)
    assert (tmp_path / "stop").exists()
