from __future__ import annotations

import json

import pytest

from tests.doubles.wandb_api import Double
from tests.unit.doubles.conftest import PROJECT, Client
from tests.unit.doubles.requests_of_launch import (
    CONFIG,
    GPUS,
    JOB,
    PUSH,
    UPSERT_QUEUE,
    make_queue,
    pop,
    push,
    push_input,
    see_queue,
    states,
)


def test_a_queue_is_read_as_it_was_written(client: Client) -> None:
    make_queue(client)
    seen = see_queue(client)
    assert (seen["access"], seen["prioritizationMode"]) == ("PROJECT", "DISABLED")
    config = client.data(CONFIG, entityName="lab", id=seen["defaultResourceConfigID"])["entity"][
        "defaultResourceConfig"
    ]
    assert config["config"] == {"resource_args": {"kubernetes": JOB}}
    assert config["resource"] == "kubernetes"
    (variable,) = config["templateVariables"]
    assert (variable["name"], json.loads(variable["schema"])) == ("gpus", GPUS["gpus"]["schema"])


def test_an_upsert_changes_the_queue_and_keeps_its_id(client: Client) -> None:
    first = make_queue(client)
    before = see_queue(client)["defaultResourceConfigID"]
    assert make_queue(client) == first
    assert see_queue(client)["defaultResourceConfigID"] == before
    assert make_queue(client, job={"other": 1}, prioritizationMode="V0") == first
    after = see_queue(client)
    assert after["defaultResourceConfigID"] != before
    assert after["prioritizationMode"] == "V0"


def test_a_project_is_answered_under_its_alias(client: Client) -> None:
    query = """mutation CreateProject($input: UpsertModelInput!) { result: upsertModel(input: $input) {
      project { ...P } model { ...P } inserted } }
      fragment P on Project { id name entityName description access views }"""
    made = client.data(query, input={"entityName": "lab", "name": "new"})["result"]
    assert (made["inserted"], made["model"]["name"], made["project"]["entityName"]) == (True, "new", "lab")
    assert client.data(query, input={"entityName": "lab", "name": "new"})["result"]["inserted"] is False


def test_create_is_not_idempotent_and_delete_takes_the_jobs_along(double: Double, client: Client) -> None:
    create = """mutation CreateRunQueue($config: ID) { createRunQueue(input: {entityName: "lab",
      projectName: "model-registry", queueName: "made", access: PROJECT, defaultResourceConfigID: $config})
      { success queueID } }"""
    config = """mutation CreateDefaultResourceConfig { createDefaultResourceConfig(input: {entityName: "lab",
      resource: "kubernetes", config: "{}"}) { defaultResourceConfigID success } }"""
    identity = client.data(config)["createDefaultResourceConfig"]["defaultResourceConfigID"]
    made = client.data(create, config=identity)["createRunQueue"]
    assert "already exists" in client.refusal(create, config=identity)
    push(client, "made")
    gone = (
        "mutation DeleteRunQueue($id: ID!) { deleteRunQueues(input: {queueIDs: [$id]}) { success clientMutationId } }"
    )
    assert client.data(gone, id=made["queueID"])["deleteRunQueues"]["success"] is True
    assert see_queue(client, "made") is None
    assert double.state()["items"] == {}


@pytest.mark.parametrize(
    ("values", "gpus"), [(None, 1), ({"gpus": 2}, 2), ({"gpus": 8}, 8), ({"gpus": 3.0}, 3)], ids=str
)
def test_variables_are_filled_in_typed_when_alone(client: Client, values: dict[str, float] | None, gpus: int) -> None:
    make_queue(client)
    _, spec = push(client, values=values)
    filled = spec["resource_args"]["kubernetes"]["spec"]
    assert filled["limits"] == {"nvidia.com/gpu": gpus, "cpu": f"{gpus}00m"}
    assert filled["command"] == ["${image_uri}"]  # macros are the agent's business
    assert spec["resource"] == "kubernetes"
    assert pop(client)["runSpec"] == spec


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"gpus": 9}, "gpus: 9 is greater than the maximum of 8"),
        ({"gpus": 0}, "gpus: 0 is less than the minimum of 1"),
        ({"gpus": "2"}, "gpus: '2' is not of type integer"),
        ({"gpus": 1.5}, "gpus: 1.5 is not of type integer"),
        ({"gpus": True}, "gpus: True is not of type integer"),
        ({"size": "huge"}, "size: 'huge' is not one of small, big"),
        ({"share": "half"}, "share: 'half' is not of type number"),
        ({"tpus": 1}, "tpus is not defined for this queue"),
        ({}, "share: a value is required, it has no default"),
    ],
    ids=str,
)
def test_values_out_of_bounds_are_refused(client: Client, values: dict[str, object], words: str) -> None:
    size = {"schema": {"type": "string", "enum": ["small", "big"], "default": "small"}}
    make_queue(client, variables={**GPUS, "size": size, "share": {"schema": {"type": "number"}}})
    assert words in client.refusal(PUSH, **push_input(values=values))
    assert states(client) == []


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        ({"type": "boolean"}, "type must be integer, number or string"),
        ({"type": "integer", "default": 9, "maximum": 8}, "9 is greater than the maximum of 8"),
        ({"type": "string", "minimum": 1}, "minimum is not allowed for type string"),
    ],
    ids=str,
)
def test_schemas_that_make_no_sense_are_refused(client: Client, schema: dict[str, object], words: str) -> None:
    variables = json.dumps({"x": {"schema": schema}})
    names = {"entityName": "lab", "projectName": PROJECT, "queueName": "q", "resourceType": "kubernetes"}
    assert words in client.refusal(UPSERT_QUEUE, **names, resourceConfig="{}", templateVariables=variables)


def test_a_job_for_an_unknown_queue_gets_null(client: Client) -> None:
    assert client.data(PUSH, **push_input("nope"))["pushToRunQueueByName"] is None


def test_a_priority_needs_a_queue_that_has_priorities(client: Client) -> None:
    make_queue(client)
    assert "does not have prioritization enabled" in client.refusal(PUSH, **push_input(priority=0))


def test_the_most_urgent_job_is_handed_out_first_then_the_oldest(client: Client) -> None:
    make_queue(client, prioritizationMode="V0")
    order = [push(client, priority=priority)[0] for priority in (3, 2, 0)]
    order.append(push(client)[0])
    handed_out = [pop(client)["runQueueItemId"] for _ in order]
    assert handed_out == [order[2], order[1], order[3], order[0]]
    assert pop(client) is None
