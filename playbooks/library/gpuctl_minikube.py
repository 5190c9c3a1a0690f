"""Module gpuctl_minikube: have minikube's program and the bundle for sites without internet access, by their sums."""

from __future__ import annotations

from typing import Any

from bootstrap.hostside import gpuctl_minikube as minikube
from bootstrap.hostside.gpuctl_module import HostModule

DOCUMENTATION = r"""
module: gpuctl_minikube
short_description: Have minikube's program, and a bundle of what it would download
description:
  - Nothing is fetched that is there with the right sum. A file with another sum is not installed.
options:
  component:
    description: Role that owns the program.
    type: str
    required: true
  state:
    description:
      - V(checked) refuses settings that lack a sum, and a program of somebody else's.
      - V(present) has program and bundle.
      - V(tried) starts the program once. V(absent) removes the bundle; M(gpuctl_files) brings the program back.
    type: str
    choices: [checked, present, tried, absent]
    required: true
  version:
    description: Version of the program.
    type: str
    default: ""
  url:
    description: Address of the program; C({version}) and C({arch}) in it are replaced.
    type: str
    default: ""
  sha256:
    description: Sum of the program; without it O(sums) has it.
    type: str
    default: ""
  sums:
    description: Sums of this version's program, by architecture as minikube calls it.
    type: dict
    default: {}
  bundle_url:
    description: Address of the bundle; without one none is kept.
    type: str
    default: ""
  bundle_sha256:
    description: Sum of the bundle.
    type: str
    default: ""
  ca_path:
    description: PEM file on the host to trust besides the system's CAs.
    type: str
    default: ""
  adopt:
    description: Whether a program of somebody else's stays, if it is new enough; else it is refused.
    type: bool
    default: false
"""

EXAMPLES = r"""
- name: Have minikube
  gpuctl_minikube:
    component: minikube
    state: present
    version: 1.38.1
    url: https://mirror.example/minikube-linux-{arch}
    sha256: 099477eaf248bcb5bcea8ce78a2898e93ac01461c35189da1848c3de82ecd22e
"""

RETURN = r"""
actions:
  description: What was done (or, in check mode, would be).
  type: list
  elements: str
  returned: success
version:
  description: What the program calls itself.
  type: str
  returned: O(state=tried)
"""


def main(module: HostModule) -> dict[str, Any]:
    """Check, fetch, try or remove."""
    given, check = module.params, module.check_mode
    state = given["state"]
    actions: list[str] = []
    if state == "absent":
        actions = minikube.drop_bundle(check)
    if state in ("checked", "present"):
        wanted = minikube.sum_for(given["version"], given["sha256"], given["sums"])
        bundle = (given["bundle_url"], given["bundle_sha256"], given["ca_path"])
        checked = minikube.have_bundle(*bundle, check=True)
        program = (given["component"], given["url"], given["version"], wanted, given["ca_path"])
        found = minikube.have_program(*program, adopt=given["adopt"], check=check or state == "checked")
        if state == "present":
            actions = found + (checked if check else minikube.have_bundle(*bundle, check=False))
    version = minikube.version_of_program() if state == "tried" else ""
    return {"changed": bool(actions), "actions": actions, "version": version}
