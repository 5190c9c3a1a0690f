"""What the W&B server knows of key, entity, queues and agents."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from bootstrap.errors import GpuctlError, Problem
from bootstrap.exit_codes import ExitCode
from bootstrap.hostside.gpuctl_hostio import HostError
from bootstrap.hostside.gpuctl_wandb import PROJECT, Server, check_server
from bootstrap.inventory.secret import Secret
from bootstrap.launch.agent_model import HOST_MODE, UNIT, Fact, Seen, State, Target

# The agent's run reports every 30 s; a heartbeat that is older than this is that of an agent that is gone.
FRESH_S = 90.0
_AT_WORK = frozenset({"polling", "running"})
# A list of agents as it would be asked for. W&B's public client does not, so a server may refuse it.
AGENTS_QUERY = (
    "query LaunchAgents($entity: String!, $projectName: String!) "
    "{ project(entityName: $entity, name: $projectName) { runQueues { id name } "
    "launchAgents { id name runQueues hostname agentStatus heartbeatAt } } }"
)
# Every agent keeps a run of its own, of this type and named as itself, in the project of the queues.
_AGENT_RUN = "sweep-controller"
_RUNS = (
    "query Runs($project: String!, $entity: String!, $perPage: Int, $order: String, $filters: JSONString) "
    "{ project(name: $project, entityName: $entity) { runs(filters: $filters, first: $perPage, order: $order) "
    "{ edges { node { name state jobType heartbeatAt } } } } }"
)
_MANY = 200


@dataclass(frozen=True, slots=True)
class KnownAgent:
    """One agent as the server has it.

    `age_s`: seconds since it was last heard of, None when it never was. `host` and `queues` are empty where the server
    does not tell them.
    """

    name: str
    host: str
    status: str
    age_s: float | None
    queues: tuple[str, ...]

    @property
    def fresh(self) -> bool:
        """Whether it is at work."""
        return self.status.lower() in _AT_WORK and self.age_s is not None and self.age_s <= FRESH_S

    def may_poll(self, queue: str) -> bool:
        """Whether it polls the queue, as far as the server tells."""
        return not self.queues or queue in self.queues

    @property
    def label(self) -> str:
        """Its name, with its host where that is known."""
        return f"{self.name}{f' on {self.host}' if self.host else ''}"


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
    """One fact for each agent that is at work; a problem for each queue that none of them can be polling."""
    known = f"{target.base_url}: entity {target.entity}, queues {', '.join(target.queues)}"
    seen = Seen((Fact(known, State.OK),))
    for agent in agents:
        if agent.fresh and any(map(agent.may_poll, target.queues)):
            polls = f"; polls {', '.join(agent.queues)}" if agent.queues else ""
            seen += Seen((Fact(f"agent {agent.label}", State.OK, f"heard of {agent.age_s or 0:.0f} s ago{polls}"),))
    for queue in target.queues:
        if not any(agent.fresh and agent.may_poll(queue) for agent in agents):
            seen += _unseen(target, queue, agents)
    return seen


def _unseen(target: Target, queue: str, agents: Sequence[KnownAgent]) -> Seen:
    gone = [agent for agent in agents if agent.may_poll(queue) and agent.age_s is not None]
    last = min(gone, key=lambda agent: agent.age_s or 0.0, default=None)
    words = f"no agent polls queue {target.entity}/{queue}"
    if last is not None:
        words += f": the last, {last.label}, is {last.status} and was heard of {last.age_s:.0f} s ago"
    where = (
        f"`journalctl --unit {UNIT}` on its host"
        if target.mode == HOST_MODE
        else f"`kubectl --namespace {target.namespace} logs deployment/{target.deployment}`"
    )
    problem = Problem("launch-agent-unseen", words, f"look at {where}: key, entity, queue, or the way to the server")
    return Seen((Fact("agent", State.BAD, words),), (problem,))


def asker(target: Target, api_key: Secret, ca_text: str) -> Callable[[], Sequence[KnownAgent]]:
    """The call that asks the server whether it knows key, entity and queues, and then for the agents.

    It raises GpuctlError (exit 6) with the server's answer.
    """
    server = Server(target.base_url, str(api_key), ca_text)

    def ask() -> Sequence[KnownAgent]:
        try:
            check_server(server, target.entity, list(target.queues))
            return agents_of(server, target.entity)
        except HostError as error:
            raise GpuctlError(ExitCode.NOT_READY, Problem(error.code, error.message, error.fix)) from error

    return ask


def agents_of(server: Server, entity: str) -> tuple[KnownAgent, ...]:
    """The agents of an entity, those that are gone too: from the server's list, else from the runs that they keep.

    Raises:
        HostError: of `Server.ask`.
    """
    now = datetime.now(UTC)
    try:
        return known_agents(
            server.ask(AGENTS_QUERY, {"entity": entity, "projectName": PROJECT}).get("project") or {}, now
        )
    except HostError as error:
        if error.code != "launch-refused":
            raise
    variables = {"entity": entity, "project": PROJECT, "perPage": _MANY, "order": "-created_at", "filters": "{}"}
    project = server.ask(_RUNS, variables).get("project") or {}
    return agents_by_runs([edge.get("node") or {} for edge in (project.get("runs") or {}).get("edges") or []], now)


def known_agents(project: Mapping[str, Any], now: datetime) -> tuple[KnownAgent, ...]:
    """The agents of a project in the server's list; times without a zone are UTC."""
    names = {str(queue.get("id")): str(queue.get("name")) for queue in project.get("runQueues") or []}
    found = []
    for agent in project.get("launchAgents") or []:
        queues = [queue.get("id") if isinstance(queue, dict) else queue for queue in agent.get("runQueues") or []]
        found.append(
            KnownAgent(
                name=str(agent.get("name") or agent.get("id")),
                host=str(agent.get("hostname") or ""),
                status=str(agent.get("agentStatus") or "?"),
                age_s=_age(agent.get("heartbeatAt"), now),
                queues=tuple(names.get(str(queue), str(queue)) for queue in queues),
            )
        )
    return tuple(found)


def agents_by_runs(runs: Sequence[Mapping[str, Any]], now: datetime) -> tuple[KnownAgent, ...]:
    """The agents whose runs these are."""
    return tuple(
        KnownAgent(str(run.get("name")), "", str(run.get("state") or "?"), _age(run.get("heartbeatAt"), now), ())
        for run in runs
        if run.get("jobType") == _AGENT_RUN
    )


def _age(heartbeat: Any, now: datetime) -> float | None:
    try:
        at = datetime.fromisoformat(str(heartbeat))
    except ValueError:  # never heard of
        return None
    return max(0.0, (now - (at if at.tzinfo else at.replace(tzinfo=UTC))).total_seconds())
