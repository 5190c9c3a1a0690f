"""The W&B side of a trial: the queue, the item that is put into it, the agents, and the run that comes of it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from bootstrap.errors import GpuctlError, Problem, settings_error
from bootstrap.exit_codes import ExitCode
from bootstrap.hostside.gpuctl_hostio import HostError
from bootstrap.hostside.gpuctl_wandb import PROJECT, Server
from bootstrap.launch.agent_server import KnownAgent, agents_of
from bootstrap.launch.queue_file import QueueConfig
from bootstrap.launch.queue_rules import refusals
from bootstrap.launch.queues import RESOURCE, Queues
from bootstrap.launch.trial import Queue, ServerSide
from bootstrap.launch.trial_model import FAILED, Agent, Asked, Item
from bootstrap.launch.trial_queue import GPUS
from bootstrap.launch.trial_reach import Target

_PUSH = (
    "mutation pushToRunQueueByName($entityName: String!, $projectName: String!, $queueName: String!, "
    "$runSpec: JSONString!, $templateVariableValues: JSONString) { pushToRunQueueByName(input: {entityName: "
    "$entityName, projectName: $projectName, queueName: $queueName, runSpec: $runSpec, templateVariableValues: "
    "$templateVariableValues}) { runQueueItemId runSpec } }"
)
# What the agent said of an item it gave up is in a field that not every server has.
_ITEM = (
    "query GetRunQueueItem($projectName: String!, $entityName: String!, $runQueue: String!, $itemId: ID!) "
    "{ project(name: $projectName, entityName: $entityName) { runQueue(name: $runQueue) "
    "{ runQueueItem(id: $itemId) { id state associatedRunId %s } } } }"
)
_ERROR = "error { message stage }"
_DELETE = (
    "mutation DeleteFromRunQueue($queueID: ID!, $runQueueItemId: ID!) { deleteFromRunQueue(input: {queueID: $queueID, "
    "runQueueItemId: $runQueueItemId}) { success } }"
)
_RUN = (
    "query RunState($project: String!, $entity: String!, $name: String!) "
    "{ project(name: $project, entityName: $entity) { run(name: $name) { state } } }"
)


def server_side(target: Target) -> ServerSide:
    """The server that the target names."""
    return WandbSide(target.server.server, target.asked)


class WandbSide:
    """A ServerSide that speaks GraphQL, in the operations that the client itself uses."""

    def __init__(self, server: Server, asked: Asked) -> None:
        self._server, self._asked = server, asked
        self._queues = Queues(server, asked.entity)
        self._queue_id = ""
        self._refusals: tuple[str, ...] = ()
        self._tells_errors = True

    def queue(self) -> Queue:
        """See ServerSide; also refuses a queue that is not one of Kubernetes."""
        found = self._queues.require(self._asked.queue)
        self._queue_id = found.id
        if found.resource != RESOURCE:
            words = f"queue {found.name} is one of resource {found.resource}, not of Kubernetes"
            raise settings_error(Problem("launch-queue-foreign", words, "name a queue whose jobs run in the cluster"))
        self._refusals = tuple(problem.message for problem in refusals(QueueConfig(found.kubernetes, found.variables)))
        return Queue(found.variables, found.kubernetes)

    def submit(self, spec: Mapping[str, Any], gpus: int | None) -> str:
        """See ServerSide."""
        values = {} if gpus is None else {"templateVariableValues": json.dumps({GPUS: gpus})}
        names = {"entityName": self._asked.entity, "projectName": PROJECT, "queueName": self._asked.queue}
        answer = self._ask(_PUSH, {**names, "runSpec": json.dumps(spec), **values}).get("pushToRunQueueByName")
        item = str((answer or {}).get("runQueueItemId") or "")
        if not item:
            words = f"{self._server.base_url} took no job into queue {self._asked.queue}, and did not say why"
            raise GpuctlError(ExitCode.PREFLIGHT, Problem("launch-refused", words, "look at the queue's page there"))
        return item

    def item(self, item_id: str) -> Item | None:
        """See ServerSide."""
        try:
            found = self._item(item_id, _ERROR if self._tells_errors else "")
        except GpuctlError as error:
            if not self._tells_errors or error.problems[0].code != "launch-refused":
                raise
            found = self._item(item_id, "")  # raises again unless it was for the field
            self._tells_errors = False
        if not found:
            return None
        state = str(found.get("state") or "").upper()
        said = found.get("error") or {}
        words = str(said.get("message") or "") if isinstance(said, Mapping) else str(said)
        if state == FAILED and not words:
            words = "; ".join(("the server does not tell why", *self._refusals))
        return Item(item_id, state, str(found.get("associatedRunId") or ""), words)

    def agents(self) -> tuple[Agent, ...] | None:
        """See ServerSide. Those that are at work; when none is, the one that was heard of last."""
        try:
            known = agents_of(self._server, self._asked.entity)
        except HostError as error:
            if error.code == "launch-refused":  # a server without these fields
                return None
            raise _told(error) from error
        mine = [agent for agent in known if agent.may_poll(self._asked.queue)]
        at_work = [agent for agent in mine if agent.fresh]
        heard = [agent for agent in mine if agent.age_s is not None] or mine
        last = min(heard, key=lambda agent: agent.age_s or 0.0, default=None)
        return tuple(_agent(agent) for agent in at_work or ([last] if last else []))

    def run_state(self, run_id: str) -> str:
        """See ServerSide."""
        names = {"project": self._asked.project.lower(), "entity": self._asked.entity, "name": run_id}
        run = (self._ask(_RUN, names).get("project") or {}).get("run") or {}
        return str(run.get("state") or "")

    def withdraw(self, item_id: str) -> None:
        """See ServerSide."""
        self._queue_id = self._queue_id or self._queues.require(self._asked.queue).id
        self._ask(_DELETE, {"queueID": self._queue_id, "runQueueItemId": item_id})

    def _item(self, item_id: str, error_fields: str) -> Mapping[str, Any]:
        names = {"projectName": PROJECT, "entityName": self._asked.entity, "runQueue": self._asked.queue}
        project = self._ask(_ITEM % error_fields, {**names, "itemId": item_id}).get("project") or {}
        found = (project.get("runQueue") or {}).get("runQueueItem")
        return found if isinstance(found, Mapping) else {}

    def _ask(self, query: str, variables: Mapping[str, Any]) -> Mapping[str, Any]:
        try:
            return self._server.ask(query, variables)
        except HostError as error:
            raise _told(error) from error


def _told(error: HostError) -> GpuctlError:
    return GpuctlError(ExitCode.PREFLIGHT, Problem(error.code, error.message, error.fix))


def _agent(known: KnownAgent) -> Agent:
    """An agent that is only known by its run is at work as long as that is; what it does is not known."""
    status = known.status.upper()
    if not known.queues:
        status = "POLLING" if status == "RUNNING" else "STOPPED"
    return Agent(known.name, known.host, status, known.age_s)
