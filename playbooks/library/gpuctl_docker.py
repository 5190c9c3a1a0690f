"""Module gpuctl_docker: have Docker's daemon configured, among keys of others, and running by its configuration."""

from __future__ import annotations

from typing import Any

from bootstrap.hostside import gpuctl_docker as docker
from bootstrap.hostside import gpuctl_dockerlive as live
from bootstrap.hostside import gpuctl_group as group
from bootstrap.hostside.gpuctl_module import HostModule

DOCUMENTATION = r"""
module: gpuctl_docker
short_description: Have Docker's daemon.json hold our keys and the daemon follow it
description:
  - Keys of others in daemon.json stay as they are. A needed key that somebody gave another value is refused.
  - The daemon is told of changes by a reload where Docker knows how to, and restarted only where it does not.
  - What was there before is kept once, key by key, so that O(state=restored) takes out our keys and no others.
options:
  component:
    description: Role that owns the keys.
    type: str
    required: true
  state:
    description:
      - V(checked) refuses an engine that is too old, keys that contradict the file's, and a restart that would end
        running containers. It changes nothing.
      - V(configured) writes the keys. V(restored) takes them out.
      - V(running) has the daemon running, enabled at boot, and following its file.
      - V(followed) does the same without enabling it, and passes over a host without Docker.
      - V(members) has O(users) in the group docker.
    type: str
    choices: [checked, configured, running, followed, members, restored]
    required: true
  keys:
    description: Keys to have, as daemon.json nests them.
    type: dict
    default: {}
  defaults:
    description: Groups of keys to have, each unless somebody said something else about one of its keys.
    type: list
    elements: dict
    default: []
  runtime:
    description: With O(state=restored), running containers of this runtime end first, since nothing can end them later.
    type: str
    default: ""
  users:
    description: Users of the group docker; those that this component added earlier and that are not named leave it.
    type: list
    elements: str
    default: []
  at_least:
    description: Major version that the engine must have.
    type: int
    default: 0
  newer_than:
    description: Files (globs allowed) that the daemon must be younger than, since it looks them up when it starts.
    type: list
    elements: str
    default: []
  packages:
    description:
      - With O(state=checked), packages whose installation takes a restart of the daemon, as far as they are not there.
      - Each has C(name), and perhaps C(version), a glob.
    type: list
    elements: dict
    default: []
  end_containers:
    description: With O(state=checked), whether running containers may end with a restart of the daemon.
    type: bool
    default: false
"""

EXAMPLES = r"""
- name: Write Docker's configuration
  gpuctl_docker:
    component: docker
    state: configured
    keys: {default-runtime: nvidia}
"""

RETURN = r"""
actions:
  description: Keys that changed and what was done to the daemon (or, in check mode, would be).
  type: list
  elements: str
  returned: success
version:
  description: Version of the engine; empty when there is none.
  type: str
  returned: success
"""


def main(module: HostModule) -> dict[str, Any]:
    """Check, configure, run, or take out."""
    given, check, version = module.params, module.check_mode, ""
    component, state = given["component"], given["state"]
    actions: list[str] = []
    if state == "checked":
        version = docker.refuse_old(given["at_least"]) or ""
        plan = docker.plan(component, given["keys"], given["defaults"])
        if not given["end_containers"]:
            live.refuse_end(plan, given["newer_than"], given["packages"])
        group.refuse_unknown(given["users"])
    elif state == "configured":
        actions = docker.names(docker.configure(component, given["keys"], given["defaults"], check))
    elif state == "restored":
        actions = docker.stop_containers(given["runtime"], check) if given["runtime"] else []
        actions += docker.names(docker.take_out(component, check))
    elif state == "members":
        actions = group.have(component, "docker", given["users"], check)
    elif state == "running" or docker.engine_version():
        version = docker.refuse_old(given["at_least"]) or ""
        actions = docker.follow(given["newer_than"], check, enabled=state == "running")
    return {"changed": bool(actions), "actions": actions, "version": version}
