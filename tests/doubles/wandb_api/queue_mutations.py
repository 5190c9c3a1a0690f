"""What changes projects and queues."""

from __future__ import annotations

import json
from typing import Any

from tests.doubles.wandb_api.execution import GraphQLError, Node
from tests.doubles.wandb_api.objects import Caller, project
from tests.doubles.wandb_api.store import Record
from tests.doubles.wandb_api.templates import TemplateError, check_schemas

_MODES = ("DISABLED", "V0")


def root(caller: Caller) -> Node:
    """The fields of the root of mutations that this module answers."""
    return {
        "upsertModel": lambda a: upsert_project(caller, a["input"]),
        "createDefaultResourceConfig": lambda a: create_config(caller, a["input"]),
        "createRunQueue": lambda a: create_queue(caller, a["input"]),
        "upsertRunQueue": lambda a: upsert_queue(caller, a["input"]),
        "deleteRunQueues": lambda a: delete_queues(caller, a["input"]),
    }


def json_text(name: str, value: Any, empty: Any) -> Any:
    """The value of an argument that is JSON in a text. Raises GraphQLError."""
    if value is None or value == "":
        return empty
    try:
        return json.loads(value)
    except (TypeError, ValueError) as error:
        raise GraphQLError(f"{name}: invalid JSON: {error}", 400) from None


def upsert_project(caller: Caller, given: Record) -> Node:
    owner = caller.need_entity(given.get("entityName"))["name"]
    new = f"{owner}/{given['name']}" not in caller.store.data["projects"]
    caller.store.project(owner, given["name"])
    node = project(caller, owner, given["name"])
    return {"__typename": "UpsertModelPayload", "project": node, "model": node, "inserted": new}


def create_config(caller: Caller, given: Record) -> Node:
    owner = caller.need_entity(given["entityName"])["name"]
    record = _config(caller, owner, given["resource"], given["config"], given.get("templateVariables"))
    return {
        "__typename": "CreateDefaultResourceConfigPayload", "success": True, "defaultResourceConfigID": record["id"],
    }  # fmt: skip


def create_queue(caller: Caller, given: Record) -> Node:
    owner = caller.need_entity(given["entityName"])["name"]
    if caller.store.queue(owner, given["projectName"], given["queueName"]):
        raise GraphQLError(f"run queue {given['queueName']} already exists")
    config = given.get("defaultResourceConfigID")
    if config is not None and config not in caller.store.data["configs"]:
        raise GraphQLError(f"default resource config {config} not found")
    record = _queue(caller, owner, given)
    record.update(config=config, access=str(given.get("access") or "PROJECT").upper())
    return {"__typename": "CreateRunQueuePayload", "success": True, "queueID": record["id"]}


def upsert_queue(caller: Caller, given: Record) -> Node:
    owner = caller.need_entity(given["entityName"])["name"]
    text = (given["resourceType"], given["resourceConfig"], given.get("templateVariables"))
    links = json_text("externalLinks", given.get("externalLinks"), {"links": []})
    record = caller.store.queue(owner, given["projectName"], given["queueName"])
    old = caller.store.data["configs"].get(record["config"]) if record else None
    config = _config(caller, owner, *text, old=old)
    if record is None:
        record = _queue(caller, owner, given)
    record.update(config=config["id"], prioritizationMode=_mode(given), externalLinks=links)
    return {
        "__typename": "UpsertRunQueuePayload", "success": True, "configSchemaValidationErrors": _complaints(config),
        "clientMutationId": given.get("clientMutationId"),
    }  # fmt: skip


def delete_queues(caller: Caller, given: Record) -> Node:
    data = caller.store.data
    for identity in given["queueIDs"]:
        found = data["queues"].get(str(identity))
        if found is None or caller.entity(found["entity"]) is None:
            raise GraphQLError(f"run queue {identity} not found")
        for item in caller.store.items_of(found["id"]):
            del data["items"][item["id"]]
        del data["queues"][found["id"]]
    return {"__typename": "DeleteRunQueuesPayload", "success": True, "clientMutationId": None}


def _config(
    caller: Caller, owner: str, resource: str, config: str, variables: str | None, *, old: Record | None = None
) -> Record:
    """A new resource configuration, or `old` when it is the same."""
    tree = json_text("config", config, {})
    try:
        schemas = check_schemas(json_text("templateVariables", variables, {}))
    except TemplateError as error:
        raise GraphQLError(str(error)) from None
    if not isinstance(tree, dict) or not isinstance(tree.get("resource_args", {}), dict):
        raise GraphQLError("config: resource_args must be a map")
    fresh = {"entity": owner, "resource": resource, "config": tree, "templateVariables": schemas}
    if old is not None and {**fresh, "id": old["id"]} == old:
        return old
    identity = str(caller.store.number("DefaultResourceConfig"))
    caller.store.data["configs"][identity] = {"id": identity, **fresh}
    record: Record = caller.store.data["configs"][identity]
    return record


def _queue(caller: Caller, owner: str, given: Record) -> Record:
    """A new queue."""
    caller.store.project(owner, given["projectName"])
    record = {
        "id": caller.store.identity("RunQueue"), "entity": owner, "project": given["projectName"],
        "name": given["queueName"], "createdBy": caller.user["id"], "access": "PROJECT", "config": None,
        "prioritizationMode": _mode(given), "externalLinks": {"links": []},
    }  # fmt: skip
    caller.store.data["queues"][record["id"]] = record
    return record


def _mode(given: Record) -> str:
    mode = str(given.get("prioritizationMode") or "DISABLED").upper()
    if mode not in _MODES:
        raise GraphQLError(f"prioritizationMode: {mode} is not one of {', '.join(_MODES)}", 400)
    return mode


def _complaints(config: Record) -> list[str]:
    """What the client prints as warnings of a configuration that was taken all the same."""
    arguments = config["config"].get("resource_args", {}).get(config["resource"])
    return [] if isinstance(arguments, dict) else [f"resource_args.{config['resource']}: expected an object"]
