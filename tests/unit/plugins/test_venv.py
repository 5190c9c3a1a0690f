"""Python environments: begun, waited for, switched to, rebuilt when the list changes, and never half."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bootstrap.hostside import gpuctl_venv as venvs
from bootstrap.hostside import gpuctl_venvbuild as builder
from bootstrap.hostside.gpuctl_hostio import HostError
from bootstrap.hostside.gpuctl_unitrun import Ended, UnitState

ABSENT = UnitState("not-found", "inactive", "dead", "", 0)
DONE = UnitState("loaded", "active", "exited", "success", 0)
RUNNING = UnitState("loaded", "active", "running", "", 0)
REFUSED = "NewConnectionError('<pip.X object at 0x7f>: Failed to establish a new connection: [Errno 111] Refused')"
FAILED = UnitState("loaded", "failed", "failed", "exit-code", 1)


class Host:
    """A host whose units are played: `ends` says what a unit does when it is waited for."""

    def __init__(self, root: Path) -> None:
        self.path = root / "opt" / "agent"
        self.requirements = root / "requirements.txt"
        self.requirements.write_text("a==1 --hash=sha256:00\n")
        self.state = ABSENT
        self.started: list[str] = []
        self.log = ""
        self.noted: list[str] = []
        self.works = True

    def given(self, **more: Any) -> dict[str, Any]:
        plain = {"component": "agent_host", "path": str(self.path), "requirements": str(self.requirements)}
        rest = {"wheels_url": "", "ca_path": "", "imports": [], "wait": True, "timeout_s": 5, "need_mib": 1}
        return {**plain, **rest, **more}

    def start(self, _unit: str, argv: list[str]) -> bool:
        if self.state.running:
            return False
        self.started.append(argv[-1])
        self.state = RUNNING
        return True

    def wait(self, _unit: str, _timeout_s: float, attached: bool = True) -> Ended:
        if self.state.running:
            self.state = DONE if self.works else FAILED
            if self.works:
                spec = json.loads(Path(self.started[-1]).read_text())
                Path(spec["folder"]).mkdir(parents=True, exist_ok=True)
                (Path(spec["folder"]) / builder.MARKER).write_text(spec["digest"] + "\n")
        return Ended(self.state, attached, self.log)

    def run(self, unit: str, argv: list[str], timeout_s: float) -> Ended:
        return self.wait(unit, timeout_s, not self.start(unit, argv))


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    found = Host(tmp_path)
    monkeypatch.setattr(venvs, "LOG_FOLDER", str(tmp_path / "units"))
    monkeypatch.setattr(venvs, "PYTHON", sys.executable)
    monkeypatch.setattr(venvs, "unit_state", lambda _: found.state)
    monkeypatch.setattr(venvs, "start_unit", found.start)
    monkeypatch.setattr(venvs, "wait_unit", found.wait)
    monkeypatch.setattr(venvs, "run_unit", found.run)
    noting = SimpleNamespace(remember_before=lambda _component, _kind, folder: found.noted.append(folder))
    monkeypatch.setattr(venvs, "receipts", noting)
    monkeypatch.setattr(venvs, "write_atomic", lambda path, data, _mode: Path(path).write_bytes(data))
    return found


def test_it_is_begun_then_waited_for_then_left_alone(host: Host) -> None:
    assert venvs.have(host.given(wait=False), check=False)["changed"]
    assert not host.path.exists()  # nobody sees it before it is whole
    assert venvs.have(host.given(), check=False)["changed"]
    assert len(host.started) == 1
    assert host.path.is_symlink()
    assert (host.path / builder.MARKER).is_file()
    for wait in (False, True):
        assert not venvs.have(host.given(wait=wait), check=False)["changed"]
    assert host.noted == [str(host.path.parent)]


def test_a_changed_list_makes_a_new_one_and_comments_do_not(host: Host) -> None:
    first = venvs.have(host.given(), check=False)["folder"]
    host.requirements.write_text("# how to renew it\na==1 --hash=sha256:00\n")
    assert not venvs.have(host.given(), check=True)["changed"]
    host.requirements.write_text("a==2 --hash=sha256:00\n")
    assert venvs.have(host.given(), check=True)["changed"]
    second = venvs.have(host.given(), check=False)["folder"]
    assert host.path.readlink().name == Path(second).name
    assert not Path(first).exists()


def test_half_an_environment_is_built_again(host: Host) -> None:
    """A kill and a reboot leave a folder without a marker, and a unit that nobody knows."""
    folder = Path(venvs.have(host.given(wait=False), check=False)["folder"])
    (folder / "bin").mkdir(parents=True)
    host.state = ABSENT
    assert venvs.have(host.given(), check=False)["changed"]
    assert len(host.started) == 2
    assert (host.path / builder.MARKER).is_file()


def test_what_an_earlier_run_began_is_waited_for_and_an_older_list_is_built_over(host: Host) -> None:
    venvs.have(host.given(wait=False), check=False)
    host.requirements.write_text("a==2 --hash=sha256:00\n")
    assert not venvs.have(host.given(wait=False), check=False)["changed"]  # the unit is taken
    assert venvs.have(host.given(), check=False)["changed"]
    assert len(host.started) == 2
    assert len(venvs.built(str(host.path))) == 1


@pytest.mark.parametrize(
    ("log", "said"),
    [
        ("Collecting a\nERROR: Could not find a version\nERROR: No matching\n", "ERROR: Could not find a version"),
        (
            f"WARNING: Retrying (Retry(total=0)) after connection broken by '{REFUSED}': /wheels/\nERROR: No\n",
            "Failed to establish a new connection: [Errno 111] Refused",
        ),
        ("Ignoring x: markers\nModuleNotFoundError: No module named 'wandb'\n", "ModuleNotFoundError: No module"),
        ("", "it said nothing"),
    ],
)
def test_a_failure_says_why_and_is_not_tried_twice(host: Host, log: str, said: str) -> None:
    host.works, host.log = False, log
    venvs.have(host.given(wait=False), check=False)
    with pytest.raises(HostError) as caught:
        venvs.have(host.given(), check=False)
    assert caught.value.code == "python-packages-failed"
    assert f"cannot be installed: {said}" in caught.value.message
    assert len(host.started) == 1
    assert not host.path.exists()


def test_too_little_room_is_said_before_anything_is_done(host: Host) -> None:
    with pytest.raises(HostError) as caught:
        venvs.have(host.given(need_mib=2**30), check=False)
    assert caught.value.code == "disk-low"
    assert host.started == []
    assert host.noted == []


def test_the_mirror_s_address_is_in_no_argument(host: Host) -> None:
    venvs.have(host.given(wait=False, wheels_url="https://me:secret@mirror.example/wheels/"), check=False)
    spec = json.loads(Path(host.started[0]).read_text())
    argv = builder.pip_arguments("python", spec)
    assert "secret" not in " ".join(argv)
    assert "--no-index" in argv
    assert builder.pip_environment(spec)["PIP_FIND_LINKS"] == "https://me:secret@mirror.example/wheels/"


def test_removal_takes_all_of_it_and_nothing_else(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = Path(venvs.have(host.given(), check=False)["folder"])
    monkeypatch.setattr(venvs, "run", lambda *_: None)
    other = host.path.parent / "agent-of-somebody"
    other.mkdir()
    assert venvs.remove("agent_host", str(host.path), check=True) == [str(host.path), str(folder)]
    venvs.remove("agent_host", str(host.path), check=False)
    assert list(host.path.parent.iterdir()) == [other]
    assert venvs.remove("agent_host", str(host.path), check=False) == []


@pytest.fixture
def build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """Build for real, with a pip that is replaced by a program of one line."""

    def with_pip(program: str, **more: Any) -> int:
        monkeypatch.setattr(builder, "pip_arguments", lambda python, _: [python, "-c", program])
        spec = {"folder": str(tmp_path / "env-0"), "python": sys.executable, "digest": "d", "requirements": ""}
        return builder.build({**spec, "wheels_url": "", "ca_path": "", "imports": ["json"], **more})

    monkeypatch.setattr(os, "sync", lambda: None)
    monkeypatch.setattr(subprocess, "call", _without_ensurepip(subprocess.call))
    return with_pip


def _without_ensurepip(call: Callable[..., int]) -> Callable[..., int]:
    return lambda argv, **more: call([*argv, "--without-pip"] if "venv" in argv else argv, **more)


def test_the_marker_comes_last(tmp_path: Path, build: Callable[..., int]) -> None:
    (tmp_path / "env-0").mkdir()
    (tmp_path / "env-0" / "left by a kill").touch()
    assert build("import os; assert os.environ['TMPDIR'].endswith('env-0/tmp')") == 0
    assert (tmp_path / "env-0" / ".complete").read_text() == "d\n"
    assert not (tmp_path / "env-0" / "left by a kill").exists()
    assert not (tmp_path / "env-0" / "tmp").exists()


@pytest.mark.parametrize(("program", "imports"), [("raise SystemExit(3)", ["json"]), ("", ["no_such_module_here"])])
def test_what_fails_leaves_no_marker(
    tmp_path: Path, build: Callable[..., int], program: str, imports: list[str]
) -> None:
    assert build(program, imports=imports) != 0
    assert not (tmp_path / "env-0" / ".complete").exists()
