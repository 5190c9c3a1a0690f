"""Module gpuctl_join_material: what hosts need to join, made on a control plane and valid for minutes."""

from __future__ import annotations

import re
from typing import Any

from bootstrap.hostside.gpuctl_hostio import HostError, run
from bootstrap.hostside.gpuctl_module import HostModule
from bootstrap.hostside.gpuctl_unitrun import redact

DOCUMENTATION = r"""
module: gpuctl_join_material
short_description: Make a short-lived bootstrap token, and a certificate key when control planes join
description:
  - The task that calls this must have C(no_log), and hand the result to files with mode 0600 only.
options:
  ttl_minutes:
    description: How long the token lives.
    type: int
    default: 30
  control_planes:
    description: Whether control planes will join, which need the cluster's certificates.
    type: bool
    default: false
author: [gpuctl]
"""

EXAMPLES = r"""
- name: Make what hosts need to join
  gpuctl_join_material:
  no_log: true
  register: __join
"""

RETURN = r"""
material:
  description: C(token), C(ca_hashes) and C(certificate_key) (empty unless control planes join).
  type: dict
  returned: success
"""

_JOIN = re.compile(r"--token (\S+)")
_HASH = re.compile(r"--discovery-token-ca-cert-hash (sha256:[0-9a-f]{64})")
_KEY = re.compile(r"^[0-9a-f]{64}$", re.MULTILINE)


def kubeadm(*arguments: str) -> str:
    """What kubeadm prints. Raises HostError."""
    ran = run(["kubeadm", *arguments], 90)
    if ran.rc != 0:
        said = redact(ran.tail(1))
        raise HostError("join-material", f"kubeadm {arguments[0]} {arguments[1]}: {said}", "check the control plane")
    return str(ran.out)


def material(ttl_minutes: int, control_planes: bool) -> dict[str, Any]:
    """A fresh token, the CA's hashes and, if asked for, the key of freshly uploaded certificates. Raises HostError."""
    printed = kubeadm("token", "create", f"--ttl={ttl_minutes}m", "--print-join-command")
    token, hashes = _JOIN.search(printed), _HASH.findall(printed)
    if token is None or not hashes:
        raise HostError("join-material", "kubeadm printed no token", "check the control plane")
    key = ""
    if control_planes:
        found = _KEY.search(kubeadm("init", "phase", "upload-certs", "--upload-certs"))
        if found is None:
            raise HostError("join-material", "kubeadm printed no certificate key", "check the control plane")
        key = found.group(0)
    return {"token": token.group(1), "ca_hashes": hashes, "certificate_key": key}


def main(module: HostModule) -> dict[str, Any]:
    """Make the material; in check mode there is none."""
    given = module.params
    made = {} if module.check_mode else material(given["ttl_minutes"], given["control_planes"])
    return {"changed": True, "material": made}
