"""Module gpuctl_launch_server: see that this host reaches the W&B server, and that the server has what is asked for."""

from __future__ import annotations

from typing import Any

from bootstrap.hostside.gpuctl_module import HostModule
from bootstrap.hostside.gpuctl_wandb import Server, check_server

DOCUMENTATION = r"""
module: gpuctl_launch_server
short_description: See that a W&B server takes the key and has the entity and its queues
description:
  - Asks the server three questions and changes nothing.
options:
  base_url:
    description: Address of the server.
    type: str
    required: true
  api_key:
    description: The key to ask with.
    type: str
    required: true
    no_log: true
  ca_certificate:
    description: PEM text of the CA that the server's certificate is verified with; empty for the system's own.
    type: str
    default: ""
  entity:
    description: User or team that owns the queues.
    type: str
    required: true
  queues:
    description: Queues that must be there.
    type: list
    elements: str
    required: true
"""

EXAMPLES = r"""
- name: See that the agent will find its queues
  gpuctl_launch_server:
    base_url: https://api.wandb.ai
    api_key: "{{ key }}"
    entity: vision-lab
    queues: [gpus]
  no_log: true
"""

RETURN = r"""
"""


def main(module: HostModule) -> dict[str, Any]:
    """Ask; what is wrong is raised with its code."""
    given = module.params
    server = Server(given["base_url"], given["api_key"], given["ca_certificate"])
    check_server(server, given["entity"], given["queues"])
    return {}
