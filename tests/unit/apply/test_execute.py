"""The private directory goes with its run, and Ansible with whoever reads it."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

from bootstrap.apply import execute
from bootstrap.apply.events import EventReader
from bootstrap.progress import Silent
from bootstrap.rundir import RunDirectory

_TALKER = """
import json, time
print(json.dumps({"kind": "event", "event": "x"}), flush=True)
time.sleep(60)
"""


@pytest.fixture(autouse=True)
def temporary(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    place = tmp_path / "tmp"
    place.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(place))
    return place


def test_the_private_directory_names_its_owner_from_the_start() -> None:
    with execute.private_directory() as private:
        assert (private / "owner").read_text() == str(os.getpid())
        execute.sweep_private_directories()
        assert private.is_dir()
    assert not private.exists()


def test_the_sweep_takes_only_what_a_dead_owner_of_this_user_left(temporary: Path) -> None:
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    for name, owner in (("gpuctl-dead", str(dead.pid)), ("gpuctl-other", None)):
        (temporary / name).mkdir()
        if owner:
            (temporary / name / "owner").write_text(owner)
    (temporary / "gpuctl-link").symlink_to(temporary / "gpuctl-dead")
    execute.sweep_private_directories()
    assert sorted(path.name for path in temporary.iterdir()) == ["gpuctl-link", "gpuctl-other"]


def test_the_sweep_leaves_what_belongs_to_others(temporary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (temporary / "gpuctl-theirs").mkdir()
    (temporary / "gpuctl-theirs" / "owner").write_text("0")
    monkeypatch.setattr(os, "getuid", lambda: 4242)
    execute.sweep_private_directories()
    assert (temporary / "gpuctl-theirs" / "owner").exists()


def test_an_ssh_that_hangs_does_not_keep_the_directory(monkeypatch: pytest.MonkeyPatch) -> None:
    def hang(*_: object, **__: object) -> None:
        raise subprocess.TimeoutExpired("ssh", 10)

    monkeypatch.setattr(subprocess, "run", hang)
    with execute.private_directory() as private:
        (private / "cp").mkdir()
        (private / "cp" / "socket").touch()
    assert not private.exists()


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), KeyError("view"), SystemExit(1)])
def test_whatever_ends_the_reading_ends_the_child(
    error: BaseException, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(RunDirectory, "event", fail)
    run = RunDirectory.create("test", root=tmp_path / "state")
    child = _talker()
    with pytest.raises(type(error)):
        execute._follow(child, EventReader(Silent(), tmp_path), tmp_path / "stop", run, Silent())
    assert child.returncode is not None


def test_a_second_interrupt_ends_the_child(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    class Impatient(Silent):
        def note(self, text: str) -> None:  # noqa: ARG002
            raise KeyboardInterrupt

    monkeypatch.setattr(RunDirectory, "event", interrupt)
    run = RunDirectory.create("test", root=tmp_path / "state")
    child = _talker()
    with pytest.raises(KeyboardInterrupt):
        execute._follow(child, EventReader(Silent(), tmp_path), tmp_path / "stop", run, Impatient())
    assert child.returncode is not None
    assert (tmp_path / "stop").exists()


def _talker() -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", _TALKER], stdout=subprocess.PIPE, text=True, start_new_session=True)


@pytest.mark.parametrize("orphan", [True, False])
def test_the_child_removes_the_secrets_of_a_dead_parent(orphan: bool, tmp_path: Path) -> None:
    private = tmp_path / "private"
    private.mkdir()
    owner = subprocess.Popen([sys.executable, "-c", ""]).pid if orphan else os.getpid()
    request: dict[str, Any] = {"owner": owner, "private_data_dir": str(private)}
    (private / "request.json").write_text(json.dumps(request))
    script = (
        "import sys; from bootstrap.apply import ansible_child as c\n"
        "c._run = lambda request, cancel: 0\n"
        "sys.exit(c.main(sys.argv[1]))"
    )
    done = subprocess.run([sys.executable, "-c", script, str(private / "request.json")], timeout=60, check=False)
    assert done.returncode == 0
    assert private.exists() is not orphan
