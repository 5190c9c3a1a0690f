"""The queues of an entity on a W&B server: read, made, changed, deleted."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from bootstrap.errors import GpuctlError, Problem
from bootstrap.exit_codes import ExitCode
from bootstrap.hostside.gpuctl_hostio import HostError
from bootstrap.hostside.gpuctl_strictjson import parse
from bootstrap.hostside.gpuctl_wandb import PROJECT, Server, check_server
from bootstrap.jsonform import plain
from bootstrap.launch.queue_file import QueueConfig

RESOURCE = "kubernetes"
PRIORITIES = ("off", "on")
_PRIORITY = {"off": "DISABLED", "on": "V0"}
_IN_PROJECT = "project(name: $projectName, entityName: $entityName)"
_QUEUES = (
    "query ProjectRunQueues($projectName: String!, $entityName: String!) { "
    + _IN_PROJECT
    + " { runQueues { id name } } }"
)
_METADATA = (
    "query GetRunQueueMetadata($projectName: String!, $entityName: String!, $runQueue: String!) "
    "{ " + _IN_PROJECT + " { runQueue(name: $runQueue) { id defaultResourceConfigID prioritizationMode } } }"
)
_CONFIG = (
    "query GetDefaultResourceConfig($entityName: String!, $id: ID!) { entity(name: $entityName) "
    "{ defaultResourceConfig(id: $id) { config resource templateVariables { name schema } } } }"
)
_ITEMS = (
    "query GetRunQueueItems($projectName: String!, $entityName: String!, $runQueue: String!) "
    "{ "
    + _IN_PROJECT
    + " { runQueue(name: $runQueue) { runQueueItems(first: 100) { edges { node { id state } } } } } }"
)
_PROJECT = (
    "mutation CreateProject($input: UpsertModelInput!) { result: upsertModel(input: $input) { project { id name } } }"
)
_UPSERT = (
    "mutation UpsertRunQueue($entityName: String!, $projectName: String!, $queueName: String!, $resourceType: String!, "
    "$resourceConfig: JSONString!, $templateVariables: JSONString, $prioritizationMode: RunQueuePrioritizationMode) "
    "{ upsertRunQueue(input: {entityName: $entityName, projectName: $projectName, queueName: $queueName, "
    "resourceType: $resourceType, resourceConfig: $resourceConfig, templateVariables: $templateVariables, "
    "prioritizationMode: $prioritizationMode}) { success configSchemaValidationErrors } }"
)
_DELETE = "mutation DeleteRunQueue($id: ID!) { deleteRunQueues(input: {queueIDs: [$id]}) { success } }"


@dataclass(frozen=True, slots=True)
class Queue:
    """A queue as the server has it; `kubernetes` is empty for a queue of another resource."""

    name: str
    id: str
    resource: str
    kubernetes: Mapping[str, Any]
    variables: Mapping[str, Mapping[str, Any]]
    priorities: str  # off | on

    def as_dict(self) -> dict[str, Any]:
        """JSON form."""
        found: dict[str, Any] = plain(self)
        return found


@dataclass(frozen=True, slots=True)
class QueueLine:
    """One queue of a list: items that wait (pending, leased) or run (claimed), of the newest 100."""

    name: str
    waiting: int
    running: int


class Queues:
    """The queues of one entity."""

    def __init__(self, server: Server, entity: str) -> None:
        self._server = server
        self.entity = entity

    def check(self) -> None:
        """Refuse a key that the server does not know, and an entity that is not there."""
        try:
            check_server(self._server, self.entity, [])
        except HostError as error:
            raise _told(error) from error

    def names(self) -> tuple[str, ...]:
        """All queues, sorted."""
        project = self._ask(_QUEUES).get("project") or {}
        return tuple(sorted(str(queue["name"]) for queue in project.get("runQueues") or []))

    def read(self, name: str) -> Queue | None:
        """The queue; None when there is none of that name."""
        found = (self._ask(_METADATA, runQueue=name).get("project") or {}).get("runQueue")
        if not found:
            return None
        names = {"entityName": self.entity, "id": found.get("defaultResourceConfigID") or ""}
        entity = self._asked(_CONFIG, names).get("entity") or {}
        config = entity.get("defaultResourceConfig") or {}
        arguments = _object(_object(config.get("config")).get("resource_args"))
        variables = {str(v["name"]): _object(v.get("schema")) for v in config.get("templateVariables") or []}
        resource = str(config.get("resource") or RESOURCE)
        priorities = "on" if found.get("prioritizationMode") == _PRIORITY["on"] else "off"
        return Queue(
            name, str(found.get("id") or ""), resource, _object(arguments.get(RESOURCE)), variables, priorities
        )

    def require(self, name: str) -> Queue:
        """The queue. Raises GpuctlError launch-queue-unknown (exit 4)."""
        self.check()
        found = self.read(name)
        if found is None:
            words = f"entity {self.entity} has no queue {name} (it has: {', '.join(self.names()) or 'none'})"
            fix = (
                f"`gpuctl launch queue list -e {self.entity}` shows them; "
                f"`gpuctl launch queue apply {name} --preset job -e {self.entity}` makes it"
            )
            raise GpuctlError(ExitCode.PREFLIGHT, Problem("launch-queue-unknown", words, fix))
        return found

    def lines(self) -> tuple[QueueLine, ...]:
        """What a list shows."""
        self.check()
        return tuple(map(self._line, self.names()))

    def write(self, name: str, config: QueueConfig, priorities: str) -> tuple[str, ...]:
        """Make or change the queue; what the server has to say about it, which does not stop it."""
        self._asked(_PROJECT, {"input": {"entityName": self.entity, "name": PROJECT}})
        variables = {key: {"schema": plain(schema)} for key, schema in config.variables.items()}
        answer = self._ask(
            _UPSERT,
            queueName=name,
            resourceType=RESOURCE,
            resourceConfig=json.dumps({"resource_args": {RESOURCE: plain(config.kubernetes)}}),
            templateVariables=json.dumps(variables),
            prioritizationMode=_PRIORITY[priorities],
        ).get("upsertRunQueue")
        if not (answer or {}).get("success"):
            words = f"the server did not take queue {name}, and did not say why"
            raise GpuctlError(ExitCode.PREFLIGHT, Problem("launch-refused", words, "look at the entity's page there"))
        return tuple(str(each) for each in (answer or {}).get("configSchemaValidationErrors") or [])

    def delete(self, queue: Queue) -> None:
        """Delete the queue with all that waits in it."""
        self._asked(_DELETE, {"id": queue.id})

    def _line(self, name: str) -> QueueLine:
        queue = (self._ask(_ITEMS, runQueue=name).get("project") or {}).get("runQueue") or {}
        edges = (queue.get("runQueueItems") or {}).get("edges") or []
        states = [str(edge["node"].get("state") or "").upper() for edge in edges]
        waiting = sum(state in {"PENDING", "LEASED"} for state in states)
        return QueueLine(name, waiting, states.count("CLAIMED"))

    def _ask(self, query: str, **variables: Any) -> Mapping[str, Any]:
        return self._asked(query, {"entityName": self.entity, "projectName": PROJECT, **variables})

    def _asked(self, query: str, variables: Mapping[str, Any]) -> Mapping[str, Any]:
        try:
            return self._server.ask(query, variables)
        except HostError as error:
            raise _told(error) from error


def differences(queue: Queue, config: QueueConfig, priorities: str) -> tuple[str, ...]:
    """What applying a configuration would change, one line per value; empty when nothing."""
    found = list(_changes("", plain(queue.kubernetes), plain(config.kubernetes)))
    found += _changes("template_variables", plain(queue.variables), plain(config.variables))
    if queue.priorities != priorities:
        found.append(f"priorities: {queue.priorities} → {priorities}")
    return tuple(found)


def _changes(place: str, old: Any, new: Any) -> Iterator[str]:
    if isinstance(old, dict) and isinstance(new, dict):
        for key in sorted({*old, *new}):
            inner = f"{place}.{key}" if place else key
            if key not in old:
                yield f"{inner}: added {_shown(new[key])}"
            elif key not in new:
                yield f"{inner}: removed"
            else:
                yield from _changes(inner, old[key], new[key])
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for index, (before, after) in enumerate(zip(old, new, strict=True)):
            yield from _changes(f"{place}[{index}]", before, after)
    elif old != new or isinstance(old, bool) != isinstance(new, bool):
        yield f"{place}: {_shown(old)} → {_shown(new)}"


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else text[:57] + "…"


def _object(value: Any) -> dict[str, Any]:
    """A JSON object, given as one or as text; anything else is an empty one."""
    if isinstance(value, str):
        try:
            value = parse(value)
        except ValueError:
            return {}
    return value if isinstance(value, dict) else {}


def _told(error: HostError) -> GpuctlError:
    return GpuctlError(ExitCode.PREFLIGHT, Problem(error.code, error.message, error.fix))
