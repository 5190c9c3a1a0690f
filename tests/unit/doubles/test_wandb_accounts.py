from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from tests.doubles.wandb_api import Double, running
from tests.unit.doubles.conftest import PROJECT, Client
from tests.unit.doubles.requests_of_launch import UPSERT_QUEUE, make_queue, push, see_queue, states

VIEWER = "query Viewer { viewer { id entity username teams { edges { node { name } } } } }"


def test_the_user_of_a_key_is_told_its_default_entity(client: Client) -> None:
    viewer = client.data(VIEWER)["viewer"]
    assert (viewer["entity"], viewer["username"]) == ("lab", "tester")
    assert viewer["teams"] == {"edges": [{"node": {"name": "lab"}}]}


@pytest.mark.parametrize("wrong", [{"key": "0" * 40}, {"key": "schlüssel"}, {"key": ""}])
def test_another_key_is_refused_with_401(client: Client, wrong: dict[str, str]) -> None:
    status, answer = Client(client.url, **wrong).ask(VIEWER)
    assert (status, answer["errors"][0]["message"]) == (401, "user not logged in")


def test_the_right_key_under_another_name_is_refused(client: Client) -> None:
    assert client.send("/graphql", {"query": VIEWER}, user="me")[0] == 401


def test_a_user_sees_only_its_own_entities(client: Client) -> None:
    client.control("entities", name="elsewhere")
    query = "query EntityIsTeam($entity: String!) { entity(name: $entity) { id isTeam } }"
    assert client.data(query, entity="lab")["entity"]["isTeam"] is True
    assert client.data(query, entity="tester")["entity"]["isTeam"] is False
    assert client.data(query, entity="elsewhere")["entity"] is None
    queues = 'query ProjectRunQueues { project(entityName: "elsewhere", name: "model-registry") { runQueues { id } } }'
    assert client.data(queues)["project"] is None


def test_a_change_in_a_foreign_entity_is_refused(client: Client) -> None:
    names = {"entityName": "nope", "projectName": PROJECT, "queueName": "q", "resourceType": "kubernetes"}
    assert "entity nope not found" in client.refusal(UPSERT_QUEUE, **names, resourceConfig="{}")


def test_a_further_user_gets_a_key_of_its_own(client: Client) -> None:
    made = client.control("users", name="second", teams=["lab"])
    assert len(made["key"]) == 40
    assert Client(client.url, made["key"]).data(VIEWER)["viewer"]["username"] == "second"


def test_the_state_outlives_a_restart_and_the_file_is_private(tmp_path: Path) -> None:
    state = tmp_path / "state.json"
    with running(state=state) as first:
        client = Client(first.url, first.api_key)
        identity = make_queue(client)
        push(client)
    with running(state=state) as second:
        assert second.api_key == first.api_key
        client = Client(second.url, second.api_key)
        assert see_queue(client)["id"] == identity
        assert states(client) == ["PENDING"]
    assert stat.S_IMODE(state.stat().st_mode) == 0o600


def test_no_key_is_logged_or_dumped(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    with running(log=path) as double:
        client = Client(double.url, double.api_key)
        client.ask("query Leak($key: String) { viewer { id } }", {"key": double.api_key})
        Client(double.url, "f" * 40).ask(VIEWER)
        client.control("users", name="second", key="e" * 40)
        dumped = json.dumps(double.state())
        (leak,) = double.log("Leak")
    text = path.read_text()
    assert leak["variables"] == {"key": "***"}
    for key in (double.api_key, "f" * 40, "e" * 40):
        assert key not in text
        assert key not in dumped


def test_a_log_line_says_what_was_asked_by_whom_and_how_it_went(double: Double, client: Client) -> None:
    client.data(VIEWER)
    (line,) = double.log("Viewer")
    assert (line["op"], line["status"], line["user"], line["variables"]) == ("Viewer", 200, "tester", {})
    assert line["agent"].startswith("Python-urllib")
    assert line["t"] > 0
