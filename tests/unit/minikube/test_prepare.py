"""The host's half of `up`: how what a role could not do is said where no flag allows it."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bootstrap.access import Access
from bootstrap.apply import minikube_host
from bootstrap.apply.events import HostRun
from bootstrap.apply.execute import Execution
from bootstrap.apply.lock import LockWatch
from bootstrap.apply.view import SilentView
from bootstrap.errors import GpuctlError, Problem
from bootstrap.exit_codes import ExitCode
from bootstrap.rundir import RunDirectory
from tests.unit.factories import host_facts, minikube_inventory


@pytest.mark.parametrize(
    ("code", "local", "fix"),
    [
        ("reboot-required", True, "reboot this machine, then run the same command again"),
        ("reboot-required", False, "reboot box, then run the same command again"),
        ("step-failed", True, "run gpuctl bootstrap --reboot"),
    ],
)
def test_a_reboot_is_the_user_s_own(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, code: str, local: bool, fix: str
) -> None:
    problem = Problem(code, "step nvidia_driver failed: nouveau is loaded", "run gpuctl bootstrap --reboot", "box")
    done = prepared(monkeypatch, tmp_path, HostRun(current="nvidia_driver", problem=problem), local=local)
    assert done.exit_code is (ExitCode.DISRUPTION_NEEDED if code == "reboot-required" else ExitCode.STEP_FAILED)
    assert [found.fix for found in done.problems] == [fix]


@pytest.mark.parametrize("code", ["docker-containers-end", "minikube-foreign"])
def test_what_a_role_refuses_before_any_change_is_a_refusal(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, code: str
) -> None:
    problem = Problem(code, "web would end", "stop it", "box")
    with pytest.raises(GpuctlError, match="web would end") as caught:
        prepared(monkeypatch, tmp_path, HostRun(current="docker", problem=problem))
    assert caught.value.exit_code is ExitCode.PREFLIGHT
    later = HostRun(current="docker", problem=problem, changed=1)
    assert prepared(monkeypatch, tmp_path, later).exit_code is ExitCode.STEP_FAILED


def prepared(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, run: HostRun, *, local: bool = False) -> Any:
    """What the host's half comes to where the roles came to that."""
    assert run.problem is not None
    ended = Execution("failed", {"box": run}, (run.problem,), stopped=False)
    replaced: dict[str, Any] = {
        "run_steps": lambda *_: ended,
        "hold_locks": lambda *_: nullcontext(LockWatch()),
        "sweep_private_directories": lambda: None,
        "file_plan": lambda *_: None,
        "probe_hosts": lambda *_: {"box": host_facts("box", gpus=1)},
    }
    for name, stand_in in replaced.items():
        monkeypatch.setattr(minikube_host, name, stand_in)
    lab = minikube_inventory()
    host = replace(lab.hosts[0], connection=replace(lab.hosts[0].connection, local=local))
    folder = RunDirectory.create("minikube-up", root=tmp_path)
    probes = {"box": host_facts("box", gpus=1)}
    return minikube_host.prepare(replace(lab, hosts=(host,)), folder, Access(), SilentView(), probes)
