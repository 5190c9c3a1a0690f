"""gpuctl addon: what its options ask of the stations, and what it answers."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bootstrap.apply.addon_model import AddonRequest
from bootstrap.apply.results import HostOutcome, Outcome
from bootstrap.cli.main import main
from bootstrap.ui.view import JsonView
from tests.unit.ui.test_addon_screens import ADD, LIST, REFUSED, REMOVE

AT = "bootstrap.apply.addon"
KEYS = {
    "list": {"cluster_name", "addons", "elapsed_s", "note"},
    "add": {"cluster_name", "addons", "plan", "outcomes", "elapsed_s", "inventory"},
    "remove": {"cluster_name", "removed", "in_use", "outcomes", "elapsed_s", "inventory"},
}
ADDON_KEYS = {
    "name", "purpose", "wanted", "installed", "state", "version", "detail", "workloads", "extra",
}  # fmt: skip
RESULTS = {"list": ("list_addons", LIST), "add": ("add", ADD), "remove": ("remove", REMOVE)}

Given = Callable[..., list[AddonRequest]]


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> Given:
    """Let the verb return a result; the requests that it got."""

    def set_up(verb: str, result: object = None) -> list[AddonRequest]:
        name, usual = RESULTS[verb]
        asked: list[AddonRequest] = []

        def stand_in(request: AddonRequest, *_: object) -> object:
            asked.append(request)
            return result or usual

        monkeypatch.setattr(f"{AT}.{name}", stand_in)
        return asked

    return set_up


def document(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, Any]:
    main([*words, "--output", "json"])
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


@pytest.mark.parametrize("verb", RESULTS)
def test_keys_of_the_data(verb: str, given: Given, capsys: pytest.CaptureFixture[str]) -> None:
    given(verb)
    names = [] if verb == "list" else ["csi-driver-nfs"]
    said = document(capsys, "addon", verb, *names, "-i", "lab.ini")
    assert (said["command"], said["status"]) == (f"addon {verb}", "ok")
    assert set(said["data"]) == KEYS[verb]
    assert all(set(one) == ADDON_KEYS for one in said["data"].get("addons", ()))


def test_what_is_extra_is_said_in_the_document(given: Given, capsys: pytest.CaptureFixture[str]) -> None:
    given("list")
    found = document(capsys, "addon", "list", "-i", "lab.ini")["data"]["addons"]
    assert {one["name"]: (one["extra"], one["state"]) for one in found} == {
        "csi-driver-nfs": (False, "ready"),
        "volcano": (True, "not-ready"),
        "jobset": (False, "absent"),
    }


def test_a_refusal_lists_the_objects_and_says_that_nothing_was_changed(
    given: Given, capsys: pytest.CaptureFixture[str]
) -> None:
    given("remove", REFUSED)
    assert main(["addon", "remove", "csi-driver-nfs", "-i", "lab.ini", "--yes"]) == 4
    out, err = capsys.readouterr()
    assert (out, "persistentvolumes data-1: Bound" in err, "nothing was changed" in err) == ("", True, True)
    said = document(capsys, "addon", "remove", "csi-driver-nfs", "-i", "lab.ini", "--yes")
    assert said["data"]["in_use"] == [{"kind": "persistentvolumes", "name": "data-1", "state": "Bound"}]
    assert [problem["code"] for problem in said["errors"]] == ["addon-in-use"]


def test_a_refusal_after_a_step_does_not_say_that_nothing_was_changed(
    given: Given, capsys: pytest.CaptureFixture[str]
) -> None:
    """The training operator has let go of Volcano, and meanwhile an object came that needs it."""
    given("remove", replace(REFUSED, outcomes=(HostOutcome("cp1", Outcome.STOPPED, ("a",), "b", 1),)))
    assert main(["addon", "remove", "csi-driver-nfs", "-i", "lab.ini", "--yes"]) == 4
    assert "nothing was changed" not in capsys.readouterr().err


def test_names_may_be_several(given: Given) -> None:
    asked = given("add")
    assert main(["addon", "add", "a,b", "c", "a", "-i", "lab.ini", "--keep-inventory", "--force-conflicts"]) == 0
    (request,) = asked
    assert (request.names, request.keep_inventory, request.force_conflicts) == (("a", "b", "c"), True, True)
    assert (request.inventory, request.yes) == (Path("lab.ini"), False)


def test_yes_reaches_remove(given: Given) -> None:
    asked = given("remove")
    assert main(["addon", "remove", "a", "-i", "lab.ini", "-y"]) == 0
    assert (asked[0].names, asked[0].yes, asked[0].keep_inventory) == (("a",), True, False)


@pytest.mark.parametrize("verb", ["add", "remove"])
def test_a_name_is_needed(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["addon", verb, "-i", "lab.ini"]) == 2
    assert "missing argument" in capsys.readouterr().err


def test_json_never_asks(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def ask(_request: AddonRequest, view: JsonView) -> object:
        view.confirm("Remove it?")
        return REMOVE

    monkeypatch.setattr(f"{AT}.remove", ask)
    said = document(capsys, "addon", "remove", "csi-driver-nfs", "-i", "lab.ini")
    assert (said["exit_code"], said["errors"][0]["code"]) == (2, "usage")
