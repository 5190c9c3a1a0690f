"""What containers of Docker's get, what ends them, and who may use it."""

from __future__ import annotations

import grp
import io
import json
import os
import tarfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bootstrap.hostside import gpuctl_docker as docker
from bootstrap.hostside import gpuctl_dockergpus as gpus
from bootstrap.hostside import gpuctl_group as group
from bootstrap.hostside.gpuctl_hostio import HostError, Ran

LISTING = "null\nnvidia-uvm\nnvidia0\nnvidia1\nnvidiactl\n"


@pytest.fixture
def listed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, Ran]:
    """A host with two GPUs, on which a container sees what the test says."""
    found = {"--gpus": Ran(0, LISTING, ""), "--device": Ran(0, LISTING, "")}
    for name in ("0000:01:00.0", "0000:02:00.0"):
        (tmp_path / name).mkdir()
    monkeypatch.setattr(gpus, "GPUS", str(tmp_path))
    monkeypatch.setattr(gpus, "made_image", lambda: "sha256:ours")
    monkeypatch.setenv("DOCKER_HOST", "unix:///run/user/1000/docker.sock")
    monkeypatch.setenv("DOCKER_CONTEXT", "rootless")
    monkeypatch.setattr(gpus, "command", lambda: ["/host/bin/ls", "-1", "/dev"])
    monkeypatch.setattr(
        gpus, "run", lambda argv, _: next((ran for way, ran in found.items() if way in argv), Ran(0, "", ""))
    )
    return found


@pytest.mark.usefixtures("listed")
def test_it_says_how_many_gpus_each_way_gave() -> None:
    assert gpus.look() == ["docker run --gpus all: 2 of 2 GPUs", "docker run --device nvidia.com/gpu=all: 2 of 2 GPUs"]


@pytest.mark.parametrize(
    ("ran", "words"),
    [
        (Ran(125, "", "could not select device driver"), "could not select device driver"),
        (Ran(0, "null\nnvidia0\n", ""), "sees 1 of 2 GPUs"),
    ],
)
def test_a_container_that_lacks_one_is_a_failure(listed: dict[str, Ran], ran: Ran, words: str) -> None:
    listed["--device"] = ran
    with pytest.raises(HostError, match=words) as caught:
        gpus.look()
    assert caught.value.code == "docker-gpus-missing"


def test_one_way_is_told_as_it_ended(listed: dict[str, Ran], capsys: pytest.CaptureFixture[str]) -> None:
    listed["--device"] = Ran(125, "", "docker: Error\nunresolvable CDI devices")
    gpus.main("--gpus", "all")
    gpus.main("--device", "nvidia.com/gpu=all")
    told = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert told == [
        {"have": 2, "got": 2, "rc": 0, "said": LISTING.strip()},
        {"have": 2, "got": 0, "rc": 125, "said": "docker: Error\nunresolvable CDI devices"},
    ]


@pytest.mark.usefixtures("listed")
def test_what_keeps_it_from_being_tried_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def made_image() -> str:
        raise FileNotFoundError("docker")

    monkeypatch.setattr(gpus, "made_image", made_image)
    assert gpus.tried(["--gpus", "all"]) == {"error": "docker"}


def test_the_image_holds_folders_only() -> None:
    with tarfile.open(fileobj=io.BytesIO(gpus.layer())) as tar:
        assert all(member.isdir() for member in tar)


def test_the_host_s_program_is_called_by_its_own_loader(tmp_path: Path) -> None:
    loader, library_path, _, program, *words = gpus.command()
    assert (library_path, program, words) == ("--library-path", "/host/bin/ls", ["-1", "/dev"])
    assert loader.startswith("/host/lib")
    (tmp_path / "script").write_text("#!/bin/sh\n")
    with pytest.raises(HostError, match="no 64-bit program"):
        gpus.interpreter(str(tmp_path / "script"))


def test_only_containers_of_the_runtime_end(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[list[str]] = []

    def run(argv: list[str], *_: Any) -> Ran:
        told.append(argv)
        answers = {"ps": "aa\nbb\n", "inspect": "aa nvidia /node\nbb runc /web\n"}
        return Ran(0, answers.get(argv[1], ""), "")

    monkeypatch.setattr(docker, "run", run)
    assert docker.stop_containers("nvidia", check=True) == ["stop container node"]
    assert told[-1][1] == "inspect"
    assert docker.stop_containers("nvidia", check=False) == ["stop container node"]
    assert told[-1] == ["docker", "stop", "aa"]
    monkeypatch.setattr(docker, "run", lambda *_: Ran(1, "", "cannot connect"))
    assert docker.stop_containers("nvidia", check=False) == []


def test_a_group_gains_those_who_are_named_and_loses_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    members, noted, told = ["theirs"], {}, []

    def run(argv: list[str], _: float) -> Ran:
        told.append(argv[0])
        (members.append if argv[0] == "usermod" else members.remove)(argv[4] if argv[0] == "usermod" else argv[2])
        return Ran(0, "", "")

    monkeypatch.setattr(grp, "getgrnam", lambda _: SimpleNamespace(gr_mem=members))
    monkeypatch.setattr(group, "refuse_unknown", lambda _: None)
    monkeypatch.setattr(group, "run", run)
    kept = {"remember_before": lambda _c, _k, name, value: noted.update({name: value})}
    kept["forget_before"] = lambda _c, _k, name: noted.pop(name)
    kept["read_before"] = lambda _c: {"group_members": dict(noted)}
    monkeypatch.setattr(group, "receipts", SimpleNamespace(**kept))
    assert group.have("docker", "docker", ["me", "theirs"], check=True) == ["me joins docker"]
    assert group.have("docker", "docker", ["me", "theirs"], check=False) == ["me joins docker"]
    assert group.have("docker", "docker", ["me", "theirs"], check=False) == []
    assert group.have("docker", "docker", [], check=False) == ["me leaves docker"]
    assert (members, noted, told) == (["theirs"], {}, ["usermod", "gpasswd"])


def test_a_user_whom_the_host_does_not_know_is_refused() -> None:
    with pytest.raises(HostError, match="no user nobody-of-that-name"):
        group.refuse_unknown(["root", "nobody-of-that-name"])


def test_one_that_does_not_end_is_ended_and_nothing_is_pulled_for_it(
    listed: dict[str, Ran], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beside another trial, too: image and container bear no name that another run has."""
    listed["--device"] = Ran(124, "", "docker did not end within 120 s")
    answer, calls = gpus.run, []
    monkeypatch.setattr(gpus, "run", lambda argv, deadline: (calls.append(argv), answer(argv, deadline))[1])
    assert gpus.tried(["--device", "nvidia.com/gpu=all"])["rc"] == 124
    run, removed, image = calls
    name = next(word for word in run if word.startswith("--name="))
    assert name.endswith(str(os.getpid()))
    assert "--pull=never" in run
    assert "sha256:ours" in run
    assert removed == ["docker", "rm", "--force", name.partition("=")[2]]
    assert image == ["docker", "image", "rm", "--force", "sha256:ours"]
    assert (os.environ["DOCKER_CONTEXT"], os.environ.get("DOCKER_HOST")) == ("default", None)
