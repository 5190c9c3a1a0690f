"""Ending a host's processes, on cgroups that are plain folders."""

from __future__ import annotations

from pathlib import Path

import pytest

from bootstrap.testvm import cgroups


@pytest.mark.parametrize(
    ("item", "frozen", "running"), [("freezer.state", "FROZEN\n", "THAWED"), ("cgroup.freeze", "1\n", "0")]
)
def test_what_was_left_frozen_is_let_go_so_that_it_can_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, item: str, frozen: str, running: str
) -> None:
    pod = tmp_path / "lab-cp1" / "pods" / "one"
    pod.mkdir(parents=True)
    (pod / item).write_text(frozen)
    seen: list[str] = []
    monkeypatch.setattr(cgroups, "hierarchies", lambda: (cgroups.Hierarchy(tmp_path, 1, frozenset({"freezer"})),))
    monkeypatch.setattr(cgroups, "pids", lambda _: frozenset() if seen else frozenset({4_000_000}))
    monkeypatch.setattr(cgroups, "_remove_directories", lambda _: True)
    monkeypatch.setattr(cgroups.procs, "send", lambda *_: seen.append((pod / item).read_text()))
    assert cgroups.remove("lab-cp1") == frozenset()
    assert seen == [running]
