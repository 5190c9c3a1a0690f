"""Before a Launch agent is installed: whether its server knows the key, the entity and the queues."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from bootstrap.errors import GpuctlError, Problem
from bootstrap.exit_codes import ExitCode
from bootstrap.hostside.gpuctl_hostio import HostError
from bootstrap.hostside.gpuctl_wandb import Server, check_server
from bootstrap.inventory.launch_values import secrets_of
from bootstrap.plan.model import Step

_AGENT = frozenset({"launch_agent", "launch_agent_host"})


def check_launch_server(steps: Iterable[Step], arguments: Mapping[str, Any]) -> None:
    """Ask the W&B server from here, if a step of the agent is planned; `arguments` are those of any host.

    A server that this machine cannot reach proves nothing: the host on which the agent is to run asks again.

    Raises:
        GpuctlError: the server refuses the key, or lacks the entity or a queue (exit 4); nothing was changed.
    """
    key = str(arguments.get("launch_agent_api_key") or "")
    if not key or not any(step.component in _AGENT for step in steps):
        return
    server = Server(str(arguments["launch_agent_base_url"]), key, str(arguments["cluster_ca_certificate"]))
    try:
        check_server(server, str(arguments["launch_agent_entity"]), list(arguments["launch_agent_queues"]))
    except HostError as error:
        if error.code != "launch-server-unreachable":
            raise GpuctlError(ExitCode.PREFLIGHT, Problem(error.code, error.message, error.fix)) from error


def launch_secrets(arguments: Mapping[str, Any]) -> tuple[str, ...]:
    """What of the agent's arguments must be shown nowhere."""
    secrets = (
        str(arguments.get("launch_agent_api_key") or ""),
        *secrets_of(arguments.get("launch_agent_values") or {}),
    )
    return tuple(filter(None, secrets))
