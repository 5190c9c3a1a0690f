"""Module gpuctl_account: have a system user that belongs to a component, or remove it."""

from __future__ import annotations

from typing import Any

from bootstrap.hostside.gpuctl_account import have, remove
from bootstrap.hostside.gpuctl_hostio import HostError
from bootstrap.hostside.gpuctl_module import HostModule

DOCUMENTATION = r"""
module: gpuctl_account
short_description: Have a system user that belongs to a component
description:
  - The user has no shell and no password. One of that name that was there before is refused, and never removed.
options:
  component:
    description: Role that owns the user.
    type: str
    required: true
  name:
    description: The user; a group of the same name comes and goes with it.
    type: str
    required: true
  home:
    description: Its home, which only it can read. O(state=absent) removes it with all that is in it.
    type: path
    required: true
  state:
    description: V(absent) removes the user where the component made it.
    type: str
    choices: [present, absent]
    default: present
author: [gpuctl]
"""

EXAMPLES = r"""
- name: Have the agent's own user
  gpuctl_account:
    component: launch_agent_host
    name: gpuctl-launch
    home: /var/lib/gpuctl-launch
"""

RETURN = r"""
actions:
  description: What was made or removed (or, in check mode, would be).
  type: list
  elements: str
  returned: success
"""


def main(module: HostModule) -> dict[str, Any]:
    """Make, or remove."""
    given = module.params
    work = have if given["state"] == "present" else remove
    try:
        actions = work(given["component"], given["name"], given["home"], module.check_mode)
    except OSError as error:
        raise HostError("step-failed", f"{given['home']}: {error.strerror}", "check the disk") from error
    return {"changed": bool(actions), "actions": actions}
