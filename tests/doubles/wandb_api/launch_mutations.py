"""What jobs and agents do: put into a queue, hand out, acknowledge, fail, and say that one is alive."""

from __future__ import annotations

import json
import time
from typing import Any

from tests.doubles.wandb_api.execution import GraphQLError, Node
from tests.doubles.wandb_api.objects import Caller
from tests.doubles.wandb_api.queue_mutations import json_text
from tests.doubles.wandb_api.store import CLAIMED, DONE, FAILED, LEASED, PENDING, Record, Store, now, short_name
from tests.doubles.wandb_api.templates import TemplateError, complete, fill

_DEFAULT_PRIORITY = 2  # 0 critical, 1 high, 2 medium, 3 low


def root(caller: Caller, lease_s: float) -> Node:
    """The fields of the root of mutations that this module answers. `lease_s`: seconds an item stays handed out."""
    return {
        "pushToRunQueueByName": lambda a: push_by_name(caller, a["input"]),
        "pushToRunQueue": lambda a: push_by_id(caller, a["input"]),
        "popFromRunQueue": lambda a: pop(caller, a["input"], lease_s),
        "ackRunQueueItem": lambda a: acknowledge(caller, a["input"], lease_s),
        "failRunQueueItem": lambda a: fail(caller, a["input"]),
        "updateRunQueueItemWarning": lambda a: warn(caller, a["input"]),
        "deleteFromRunQueue": lambda a: delete_item(caller, a["input"]),
        "createLaunchAgent": lambda a: create_agent(caller, a["input"]),
        "updateLaunchAgent": lambda a: update_agent(caller, a["input"]),
    }


def push_by_name(caller: Caller, given: Record) -> Node | None:
    owner = caller.need_entity(given["entityName"])["name"]
    queue = caller.store.queue(owner, given["projectName"], given["queueName"])
    return _push(caller, queue, given) if queue else None


def push_by_id(caller: Caller, given: Record) -> Node:
    queue = caller.store.data["queues"].get(str(given["queueID"]))
    if queue is None or caller.entity(queue["entity"]) is None:
        raise GraphQLError(f"run queue {given['queueID']} not found")
    return _push(caller, queue, given)


def _push(caller: Caller, queue: Record, given: Record) -> Node:
    spec = json_text("runSpec", given["runSpec"], {})
    values = json_text("templateVariableValues", given.get("templateVariableValues"), {})
    priority = given.get("priority")
    if priority is not None and queue["prioritizationMode"] == "DISABLED":
        raise GraphQLError(f"run queue {queue['name']} does not have prioritization enabled")
    rendered = render(caller.store, queue, spec, values)
    record = add_item(caller.store, queue, rendered, priority)
    return {
        "__typename": "PushToRunQueueByNamePayload", "runQueueItemId": record["id"], "runSpec": json.dumps(rendered),
    }  # fmt: skip


def render(store: Store, queue: Record, spec: Any, values: Any) -> Record:
    """The job as the agent gets it: the queue's resource and configuration, filled in. Raises GraphQLError."""
    if not isinstance(spec, dict) or not isinstance(values, dict):
        raise GraphQLError("runSpec and templateVariableValues must be objects", 400)
    config = store.data["configs"].get(queue["config"]) or {"config": {}, "templateVariables": {}, "resource": None}
    try:
        filled = fill(config["config"], complete(config["templateVariables"], values))
    except TemplateError as error:
        raise GraphQLError(str(error)) from None
    arguments = _merged(filled.get("resource_args") or {}, spec.get("resource_args") or {})
    return {**spec, "resource": config["resource"] or spec.get("resource"), "resource_args": arguments}


def _merged(base: Any, over: Any) -> Any:
    if isinstance(base, dict) and isinstance(over, dict):
        return {**base, **{key: _merged(base.get(key), value) for key, value in over.items()}}
    return over


def add_item(store: Store, queue: Record, spec: Record, priority: int | None) -> Record:
    """Put a job into a queue as it is, without a look at it."""
    identity = str(store.number("RunQueueItem"))
    record = {
        "id": identity, "queue": queue["id"], "runSpec": spec, "state": PENDING, "associatedRunId": None,
        "priority": _DEFAULT_PRIORITY if priority is None else int(priority), "createdAt": now(), "leasedAt": None,
        "agent": None, "error": None, "warnings": [],
    }  # fmt: skip
    store.data["items"][identity] = record
    return record


