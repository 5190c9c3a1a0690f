"""The test's own requests, under /_double/: make accounts, cause failures, stop agents and runs, look at the state."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.doubles.wandb_api import launch_mutations, run_mutations
from tests.doubles.wandb_api.objects import QUEUE_PROJECT
from tests.doubles.wandb_api.service import Answer, Service
from tests.doubles.wandb_api.store import Record, new_key

PREFIX = "/_double/"


class ControlError(ValueError):
    """The control was asked for something that is not there."""


def control(service: Service, action: str, body: Record) -> Answer:
    """Answer `POST /_double/ACTION` with a JSON object; 400 with the reason when it cannot be done."""
    do = _ACTIONS.get(action)
    op = f"_double/{action}"
    if do is None:
        return Answer(404, {"error": f"{action}: the actions are {', '.join(sorted(_ACTIONS))}"}, op, body)
    try:
        result = do(service, body)
    except (ControlError, KeyError, TypeError, ValueError) as error:
        return Answer(400, {"error": str(error)}, op, body)
    return Answer(200, result, op, body)


def add_user(service: Service, body: Record) -> Any:
    """{name, key?, teams?: [..]} → {name, key, entity}: the key is a new one unless given."""
    teams = list(body.get("teams") or [])
    user = service.store.add_user(body["name"], body.get("key") or new_key(), teams)
    return {"name": user["name"], "key": user["key"], "entity": (teams or [user["name"]])[0]}


def add_entity(service: Service, body: Record) -> Any:
    """{name, team?: true} → {name}."""
    return {"name": service.store.add_entity(body["name"], team=bool(body.get("team", True)))["name"]}


def fail(service: Service, body: Record) -> Any:
    """{operation (name, file_stream, upload or *), status, times?: 1, message?, delay_s?}."""
    times, delay_s = int(body.get("times", 1)), float(body.get("delay_s", 0.0))
    service.faults.add(str(body["operation"]), int(body["status"]), times, str(body.get("message", "")), delay_s)
    return {}


def outage(service: Service, body: Record) -> Any:
    """{seconds}: every connection of a client is closed without an answer for so long."""
    service.faults.go_away(float(body["seconds"]))
    return {}


def clear(service: Service, _: Record) -> Any:
    """{}: no failures and no outage any more."""
    service.faults.clear()
    return {}


def lease(service: Service, body: Record) -> Any:
    """{seconds}: how long an item stays handed out without being acknowledged."""
    service.lease_s = float(body["seconds"])
    return {}


def stop_agents(service: Service, body: Record) -> Any:
    """{agent?: name or id}: this one, or all, are told to stop at their next poll → {stopped: [names]}."""
    return {"stopped": [agent["name"] for agent in _change_agents(service, body, {"stopPolling": True})]}


def forget_agents(service: Service, body: Record) -> Any:
    """{agent?: name or id}: this one, or all, are no longer known → {forgotten: [names]}."""
    agents = _change_agents(service, body, {})
    with service.store.change() as data:
        for agent in agents:
            del data["agents"][agent["id"]]
    return {"forgotten": [agent["name"] for agent in agents]}


def _change_agents(service: Service, body: Record, change: Record) -> list[Record]:
    wanted = body.get("agent")
    with service.store.change() as data:
        agents = [a for a in data["agents"].values() if wanted in {None, a["name"], a["id"]}]
        if wanted is not None and not agents:
            raise ControlError(f"no agent {wanted}")
        for agent in agents:
            agent.update(change)
        return agents


def stop_run(service: Service, body: Record) -> Any:
    """{run, entity?, project?}: the run is told to stop."""
    _run(service, body)["stopped"] = True
    service.store.save()
    return {}


def end_run(service: Service, body: Record) -> Any:
    """{run, exitcode?: 0, entity?, project?}: the run ends, as if it had said so itself."""
    with service.store.change():
        run_mutations.end(service.store, _run(service, body), int(body.get("exitcode", 0)))
    return {}


def _run(service: Service, body: Record) -> Record:
    with service.store.lock:
        for run in service.store.data["runs"].values():
            if all(run[theirs] == body.get(ours, run[theirs]) for ours, theirs in _RUN_KEYS):
                found: Record = run
                return found
    raise ControlError(f"no run {body['run']}")


_RUN_KEYS = (("run", "name"), ("entity", "entity"), ("project", "project"))


def push(service: Service, body: Record) -> Any:
    """{entity, queue, runSpec (object), priority?, project?}: into the queue as it is, unchecked → {item}."""
    with service.store.change():
        queue = service.store.queue(body["entity"], body.get("project") or QUEUE_PROJECT, body["queue"])
        if queue is None:
            raise ControlError(f"no queue {body['entity']}/{body['queue']}")
        return {"item": launch_mutations.add_item(service.store, queue, body["runSpec"], body.get("priority"))["id"]}


def state(service: Service, _: Record) -> Any:
    """{} → everything that is kept, without API keys."""
    with service.store.change():
        service.store.settle_leases(service.lease_s)
    return service.store.dump()


def log(service: Service, body: Record) -> Any:
    """{op?} → {lines: [..]}: the log of this process."""
    return {"lines": service.log.lines(body.get("op"))}


_ACTIONS: dict[str, Callable[[Service, Record], Any]] = {
    "users": add_user, "entities": add_entity, "fail": fail, "outage": outage, "clear": clear, "lease": lease,
    "agents/stop": stop_agents, "agents/forget": forget_agents, "runs/stop": stop_run, "runs/end": end_run,
    "push": push, "state": state, "log": log,
}  # fmt: skip
