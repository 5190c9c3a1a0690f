"""Module gpuctl_launch_unit: see whether the Launch agent's service polls its queues, and why not."""

from __future__ import annotations

from typing import Any

from bootstrap.hostside.gpuctl_hostio import HostError
from bootstrap.hostside.gpuctl_launch import FIXES, Seen, watch
from bootstrap.hostside.gpuctl_module import HostModule

DOCUMENTATION = r"""
module: gpuctl_launch_unit
short_description: See whether the Launch agent's service polls its queues, and why not
description:
  - Reads what the service has said since its last start; changes nothing.
options:
  unit:
    description: The service.
    type: str
    required: true
  fatal:
    description: Findings that fail the task; others are only returned.
    type: list
    elements: str
    default: []
  timeout_s:
    description: Seconds to wait until it has said either.
    type: int
    default: 40
author: [gpuctl]
"""

EXAMPLES = r"""
- name: Assert that the agent polls its queues
  gpuctl_launch_unit:
    unit: gpuctl-launch-agent.service
    fatal: [launch-key-refused, launch-queue-unknown]
"""

RETURN = r"""
finding:
  description: Empty when the agent polls; else V(launch-key-refused), V(launch-queue-unknown),
    V(launch-server-unreachable) or V(launch-agent-down).
  type: str
  returned: success
said:
  description: The line that tells so.
  type: str
  returned: success
"""


def main(module: HostModule) -> dict[str, Any]:
    """Look, until there is something to see."""
    unit = module.params["unit"]
    found = Seen("", "") if module.check_mode else watch(unit, module.params["timeout_s"])
    if found.finding in module.params["fatal"]:
        raise HostError(found.finding, f"{unit}: {found.said}", FIXES[found.finding], found.log)
    return {"changed": False, "finding": found.finding, "said": found.said}
