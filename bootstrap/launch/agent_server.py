"""What the W&B server knows of the agents that poll the queues."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from bootstrap.errors import GpuctlError, Problem
from bootstrap.exit_codes import ExitCode
from bootstrap.hostside.gpuctl_hostio import HostError
from bootstrap.hostside.gpuctl_wandb import PROJECT, Server, check_server
from bootstrap.inventory.secret import Secret
from bootstrap.launch.agent_model import HOST_MODE, UNIT, Fact, Seen, State, Target

# The agent reports every 20 s; a heartbeat that is older than this is that of an agent that is gone.
FRESH_S = 90.0
_GONE = frozenset({"KILLED", "STOPPED"})
AGENTS_QUERY = (
    "query LaunchAgents($entity: String!, $projectName: String!) "
    "{ project(entityName: $entity, name: $projectName) { runQueues { id name } "
    "launchAgents { id name runQueues hostname agentStatus heartbeatAt } } }"
)


@dataclass(frozen=True, slots=True)
class KnownAgent:
    """One agent as the server has it. `age_s`: seconds since it was last heard of, None when it never was."""

    name: str
    host: str
    status: str
    age_s: float | None
    queues: tuple[str, ...]

    @property
    def fresh(self) -> bool:
        """Whether it polls."""
        return self.status not in _GONE and self.age_s is not None and self.age_s <= FRESH_S


def server_seen(target: Target, ask: Callable[[], Sequence[KnownAgent]] | None) -> Seen:
    """Ask the server; one that cannot be asked is a fact like others. `ask` is None where there is no key."""
    if ask is None:
        return Seen((Fact(target.base_url, State.UNKNOWN, "not asked: there is no API key here"),))
    try:
        agents = ask()
    except GpuctlError as error:
        problem = error.problems[0]
        return Seen((Fact(target.base_url, State.UNKNOWN, problem.message),), error.problems)
    return judge_agents(target, agents)


def judge_agents(target: Target, agents: Sequence[KnownAgent]) -> Seen:
    """One fact for each agent that polls one of the queues, and one problem for each queue that none polls."""
    seen = Seen()
    for agent in agents:
        if agent.fresh and set(agent.queues) & set(target.queues):
            told = f"agent {agent.name} on {agent.host}: {agent.status}, heard of {agent.age_s or 0:.0f} s ago"
            seen += Seen((Fact(target.base_url, State.OK, f"{told}; polls {', '.join(agent.queues)}"),))
    for queue in target.queues:
        if not any(agent.fresh and queue in agent.queues for agent in agents):
            seen += _unseen(target, queue, agents)
    return seen


def _unseen(target: Target, queue: str, agents: Sequence[KnownAgent]) -> Seen:
    gone = [agent for agent in agents if queue in agent.queues and agent.age_s is not None]
    last = min(gone, key=lambda agent: agent.age_s or 0.0, default=None)
    words = f"no agent polls queue {target.entity}/{queue}"
    if last is not None:
        words += f": the last, {last.name} on {last.host}, is {last.status} and was heard of {last.age_s:.0f} s ago"
    where = (
        f"`journalctl --unit {UNIT}` on its host"
        if target.mode == HOST_MODE
        else f"`kubectl --namespace {target.namespace} logs deployment/{target.deployment}`"
    )
    problem = Problem("launch-agent-unseen", words, f"look at {where}: key, entity, queue, or the way to the server")
    return Seen((Fact(target.base_url, State.BAD, words),), (problem,))


def asker(target: Target, api_key: Secret, ca_text: str) -> Callable[[], Sequence[KnownAgent]]:
    """The call that asks the server whether it knows key, entity and queues, and then for the agents.

    It raises GpuctlError (exit 6) with the server's answer.
    """
    server = Server(target.base_url, str(api_key), ca_text)

    def ask() -> Sequence[KnownAgent]:
        variables = {"entity": target.entity, "projectName": PROJECT}
        try:
            check_server(server, target.entity, list(target.queues))
            project = server.ask(AGENTS_QUERY, variables).get("project") or {}
        except HostError as error:
            raise GpuctlError(ExitCode.NOT_READY, Problem(error.code, error.message, error.fix)) from error
        return known_agents(project, datetime.now(UTC))

    return ask


def known_agents(project: dict[str, Any], now: datetime) -> tuple[KnownAgent, ...]:
    """The agents of a project as the server tells them; times without a zone are UTC."""
    names = {str(queue.get("id")): str(queue.get("name")) for queue in project.get("runQueues") or []}
    found = []
    for agent in project.get("launchAgents") or []:
        queues = [queue.get("id") if isinstance(queue, dict) else queue for queue in agent.get("runQueues") or []]
        found.append(
            KnownAgent(
                name=str(agent.get("name") or agent.get("id")),
                host=str(agent.get("hostname") or "?"),
                status=str(agent.get("agentStatus") or "?"),
                age_s=_age(agent.get("heartbeatAt"), now),
                queues=tuple(names.get(str(queue), str(queue)) for queue in queues),
            )
        )
    return tuple(found)


def _age(heartbeat: Any, now: datetime) -> float | None:
    try:
        at = datetime.fromisoformat(str(heartbeat))
    except ValueError:  # never heard of
        return None
    return max(0.0, (now - (at if at.tzinfo else at.replace(tzinfo=UTC))).total_seconds())
