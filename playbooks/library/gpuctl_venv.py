"""Module gpuctl_venv: have a Python environment of exactly the packages that a locked list names."""

from __future__ import annotations

from typing import Any

from bootstrap.hostside.gpuctl_hostio import HostError
from bootstrap.hostside.gpuctl_module import HostModule
from bootstrap.hostside.gpuctl_venv import have, remove

DOCUMENTATION = r"""
module: gpuctl_venv
short_description: Have a Python environment of exactly the packages that a locked list names
description:
  - The environment is built in a folder of its own, by a systemd unit that outlives the session, and O(path) is a link
    that is switched to it once it is whole. It is built anew when the list or the host's Python changed.
options:
  component:
    description: Role that owns the environment.
    type: str
    required: true
  path:
    description: The link to the environment.
    type: path
    required: true
  requirements:
    description: File on the host with the packages and their hashes, as pip reads it.
    type: path
    default: ""
  wheels_url:
    description: Page with links to the packages' wheels, which alone is asked then; empty, pip is as configured.
    type: str
    default: ""
  ca_path:
    description: PEM file of the authority that the server's certificate is checked by; empty, those of the system.
    type: str
    default: ""
  imports:
    description: Modules that are imported once, so that their bytecode is there for those who may not write it.
    type: list
    elements: str
    default: []
  wait:
    description: Whether to wait for the end; V(false) begins the work and returns.
    type: bool
    default: true
  timeout_s:
    description: Seconds until the installation is ended and the task fails.
    type: int
    default: 900
  need_mib:
    description: Free space in MiB that must be there before anything is installed.
    type: int
    default: 1200
  state:
    description: V(absent) removes the environment.
    type: str
    choices: [present, absent]
    default: present
author: [gpuctl]
"""

EXAMPLES = r"""
- name: Install the agent's Python packages
  gpuctl_venv:
    component: launch_agent_host
    path: /opt/gpuctl/launch-agent
    requirements: /etc/gpuctl/launch-agent/requirements.txt
"""

RETURN = r"""
folder:
  description: Where the link leads, or will.
  type: str
  returned: O(state=present)
"""


def main(module: HostModule) -> dict[str, Any]:
    """Build, begin to build, or remove."""
    given = module.params
    try:
        if given["state"] == "absent":
            return {"changed": bool(remove(given["component"], given["path"], module.check_mode))}
        return have(given, module.check_mode)
    except OSError as error:
        raise HostError("python-packages-failed", f"{given['path']}: {error.strerror}", "check the disk") from error
