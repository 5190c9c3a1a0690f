"""What a command advises acts on the profile, and on the machine, that it was called for."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from bootstrap.cli.main import main
from bootstrap.cli.minikube import place
from bootstrap.cli.minikube.advice import completed
from bootstrap.errors import GpuctlError, Problem
from bootstrap.exit_codes import ExitCode
from bootstrap.inventory.model import Inventory
from tests.unit.cli.test_minikube import Stations
from tests.unit.factories import minikube_inventory
from tests.unit.ui.test_minikube_screens import UP

HERE: list[str] = []
THERE = ["--host", "ada@ws2"]


@pytest.fixture
def stations(monkeypatch: pytest.MonkeyPatch) -> Stations:
    monkeypatch.setattr(place, "inventory_of", lambda *_: minikube_inventory())
    return Stations(monkeypatch)


@pytest.mark.parametrize(
    ("said", "named", "advised"),
    [
        ("`gpuctl minikube up`", HERE, "`gpuctl minikube up --profile g1`"),
        ("`gpuctl minikube up`", THERE, "`gpuctl minikube up --profile g1 --host ada@ws2`"),
        ("`gpuctl minikube down --profile g2`", THERE, "`gpuctl minikube down --profile g2 --host ada@ws2`"),
        ("`gpuctl minikube down -p g2 -i a.ini`", THERE, "`gpuctl minikube down -p g2 -i a.ini`"),
        ("`gpuctl minikube stop --profile=g2 --host=b`", THERE, "`gpuctl minikube stop --profile=g2 --host=b`"),
        ("`gpuctl verify-gpus` tells", THERE, "`gpuctl verify-gpus --profile g1 --host ada@ws2` tells"),
        ("`gpuctl minikube up`", ["--inventory", "my hosts.ini"],
         "`gpuctl minikube up --profile g1 --inventory 'my hosts.ini'`"),
        ("`gpuctl bootstrap`, `minikube logs`", THERE, "`gpuctl bootstrap`, `minikube logs`"),
        ("gpuctl minikube up", THERE, "gpuctl minikube up"),
    ],
)  # fmt: skip
def test_the_options_of_a_command(said: str, named: list[str], advised: str) -> None:
    assert completed(said, "g1", named) == advised


def test_wherever_it_is_said() -> None:
    said = {"notes": ("`gpuctl minikube up`", 3), "host": None}
    told = ["`gpuctl minikube up --profile g1 --host ada@ws2`", 3]
    assert completed(said, "g1", THERE) == {"notes": told, "host": None}


@pytest.mark.parametrize("verb", ["up", "start", "status", "stop", "down"])
@pytest.mark.parametrize("form", ["text", "json"])
def test_a_refusal(verb: str, form: str, stations: Stations, capsys: pytest.CaptureFixture[str]) -> None:
    problem = Problem("minikube-profile-broken", "half there", "`gpuctl minikube down` takes the rest away", "ws2")
    stations.answers[verb] = GpuctlError(ExitCode.PREFLIGHT, problem)
    words = ["minikube", verb, "-p", "g1", "--host", "ws2", "--output", form]
    assert main([*words, *(["--yes"] if verb == "down" else [])]) == 4
    said = capsys.readouterr()
    assert "`gpuctl minikube down --profile g1 --host ws2` takes" in said.out + said.err


def test_notes_and_problems_of_an_answer(stations: Stations, capsys: pytest.CaptureFixture[str]) -> None:
    problem = Problem("minikube-missing", "it is not there", "run `gpuctl minikube up`", "box")
    stations.answers["up"] = replace(
        UP, exit_code=ExitCode.STEP_FAILED, notes=("`gpuctl minikube down` first",), problems=(problem,)
    )
    words = ["minikube", "up", "-p", "g1", "--host", "ws2"]
    assert main(words) == 5
    said = capsys.readouterr()
    assert "note: `gpuctl minikube down --profile g1 --host ws2` first" in said.out
    assert "run `gpuctl minikube up --profile g1 --host ws2`" in said.err
    assert main([*words, "--output", "json"]) == 5
    document = json.loads(capsys.readouterr().out)
    assert document["data"]["notes"] == ["`gpuctl minikube down --profile g1 --host ws2` first"]
    assert document["errors"][0]["fix"] == "run `gpuctl minikube up --profile g1 --host ws2`"


@pytest.mark.usefixtures("stations")
def test_the_question_of_down_names_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    from bootstrap.ui.view import JsonView

    asked: list[str] = []
    monkeypatch.setattr(JsonView, "confirm", lambda _self, question: asked.append(question) or True)
    assert main(["minikube", "down", "-p", "g1", "--host", "ws2", "--output", "json"]) == 0
    assert main(["minikube", "down", "-p", "g1", "--output", "json"]) == 0
    assert asked == [
        "Delete profile g1 on ws2 and all that runs in it. Continue?",
        "Delete profile g1 and all that runs in it. Continue?",
    ]


def test_only_without_an_inventory_settings_stay_as_they_were(
    stations: Stations, monkeypatch: pytest.MonkeyPatch
) -> None:
    found: list[Inventory] = []
    monkeypatch.setattr(place, "inventory_of", lambda *_: found.append(minikube_inventory()) or found[-1])
    assert main(["minikube", "up"]) == main(["minikube", "up", "--host", "ws2"]) == 0
    assert main(["minikube", "up", "--inventory", "lab.ini"]) == 0
    assert [request.as_before for request in stations.asked] == [True, True, False]
