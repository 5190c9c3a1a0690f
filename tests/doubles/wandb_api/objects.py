"""The objects that queries read, as trees for `execution`: fields by name, functions where they take arguments.

Only fields that the real client asks for are here: what it never asks may not exist at the service either, and a query
for it is refused as there.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tests.doubles.wandb_api import run_files
from tests.doubles.wandb_api.execution import GraphQLError, Node
from tests.doubles.wandb_api.store import Record, Store, opaque

QUEUE_PROJECT = "model-registry"  # every entity has this project; queues and agents live in it


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks: a user of the store, and under which address it sees this server."""

    store: Store
    user: Record
    base_url: str

    def entity(self, name: str | None) -> Record | None:
        """An entity that the user is in; no name means its default one. None for any other."""
        wanted = name or self.default_entity
        mine = {self.user["name"], *self.user["teams"]}
        found: Record | None = self.store.data["entities"].get(wanted)
        return found if wanted in mine else None

    @property
    def default_entity(self) -> str:
        """The entity of whoever names none."""
        return str((self.user["teams"] or [self.user["name"]])[0])

    def need_entity(self, name: str | None) -> Record:
        """As `entity`. Raises GraphQLError where it has no access."""
        found = self.entity(name)
        if found is None:
            raise GraphQLError(f"entity {name} not found, or no permission to access it")
        return found


def viewer(caller: Caller) -> Node:
    user = caller.user
    teams = {"edges": [{"node": {"__typename": "Entity", "name": team}} for team in user["teams"]]}
    node: Node = {
        "__typename": "User", "id": user["id"], "entity": caller.default_entity, "username": user["name"],
        "name": user["name"], "email": user["email"], "flags": "{}", "admin": False, "deletedAt": None, "teams": teams,
        "apiKeys": {"edges": []},
    }  # fmt: skip
    return node


def entity(caller: Caller, record: Record) -> Node:
    def config(arguments: Record) -> Node | None:
        found = caller.store.data["configs"].get(str(arguments.get("id")))
        return default_config(found) if found and found["entity"] == record["name"] else None

    return {
        "__typename": "Entity", "id": record["id"], "name": record["name"], "isTeam": record["team"],
        "entityType": "team" if record["team"] else "user", "organization": None, "defaultResourceConfig": config,
    }  # fmt: skip


def default_config(record: Record) -> Node:
    schemas = record["templateVariables"]
    variables = [{"__typename": "TemplateVariable", "name": k, "schema": json.dumps(v)} for k, v in schemas.items()]
    return {
        "__typename": "DefaultResourceConfig", "id": record["id"], "config": record["config"],
        "resource": record["resource"], "templateVariables": variables,
    }  # fmt: skip


def project(caller: Caller, entity_name: str | None, name: str | None) -> Node | None:
    """The project; None where there is none, or where the user has no access."""
    owner = caller.entity(entity_name)
    wanted = name or "uncategorized"
    if owner is None:
        return None
    store = caller.store
    if f"{owner['name']}/{wanted}" not in store.data["projects"] and wanted != QUEUE_PROJECT:
        return None
    record = store.project(owner["name"], wanted)

    def one_queue(arguments: Record) -> Node | None:
        found = store.queue(owner["name"], wanted, arguments["name"])
        return queue(caller, found) if found else None

    def one_run(arguments: Record) -> Node | None:
        found = store.run(owner["name"], wanted, arguments["name"])
        return run(caller, found) if found else None

    def all_runs() -> list[Record]:
        return [r for r in store.data["runs"].values() if (r["entity"], r["project"]) == (owner["name"], wanted)]

    def some_runs(arguments: Record) -> Node:
        wanted_runs = [r for r in all_runs() if matches(r, arguments.get("filters"))]
        return connection([run(caller, r) for r in wanted_runs], arguments, "Run")

    mine = [q for q in store.data["queues"].values() if (q["entity"], q["project"]) == (owner["name"], wanted)]
    return {
        "__typename": "Project", "id": record["id"], "name": wanted,
        "internalId": opaque("ProjectInternalId", record["number"]),
        "entityName": owner["name"], "createdAt": record["createdAt"], "description": None, "access": "PRIVATE",
        "views": None, "readOnly": False, "isBenchmark": False, "entity": entity(caller, owner),
        "runQueues": [queue(caller, q) for q in mine], "runQueue": one_queue, "run": one_run, "bucket": one_run,
        "launchAgents": lambda _: [agent(a) for a in store.data["agents"].values() if a["entity"] == owner["name"]],
        "runs": some_runs, "runCount": lambda a: len([r for r in all_runs() if matches(r, a.get("filters"))]),
    }  # fmt: skip


