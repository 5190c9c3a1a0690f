"""gpuctl minikube: what its options ask of the stations, and what it answers."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from bootstrap.cli.main import main
from bootstrap.cli.minikube import place
from bootstrap.errors import GpuctlError, Problem
from bootstrap.exit_codes import ExitCode
from bootstrap.minikube.options import ProfileOptions
from tests.unit.factories import minikube_inventory
from tests.unit.ui.test_minikube_screens import DOWN, FAILED, RUNNING, STOPPED, UP

UP_AT, DOWN_AT = "bootstrap.minikube.up", "bootstrap.minikube.down"
INVENTORY_OF = place.inventory_of
KEYS = {
    "up": {
        "profile", "host", "started", "elapsed_s", "node", "kubernetes_version", "gpus", "gpus_expected", "simulated",
        "context", "queues", "entity", "home", "kubeconfig", "outcomes", "notes",
    },
    "status": {
        "profile", "host", "phase", "parts", "elapsed_s", "node", "ready", "kubernetes_version", "gpus",
        "docker_version", "minikube_version", "agent",
    },
    "down": {"profile", "host", "was", "elapsed_s", "left", "purged", "notes"},
}  # fmt: skip
KEYS |= {"start": KEYS["up"], "stop": KEYS["down"]}
ANSWERS = {
    "up": (UP_AT, UP), "start": (UP_AT, UP), "status": (DOWN_AT, RUNNING), "stop": (DOWN_AT, DOWN),
    "down": (DOWN_AT, DOWN),
}  # fmt: skip


class Stations:
    """What stands behind the commands: it keeps what it is asked."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.asked: list[Any] = []
        self.answers: dict[str, object] = {verb: answer for verb, (_, answer) in ANSWERS.items()}
        for verb, (module, _) in ANSWERS.items():
            monkeypatch.setattr(f"{module}.{verb}", self.station(verb))

    def station(self, verb: str) -> Callable[..., object]:
        def stand_in(request: object, *_: object) -> object:
            self.asked.append(request)
            answer = self.answers[verb]
            if isinstance(answer, BaseException):
                raise answer
            return answer

        stand_in.__name__ = verb
        return stand_in


@pytest.fixture(autouse=True)
def stations(monkeypatch: pytest.MonkeyPatch) -> Stations:
    """Stations instead of a machine, and an inventory that need not be loaded: that takes a second."""
    monkeypatch.setattr(place, "inventory_of", lambda *_: minikube_inventory())
    return Stations(monkeypatch)


