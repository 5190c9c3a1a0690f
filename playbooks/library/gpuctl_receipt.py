"""Module gpuctl_receipt: mark a component as begun, complete it with the evidence as it stands, or forget it."""

from __future__ import annotations

import os
from typing import Any

from bootstrap.hostside import gpuctl_evidence as evidence
from bootstrap.hostside import gpuctl_receipts as receipts
from bootstrap.hostside.gpuctl_facts_cluster import CA, public_key_hash
from bootstrap.hostside.gpuctl_facts_gpu import pci_gpus
from bootstrap.hostside.gpuctl_hostio import HostError, read_text
from bootstrap.hostside.gpuctl_module import HostModule

DOCUMENTATION = r"""
module: gpuctl_receipt
short_description: Write the receipt of a component on a host
description:
  - The first task of a role marks the receipt as begun, the last one completes it with the evidence as it stands.
  - A receipt that is begun and not complete is never taken for an installed component.
options:
  component:
    description: Role that the receipt is about.
    type: str
    required: true
  state:
    description: V(absent) forgets the component, and what was there before it.
    type: str
    choices: [begun, complete, absent]
    required: true
  evidence_spec:
    description: What the role leaves on the host; the action plugin takes it from the role's meta/gpuctl.yml.
    type: dict
    default: {}
  revision:
    description: Revision of the role, as its meta/gpuctl.yml has it; filled in by the action plugin.
    type: int
    default: 1
  arguments:
    description: Digest of each argument; filled in by the action plugin.
    type: dict
    default: {}
"""

EXAMPLES = r"""
- name: Begin the receipt
  gpuctl_receipt:
    component: containerd
    state: begun
"""

RETURN = r"""
state:
  description: State of the receipt afterwards.
  type: str
  returned: success
"""


def complete(module: HostModule) -> None:
    """Take the evidence and write it down, with versions, GPUs and the cluster that the host belongs to."""
    wanted = module.params
    spec = wanted["evidence_spec"]
    found = evidence.take(spec)
    versions = {name: found["package:" + name] for name in spec.get("packages") or ()}
    pem = read_text(CA)
    receipts.complete(
        wanted["component"],
        found,
        evidence_spec=spec,
        versions={name: version for name, version in versions.items() if version != evidence.ABSENT},
        gpus=[gpu["address"] for gpu in pci_gpus()["gpus"]],
        cluster_id=public_key_hash(pem) if pem else None,
    )


def main(module: HostModule) -> dict[str, Any]:
    """Begin, complete or forget."""
    component, state = module.params["component"], module.params["state"]
    # Bookkeeping is no change of the host: a role that found everything as wanted reports none.
    changed = False
    try:
        if state == "absent":
            changed = bool(receipts.read(component))
            if not module.check_mode:
                receipts.remove(component)
        elif not module.check_mode:
            told = {name: module.params[name] for name in ("evidence_spec", "revision", "arguments")}
            begun = state == "begun"
            receipts.begin_role(component, told, os.environ.get("GPUCTL_RUN", "")) if begun else complete(module)
    except (OSError, LookupError) as error:
        message = f"cannot write the receipt of {component}: {error}"
        raise HostError("receipt-failed", message, "check the disk") from error
    return {"changed": changed, "state": state}