def connection(nodes: Sequence[Node], arguments: Record, kind: str) -> Node:
    """One page of a list. The cursor is the position."""
    start = int(arguments.get("after") or 0)
    size = arguments.get("first")
    end = len(nodes) if size is None else start + int(size)
    edges = [{"__typename": kind + "Edge", "node": n, "cursor": str(i + 1)} for i, n in enumerate(nodes)][start:end]
    info = {
        "__typename": "PageInfo", "hasNextPage": end < len(nodes), "endCursor": str(min(end, len(nodes))),
    }  # fmt: skip
    return {"__typename": kind + "Connection", "edges": edges, "pageInfo": info, "totalCount": len(nodes)}


def matches(record: Record, filters: Any) -> bool:
    """Whether a run passes the client's filter: equality, $and, $or, $in; a filter by anything else is refused."""
    wanted = json.loads(filters) if isinstance(filters, str) else filters or {}
    for key, value in wanted.items():
        if key in {"$and", "$or"}:
            found = [matches(record, part) for part in value]
            if not (all(found) if key == "$and" else any(found)):
                return False
            continue
        choices = value.get("$in") if isinstance(value, dict) else [value]
        if key not in record or choices is None:
            raise GraphQLError(f"filter {key}: {value} is not supported by this double", 400)
        if record[key] not in choices:
            return False
    return True


def queue(caller: Caller, record: Record) -> Node:
    store = caller.store

    def items(arguments: Record) -> Node:
        return connection([item(i) for i in store.items_of(record["id"])], arguments, "RunQueueItem")

    def one(arguments: Record) -> Node | None:
        found = store.data["items"].get(str(arguments["id"]))
        return item(found) if found and found["queue"] == record["id"] else None

    return {
        "__typename": "RunQueue", "id": record["id"], "name": record["name"], "createdBy": record["createdBy"],
        "access": record["access"], "defaultResourceConfigID": record["config"],
        "prioritizationMode": record["prioritizationMode"], "externalLinks": record["externalLinks"],
        "runQueueItems": items, "runQueueItem": one,
    }  # fmt: skip


def item(record: Record) -> Node:
    names = ("id", "state", "associatedRunId")
    error = {"__typename": "RunQueueItemError", **record["error"]} if record["error"] else None
    return {"__typename": "RunQueueItem", "error": error, **{name: record[name] for name in names}}


def agent(record: Record) -> Node:
    names = ("id", "name", "hostname", "agentStatus", "stopPolling", "heartbeatAt")
    return {
        "__typename": "LaunchAgent", "runQueues": record["queues"], **{name: record[name] for name in names},
    }  # fmt: skip


def run(caller: Caller, record: Record) -> Node:
    """A run; its project is a function, as each holds the other."""
    names = (
        "id", "name", "displayName", "state", "stopped", "config", "summaryMetrics", "group", "jobType", "createdAt",
        "heartbeatAt", "description", "notes", "tags", "commit", "sweepName", "historyLineCount", "logLineCount",
        "eventsLineCount",
    )  # fmt: skip

    owner = caller.store.project(record["entity"], record["project"])

    def where(_: Record) -> Node | None:
        return project(caller, record["entity"], record["project"])

    def files(arguments: Record) -> Node:
        return connection(run_files.listed(caller.store, caller.base_url, record, arguments), arguments, "File")

    return {
        "__typename": "Run", **{name: record[name] for name in names}, "project": where, "readOnly": False,
        "projectId": str(owner["number"]), "systemMetrics": "{}", "historyKeys": None,
        "historyTail": "[]", "eventsTail": "[]", "wandbConfig": lambda _: "{}",
        "files": files, "fileCount": len(files({})["edges"]),
        "user": {"__typename": "User", "name": record["user"], "username": record["user"]},
    }  # fmt: skip


def query(caller: Caller) -> Node:
    """The root of every query."""

    def one_entity(arguments: Record) -> Node | None:
        found = caller.entity(arguments["name"])
        return entity(caller, found) if found else None

    def one_project(arguments: Record) -> Node | None:
        return project(caller, arguments.get("entityName"), arguments.get("name"))

    def one_agent(arguments: Record) -> Node | None:
        found = caller.store.data["agents"].get(str(arguments["id"]))
        return agent(found) if found and caller.entity(found["entity"]) else None

    return {
        "__typename": "Query", "viewer": lambda _: viewer(caller), "entity": one_entity, "project": one_project,
        "model": one_project, "launchAgent": one_agent,
        "serverInfo": {"__typename": "ServerInfo", "features": []},
    }  # fmt: skip