@pytest.fixture
def _real_inventories(stations: Stations, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: ARG001 - comes after it
    monkeypatch.setattr(place, "inventory_of", INVENTORY_OF)


@pytest.fixture
def lab(tmp_path: Path) -> Path:
    path = tmp_path / "minikube.ini"
    path.write_text("[minikube]\nbox ansible_host=192.0.2.20 ansible_user=ada\n", encoding="utf-8")
    return path


FLAGS = [
    ("--profile", "PROFILE", "g1", "profile", "g1"),
    ("--gpus", "GPUS", "nvidia.com", "gpus", "nvidia.com"),
    ("--kubernetes-version", "KUBERNETES_VERSION", "v1.35.1", "kubernetes_version", "v1.35.1"),
    ("--cpus", "CPUS", "8", "cpus", "8"),
    ("--memory", "MEMORY", "16g", "memory", "16g"),
    ("--disk-size", "DISK_SIZE", "40g", "disk_size", "40g"),
    ("--base-image", "BASE_IMAGE", "local/kicbase:v1", "base_image", "local/kicbase:v1"),
    ("--cni", "CNI", "bridge", "cni", "bridge"),
    ("--extra-config", "EXTRA_CONFIG", "kubelet.max-pods=9", "extra_config", ("kubelet.max-pods=9",)),
    ("--addons", "ADDONS", "ingress,registry", "addons", ("ingress", "registry")),
]


@pytest.mark.parametrize(("flag", "variable", "value", "field", "wanted"), FLAGS, ids=[flag[0] for flag in FLAGS])
def test_flag_and_variable(
    flag: str,
    variable: str,
    value: str,
    field: str,
    wanted: object,
    stations: Stations,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert main(["minikube", "up", flag, value]) == 0
    assert getattr(stations.asked[-1].options, field) == wanted
    monkeypatch.setenv(f"GPUCTL_MINIKUBE_{variable}", value)
    assert main(["minikube", "up"]) == 0
    assert getattr(stations.asked[-1].options, field) == wanted


def test_every_option_of_a_profile_can_be_given(stations: Stations) -> None:
    assert main(["minikube", "up", "--force", "--container-runtime", "containerd", "--gpus", "none"]) == 0
    options = stations.asked[-1].options
    assert (options.force, options.container_runtime, options.gpus) == (True, "containerd", "none")
    tested = {field for *_, field, _ in FLAGS} | {"force", "container_runtime"}
    assert tested == {field.name for field in fields(ProfileOptions)}


def test_nothing_given_is_nothing_asked(stations: Stations) -> None:
    assert main(["minikube", "up"]) == 0
    assert stations.asked[-1].options == ProfileOptions()
    assert not stations.asked[-1].use_context
    assert main(["minikube", "up", "--use-context"]) == 0
    assert stations.asked[-1].use_context


@pytest.mark.usefixtures("_real_inventories")
@pytest.mark.parametrize("verb", ["up", "status"])
def test_without_more_it_is_this_machine(verb: str, stations: Stations) -> None:
    assert main(["minikube", verb, *(["--yes"] if verb == "down" else [])]) == 0
    [host] = stations.asked[-1].inventory.hosts
    assert (host.name, host.connection.local, host.is_minikube) == ("localhost", True, True)


@pytest.mark.usefixtures("_real_inventories")
@pytest.mark.parametrize(
    ("words", "user", "address"), [("192.0.2.20", None, "192.0.2.20"), ("ada@box.example", "ada", "box.example")]
)
def test_another_machine_by_ssh(words: str, user: str | None, address: str, stations: Stations) -> None:
    assert main(["minikube", "status", "--host", words]) == 0
    [host] = stations.asked[-1].inventory.hosts
    assert (host.connection.address, host.connection.user) == (address, user)
    assert not host.connection.local


@pytest.mark.usefixtures("_real_inventories")
def test_an_inventory(lab: Path, stations: Stations) -> None:
    assert main(["minikube", "status", "--inventory", str(lab), "--profile", "g1"]) == 0
    request = stations.asked[-1]
    assert (request.inventory.hosts[0].name, request.profile) == ("box", "g1")


@pytest.mark.usefixtures("_real_inventories")
def test_an_inventory_of_a_cluster_is_none_of_minikubes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "lab.ini"
    path.write_text("[control_plane]\ncp1 ansible_host=192.0.2.11\n", encoding="utf-8")
    assert main(["minikube", "up", "--inventory", str(path)]) == 3
    assert "has no host in the group minikube   [minikube-inventory]" in capsys.readouterr().err


@pytest.mark.usefixtures("_real_inventories")
@pytest.mark.parametrize("verb", ANSWERS)
def test_two_places_exclude_one_another(verb: str, lab: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["minikube", verb, "--inventory", str(lab), "--host", "box"]) == 2
    assert capsys.readouterr().err.splitlines()[0] == ("error: --inventory and --host exclude one another   [usage]")


@pytest.mark.parametrize("verb", ANSWERS)
def test_a_name_that_minikube_refuses_is_refused_first(verb: str, stations: Stations) -> None:
    assert main(["minikube", verb, "--profile", "a_b"]) == 2
    assert stations.asked == []


def test_all_that_is_wrong_is_told_at_once(capsys: pytest.CaptureFixture[str], stations: Stations) -> None:
    assert main(["minikube", "up", "--container-runtime", "containerd", "--memory", "8x"]) == 2
    err = capsys.readouterr().err
    assert "[minikube-gpus-runtime]" in err
    assert "--memory '8x' is no amount" in err
    assert stations.asked == []


def test_up(lab: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["minikube", "up", "--inventory", str(lab)]) == 0
    assert capsys.readouterr().out.splitlines()[0] == (
        "done in 2:08: node gpuctl Ready, Kubernetes v1.36.3, 8 GPUs allocatable (simulated)"
    )


def test_status_exits_six_when_it_does_not_run(stations: Stations, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["minikube", "status"]) == 0
    stations.answers["status"] = STOPPED
    assert main(["minikube", "status"]) == 6
    assert capsys.readouterr().out.splitlines()[-1] == "next: gpuctl minikube start --profile gpuctl"


def test_stop(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["minikube", "stop", "--host", "box"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "profile gpuctl is stopped, with all that it holds (12 s)",
        "next: gpuctl minikube start --profile gpuctl --host box",
    ]


def test_down_asks_first(stations: Stations, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["minikube", "down"]) == 2
    assert "--yes" in capsys.readouterr().err
    assert main(["minikube", "down", "--output", "json"]) == 2
    assert stations.asked == []
    assert main(["minikube", "down", "--yes"]) == 0
    assert len(stations.asked) == 1


@pytest.mark.parametrize("verb", ["up", "start", "down"])
def test_the_kubeconfig_here(verb: str, stations: Stations, monkeypatch: pytest.MonkeyPatch) -> None:
    words = ["minikube", verb, *(["--yes"] if verb == "down" else [])]
    monkeypatch.setenv("KUBECONFIG", "/first:/second")
    assert main(words) == 0
    assert stations.asked[-1].kubeconfig == Path("/first")
    assert main([*words, "--kubeconfig", "/given"]) == 0
    assert stations.asked[-1].kubeconfig == Path("/given")


def test_down_purges_when_told(stations: Stations, monkeypatch: pytest.MonkeyPatch) -> None:
    assert main(["minikube", "down", "--yes"]) == 0
    assert not stations.asked[-1].purge
    assert main(["minikube", "down", "--yes", "--purge"]) == 0
    assert stations.asked[-1].purge
    monkeypatch.setenv("GPUCTL_MINIKUBE_PURGE", "1")
    assert main(["minikube", "down", "--yes"]) == 0
    assert stations.asked[-1].purge


def test_down_that_leaves_something(stations: Stations, capsys: pytest.CaptureFixture[str]) -> None:
    stations.answers["down"] = FAILED
    assert main(["minikube", "down", "--yes"]) == 5
    said = capsys.readouterr()
    assert said.out == ""
    assert "this is still there: a volume   [minikube-profile-broken]" in said.err


@pytest.mark.parametrize("verb", ANSWERS)
def test_the_document(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["minikube", verb, "--output", "json", *(["--yes"] if verb == "down" else [])]) == 0
    said = capsys.readouterr()
    document = json.loads(said.out)
    assert (document["command"], document["exit_code"], document["errors"]) == (f"minikube {verb}", 0, [])
    assert set(document["data"]) == KEYS[verb]
    assert said.err == ""


@pytest.mark.parametrize("verb", ANSWERS)
def test_the_document_of_a_refusal(verb: str, stations: Stations, capsys: pytest.CaptureFixture[str]) -> None:
    problem = Problem("minikube-docker-away", "Docker does not answer", "start it", "box")
    stations.answers[verb] = GpuctlError(ExitCode.PREFLIGHT, problem)
    assert main(["minikube", verb, "--output", "json", *(["--yes"] if verb == "down" else [])]) == 4
    document = json.loads(capsys.readouterr().out)
    assert [error["code"] for error in document["errors"]] == ["minikube-docker-away"]