def pop(caller: Caller, given: Record, lease_s: float) -> Node | None:
    store = caller.store
    owner = caller.need_entity(given["entityName"])["name"]
    queue = store.queue(owner, given["projectName"], given["queueName"])
    if queue is None:
        raise GraphQLError(f"run queue {given['queueName']} not found")
    agent = _agent(caller, given["launchAgentId"]) if given.get("launchAgentId") is not None else None
    if agent is not None:
        agent["heartbeatAt"] = now()
    store.settle_leases(lease_s)
    waiting = [item for item in store.items_of(queue["id"]) if item["state"] == PENDING]
    if not waiting:
        return None
    item = min(waiting, key=lambda each: each["priority"]) if queue["prioritizationMode"] == "V0" else waiting[0]
    item.update(state=LEASED, leasedAt=time.time(), agent=agent["id"] if agent else None)
    return {"__typename": "PopFromRunQueuePayload", "runQueueItemId": item["id"], "runSpec": item["runSpec"]}


def acknowledge(caller: Caller, given: Record, lease_s: float) -> Node:
    caller.store.settle_leases(lease_s)
    item = _item(caller, given)
    mine = item["state"] == LEASED
    if mine:
        item.update(state=CLAIMED, associatedRunId=given["runName"])
    return {"__typename": "AckRunQueueItemPayload", "success": mine}


def fail(caller: Caller, given: Record) -> Node:
    item = _item(caller, given)
    open_yet = item["state"] != DONE
    if open_yet:
        item.update(state=FAILED, error={key: given.get(key) for key in ("message", "stage", "filePaths")})
    return {"__typename": "FailRunQueueItemPayload", "success": open_yet}


def warn(caller: Caller, given: Record) -> Node:
    _item(caller, given)["warnings"].append({key: given.get(key) for key in ("message", "stage", "filePaths")})
    return {"__typename": "UpdateRunQueueItemWarningPayload", "success": True}


def delete_item(caller: Caller, given: Record) -> Node:
    item = _item(caller, given)
    fits = item["queue"] == given["queueID"]
    if fits:
        del caller.store.data["items"][item["id"]]
    return {"__typename": "DeleteFromRunQueuePayload", "success": fits, "clientMutationId": None}


def _item(caller: Caller, given: Record) -> Record:
    found: Record | None = caller.store.data["items"].get(str(given["runQueueItemId"]))
    queue = caller.store.data["queues"].get(found["queue"]) if found else None
    if found is None or queue is None or caller.entity(queue["entity"]) is None:
        raise GraphQLError(f"run queue item {given['runQueueItemId']} not found")
    return found


def create_agent(caller: Caller, given: Record) -> Node:
    owner = caller.need_entity(given["entityName"])["name"]
    for identity in given["runQueues"]:
        if identity not in caller.store.data["queues"]:
            raise GraphQLError(f"run queue {identity} not found")
    record = {
        "id": caller.store.identity("LaunchAgent"), "name": short_name(), "entity": owner,
        "project": given["projectName"], "queues": list(given["runQueues"]), "hostname": given["hostname"],
        "agentConfig": json_text("agentConfig", given.get("agentConfig"), {}), "version": given.get("version"),
        "agentStatus": "POLLING", "stopPolling": False, "createdAt": now(), "heartbeatAt": now(),
    }  # fmt: skip
    caller.store.data["agents"][record["id"]] = record
    return {"__typename": "CreateLaunchAgentPayload", "launchAgentId": record["id"]}


def update_agent(caller: Caller, given: Record) -> Node:
    _agent(caller, given["launchAgentId"]).update(agentStatus=given.get("agentStatus"), heartbeatAt=now())
    return {"__typename": "UpdateLaunchAgentPayload", "success": True}


def _agent(caller: Caller, identity: Any) -> Record:
    found: Record | None = caller.store.data["agents"].get(str(identity))
    if found is None or caller.entity(found["entity"]) is None:
        raise GraphQLError(f"launch agent {identity} not found")
    return found
