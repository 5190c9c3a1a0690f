"""Module gpuctl_join_material: what a host needs to join, made on a control plane, and taken back afterwards."""

from __future__ import annotations

from typing import Any

from bootstrap.hostside import gpuctl_joinmaterial as join
from bootstrap.hostside.gpuctl_module import HostModule

DOCUMENTATION = r"""
module: gpuctl_join_material
short_description: Have a short-lived bootstrap token, and a certificate key for a control plane that joins
description:
  - The hosts of a run share a token while it has minutes left; a new one is made in its place then.
  - The task that calls this must have C(no_log), and hand the result to files with mode 0600 only.
options:
  state:
    description: V(absent) takes back what was handed out, also by a run that was killed.
    type: str
    choices: [present, absent]
    default: present
  control_plane:
    description: Whether the host joins as a control plane, which needs the cluster's certificates.
    type: bool
    default: false
author: [gpuctl]
"""

EXAMPLES = r"""
- name: Have what the host needs to join
  gpuctl_join_material:
  delegate_to: cp1
  no_log: true
  register: __join
"""

RETURN = r"""
material:
  description: C(token), C(ca_hashes) and C(certificate_key) (empty unless a control plane joins).
  type: dict
  returned: O(state=present)
"""


def main(module: HostModule) -> dict[str, Any]:
    """Hand material out, or take it back; in check mode there is none."""
    given = module.params
    if module.check_mode:
        return {"changed": True, "material": {}}
    if given["state"] == "absent":
        return {"changed": join.take_back()}
    return {"changed": True, "material": join.hand_out(given["control_plane"])}
