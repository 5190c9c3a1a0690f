"""KUBECONFIG and MINIKUBE_HOME of the user: gpuctl works at the usual places, and says where these lead."""

from __future__ import annotations

from pathlib import Path

import pytest

from bootstrap.errors import GpuctlError
from bootstrap.minikube import up
from bootstrap.minikube.look import read_look
from bootstrap.minikube.surroundings import other_home, unread
from bootstrap.probe.local import LocalSession
from tests.unit.minikube.conftest import Lane
from tests.unit.minikube.machine import Machine

ELSEWHERE = "/srv/ada/.minikube"


@pytest.mark.parametrize(
    ("variable", "read"),
    [
        (None, True),
        ("", True),
        ("/home/ada/lab.yaml", False),
        ("/home/ada/lab.yaml:/home/ada/.kube/config", True),
        ("~/.kube/config", True),
    ],
)
def test_whether_kubectl_reads_the_file(variable: str | None, read: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/ada")  # which ~ is
    environ = {"HOME": "/home/ada", **({} if variable is None else {"KUBECONFIG": variable})}
    assert unread("/home/ada/.kube/config", environ) == ("" if read else "/home/ada/.kube/config")


def test_no_file_is_none_that_is_not_read() -> None:
    assert unread("", {"KUBECONFIG": "/lab.yaml"}) == ""


@pytest.mark.parametrize(
    ("variable", "folder"),
    [
        (None, ""), ("/srv/ada", ELSEWHERE), (ELSEWHERE, ELSEWHERE), ("/home/ada", ""), ("/home/ada/.minikube", ""),
    ],
)  # fmt: skip
def test_where_minikube_by_hand_has_its_profiles(variable: str | None, folder: str) -> None:
    environ = {} if variable is None else {"MINIKUBE_HOME": variable}
    assert other_home(LocalSession(), "/home/ada", environ) == folder
    assert other_home(Machine(), "/home/ada", environ) == ""  # what a login there sets is not known here


def test_up_says_where_they_lead(lane: Lane, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/ada")
    monkeypatch.setenv("KUBECONFIG", "/home/ada/lab.yaml")
    monkeypatch.setattr("bootstrap.minikube.look.other_home", lambda *_: ELSEWHERE)
    lane.is_local()
    result = lane.up()
    assert result.kubeconfig == "/home/ada/.kube/config"
    assert any(ELSEWHERE in note and "`env -u MINIKUBE_HOME minikube -p gpuctl`" in note for note in result.notes)
    monkeypatch.delenv("KUBECONFIG")
    assert lane.up().kubeconfig == ""


def test_a_context_here_that_is_not_read_is_named(lane: Lane, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KUBECONFIG", raising=False)
    lane.kubeconfig = tmp_path / "given"
    assert lane.up().kubeconfig == str(tmp_path / "given")
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "given"))
    assert lane.up().kubeconfig == ""


def test_a_container_without_a_record_may_be_a_profile_there(lane: Lane, monkeypatch: pytest.MonkeyPatch) -> None:
    lane.machine = Machine(container="running")
    assert read_look(lane.machine._seen()).minikube_home == ""
    monkeypatch.setattr("bootstrap.minikube.look.other_home", lambda *_: ELSEWHERE)
    for verb in (lambda: up.up(lane.asked(), lane.view), lane.down):
        with pytest.raises(GpuctlError) as caught:
            verb()
        [problem] = caught.value.problems
        assert problem.code == "minikube-profile-orphan"
        assert f"MINIKUBE_HOME leads to {ELSEWHERE}" in problem.message
        assert problem.fix.startswith("if it is of a profile there, choose another --profile")
