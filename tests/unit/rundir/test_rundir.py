"""Run directories: private, unique, redacted, and only so many."""

from __future__ import annotations

import json
import re
import threading
from pathlib import Path

import pytest

from bootstrap.errors import GpuctlError
from bootstrap.exit_codes import ExitCode
from bootstrap.redact import MASK, Redactor
from bootstrap.rundir import KEPT_RUNS, RunDirectory, prune, state_home

TOKEN = "abcdef.0123456789abcdef"


def test_name_place_and_modes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    run = RunDirectory.create("bootstrap")
    run.event({"a": 1})
    run.write_json("report.json", {"a": 1})
    run.log.info("x")
    assert run.path.parent == tmp_path / "gpuctl" / "runs"
    assert re.fullmatch(r"\d{8}-\d{6}-bootstrap", run.id)
    assert run.path.stat().st_mode & 0o777 == 0o700
    assert {p.name: p.stat().st_mode & 0o777 for p in run.path.iterdir()} == {
        "log": 0o600,
        "events.jsonl": 0o600,
        "report.json": 0o600,
    }


@pytest.mark.parametrize("configured", ["", "relative/path"])
def test_default_state_home(configured: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", configured)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert state_home() == tmp_path / ".local" / "state" / "gpuctl"


def test_runs_of_the_same_second_do_not_meet(tmp_path: Path) -> None:
    made: list[RunDirectory] = []
    threads = [
        threading.Thread(target=lambda: made.append(RunDirectory.create("plan", root=tmp_path))) for _ in range(12)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({run.path for run in made}) == 12


def test_only_the_newest_are_kept(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    for number in range(30):
        (runs / f"20261122-1405{number:02}-plan").mkdir(parents=True)
    (runs / "notes").mkdir()
    (runs / "20261122-140529-plan.10").mkdir()
    (runs / "20261122-140529-plan.9").mkdir()
    prune(runs, keep=3)
    assert sorted(p.name for p in runs.iterdir()) == [
        "20261122-140529-plan",
        "20261122-140529-plan.10",
        "20261122-140529-plan.9",
        "notes",
    ]
    prune(runs, keep=1)
    assert sorted(p.name for p in runs.iterdir()) == ["20261122-140529-plan.10", "notes"]


def test_create_prunes(tmp_path: Path) -> None:
    for number in range(KEPT_RUNS + 5):
        (tmp_path / "runs" / f"20200101-0000{number:02}-plan").mkdir(parents=True)
    run = RunDirectory.create("plan", root=tmp_path)
    left = sorted(p.name for p in (tmp_path / "runs").iterdir())
    assert len(left) == KEPT_RUNS
    assert left[-1] == run.id


def test_a_run_that_is_under_way_is_kept(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    (runs / "20200101-000000-bootstrap").mkdir(parents=True)
    running = RunDirectory(runs / "20200101-000000-bootstrap")
    (runs / "20200102-000000-plan").mkdir()
    prune(runs, keep=0)
    assert [p.name for p in runs.iterdir()] == [running.id]
    running.close()
    prune(runs, keep=0)
    assert list(runs.iterdir()) == []


def test_nothing_secret_is_written(tmp_path: Path) -> None:
    redactor = Redactor()
    redactor.add("hunter2!")
    run = RunDirectory.create("bootstrap", redactor, tmp_path)
    run.log.info("join with %s as %s", TOKEN, "hunter2!")
    try:
        raise ValueError(f"bad token {TOKEN}")
    except ValueError:
        run.log.exception("failed")
    run.event({"stdout": f"kubeadm join --token {TOKEN}", "hunter2!": ["hunter2!"]})
    run.write_json("plan.json", {"kubeadm_join_token": TOKEN, "steps": ["hunter2!"]})
    run.close()
    written = "".join(p.read_text() for p in run.path.iterdir())
    assert "0123456789abcdef" not in written
    assert "hunter2!" not in written
    assert written.count(MASK) >= 6
    assert "ValueError" in written


def test_events_from_many_threads_stay_lines(tmp_path: Path) -> None:
    run = RunDirectory.create("bootstrap", root=tmp_path)

    def write(thread: int) -> None:
        for number in range(50):
            run.event({"thread": thread, "number": number, "text": "x" * 200})

    threads = [threading.Thread(target=write, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    lines = (run.path / "events.jsonl").read_text().splitlines()
    assert len({(json.loads(line)["thread"], json.loads(line)["number"]) for line in lines}) == 200


def test_a_state_directory_that_cannot_be_made_is_a_setting(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(GpuctlError) as caught:
        RunDirectory.create("plan", root=tmp_path / "file")
    assert caught.value.exit_code is ExitCode.SETTINGS
    assert "XDG_STATE_HOME" in caught.value.problems[0].fix
