"""Module gpuctl_objects: have the Kubernetes objects of a component; the host-side half of the action plugin."""

from __future__ import annotations

import os
from typing import Any

from bootstrap.hostside import gpuctl_applyset as applyset
from bootstrap.hostside.gpuctl_hostio import HostError
from bootstrap.hostside.gpuctl_kube import KubeError, object_id
from bootstrap.hostside.gpuctl_module import HostModule

DOCUMENTATION = r"""
module: gpuctl_objects
short_description: Have the Kubernetes objects of a component
description:
  - Server-side apply as field manager gpuctl, on a control plane, with its own admin.conf. Fields that others hold are
    a failure that names object, field and manager.
  - Objects that the component's receipt has and O(manifests) has not are deleted; nothing else is.
  - Keeps the receipt in a ConfigMap in kube-system, begun before the first change, complete after the last.
options:
  component:
    description: Role that owns the objects.
    type: str
    required: true
  state:
    description: V(absent) deletes the objects of the receipt, and the receipt; V(waited) only waits for O(wait).
    type: str
    choices: [present, absent, waited]
    default: present
  manifests:
    description: Templates of the role; each holds YAML documents. The action plugin renders them.
    type: list
    elements: str
    default: []
  force_conflicts:
    description: Whether fields that others hold are taken from them.
    type: bool
    default: false
  wait:
    description:
      - Objects, as C(apiVersion/kind/namespace/name), to wait for until their pods are ready; a PersistentVolumeClaim,
        until it is bound.
    type: list
    elements: str
    default: []
  wait_timeout:
    description: Seconds to wait for each.
    type: int
    default: 180
  objects:
    description: What the action plugin rendered.
    type: list
    elements: dict
    default: []
  receipt:
    description: What the action plugin knows for the receipt.
    type: dict
    default: {}
author: [gpuctl]
"""

EXAMPLES = r"""
- name: Apply the objects
  gpuctl_objects:
    component: flannel
    manifests: [flannel.yml.j2]
"""

RETURN = r"""
applied: {type: list, elements: str, returned: success, description: "Objects that were changed."}
deleted: {type: list, elements: str, returned: success, description: "Objects that were deleted."}
state: {type: str, returned: success, description: "State of the receipt afterwards: complete or absent."}
"""


def act(module: HostModule) -> dict[str, Any]:
    """Apply, or delete, and report."""
    given = module.params
    api = applyset.connect()
    objects, component = given["objects"], given["component"]
    if module.check_mode:
        return look(api, component, objects, given["state"])
    if given["state"] == "absent":
        deleted = applyset.remove(api, component)
        return {"changed": bool(deleted), "applied": [], "deleted": deleted, "state": "absent"}
    if given["state"] == "waited":
        wait(api, given)
        return {"changed": False, "applied": [], "deleted": [], "state": "waited"}
    new = {**given["receipt"], "component": component, "run": os.environ.get("GPUCTL_RUN", "")}
    receipt = applyset.begin(api, new, objects)
    change = applyset.apply_objects(api, receipt, objects, given["force_conflicts"])
    wait(api, given)
    applyset.complete(api, receipt, objects)
    changed = bool(change.applied or change.deleted)
    return {"changed": changed, "applied": change.applied, "deleted": change.deleted, "state": "complete"}


def wait(api: Any, given: dict[str, Any]) -> None:
    """Wait for each rollout that was named."""
    for identity in given["wait"]:
        applyset.wait_rollout(api, identity, given["wait_timeout"])


def look(api: Any, component: str, objects: list[dict[str, Any]], state: str) -> dict[str, Any]:
    """What would be applied because it is not there, and what would be deleted."""
    known = set((applyset.read(api, component) or {}).get("objects") or {})
    wanted = {object_id(item) for item in objects} if state == "present" else set()
    missing = sorted(key for key in wanted if applyset.get_or_none(api, key) is None)
    gone = sorted(known - wanted)
    return {"changed": bool(missing or gone), "applied": missing, "deleted": gone}


def main(module: HostModule) -> dict[str, Any]:
    """Apply, delete or wait."""
    try:
        return act(module)
    except KubeError as error:
        code = "api-unreachable" if error.status == 0 else "object-refused"
        raise HostError(code, str(error), "see the message of the API server") from error
