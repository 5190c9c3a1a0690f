"""`gpuctl launch agent status` in data: which agent is meant, and what was seen of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from bootstrap.errors import Problem
from bootstrap.exit_codes import ExitCode
from bootstrap.jsonform import plain
from bootstrap.launch.rights import KINDS, Right

HOST_MODE = "host"
CLUSTER_MODE = "cluster"
TOKEN_SECRET = "launch-agent-token"  # noqa: S105 - the name of an object, of older releases
OLDER = "older"  # beside the role's variables: see Target
UNIT = "gpuctl-launch-agent.service"


class State(StrEnum):
    """How one thing stands."""

    OK = "ok"
    WARNING = "warning"  # it works, and could be safer
    BAD = "bad"
    UNKNOWN = "unknown"  # could not be asked


@dataclass(frozen=True, slots=True)
class Target:
    """The agent that is asked for, by the settings of an inventory or by what the cluster's receipt has of them."""

    mode: str
    release: str
    namespace: str
    target_namespaces: tuple[str, ...]
    base_url: str
    entity: str
    queues: tuple[str, ...]
    beside_agent: bool = False  # jobs run in the agent's own namespace, too
    policy: str = "enforce"
    older: bool = False  # set up by a release that knew no policy

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Target:
        """From the role's variables."""
        return cls(
            mode=str(values["launch_agent_mode"]),
            release=str(values["launch_agent_release"]),
            namespace=str(values["launch_agent_namespace"]),
            target_namespaces=tuple(values["launch_agent_target_namespaces"]),
            base_url=str(values["launch_agent_base_url"]),
            entity=str(values["launch_agent_entity"]),
            queues=tuple(values["launch_agent_queues"]),
            beside_agent=bool(values["launch_agent_jobs_beside_agent"]),
            policy=str(values["launch_agent_policy"]),
            older=bool(values.get(OLDER)),
        )

    @property
    def namespaces(self) -> tuple[str, ...]:
        """Where jobs may run, each once."""
        own = (self.namespace,) if self.beside_agent else ()
        return tuple(dict.fromkeys((*own, *self.target_namespaces)))

    # Names as the role has them.

    @property
    def account(self) -> str:
        """The ServiceAccount."""
        return f"wandb-launch-serviceaccount-{self.release}"

    @property
    def cluster_role(self) -> str:
        """The ClusterRole with the rights."""
        return f"wandb-job-creator-{self.release}"

    @property
    def policy_name(self) -> str:
        """The ValidatingAdmissionPolicy for its jobs, and its binding."""
        return f"wandb-launch-agent-{self.release}"

    @property
    def deployment(self) -> str:
        """The Deployment of mode cluster; also the label `app` of its pods."""
        return f"launch-agent-{self.release}"

    @property
    def key_secret(self) -> str:
        """The Secret with the API key of mode cluster."""
        return f"wandb-api-key-{self.release}"

    @property
    def config_map(self) -> str:
        """The ConfigMap with the agent's configuration of mode cluster."""
        return f"wandb-launch-configmap-{self.release}"


@dataclass(frozen=True, slots=True)
class Fact:
    """One line of the answer."""

    subject: str
    state: State
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Seen:
    """What one place says: facts, and what is wrong with them."""

    facts: tuple[Fact, ...] = ()
    problems: tuple[Problem, ...] = ()

    def __add__(self, other: Seen) -> Seen:
        return Seen(self.facts + other.facts, self.problems + other.problems)


@dataclass(frozen=True, slots=True)
class AgentStatus:
    """All of it. `missing` has an entry for each namespace that was asked about; none where the API did not answer."""

    target: Target
    facts: tuple[Fact, ...]
    missing: Mapping[str, tuple[Right, ...]]
    problems: tuple[Problem, ...] = ()

    @property
    def exit_code(self) -> ExitCode:
        """OK only when nothing is wrong, and everything could be asked that there was to ask."""
        return ExitCode.NOT_READY if self.problems else ExitCode.OK

    def as_dict(self) -> dict[str, Any]:
        """The `data` of the JSON document; `rights`: namespace → kind → missing verbs."""
        rights = {
            namespace: {kind: [right.verb for right in missing if right.kind == kind] for kind in KINDS}
            for namespace, missing in self.missing.items()
        }
        target = plain(self.target) | {"account": self.target.account}
        return {"agent": target, "facts": plain(self.facts), "missing_rights": rights}
