"""Module gpuctl_objects: have the Kubernetes objects of a component; the host-side half of the action plugin."""

from __future__ import annotations

import os
from typing import Any

from bootstrap.hostside import gpuctl_applyset as applyset
from bootstrap.hostside import gpuctl_serving as serving
from bootstrap.hostside import gpuctl_upstream as upstream
from bootstrap.hostside import gpuctl_webhookcert as webhookcert
from bootstrap.hostside.gpuctl_hostio import HostError
from bootstrap.hostside.gpuctl_kube import KubeError, object_id
from bootstrap.hostside.gpuctl_module import HostModule
from bootstrap.hostside.gpuctl_namespaces import with_level
from bootstrap.hostside.gpuctl_renew import renew_pods

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
    description:
      - V(absent) deletes the objects of the receipt, and the receipt; V(waited) only waits, for O(wait) and until the
        API takes what O(trial) renders; V(tried) makes that, waits for its end, and takes it away again; V(renewed)
        deletes pods of the DaemonSets in O(wait) on O(nodes), and waits until others run there.
    type: str
    choices: [present, absent, waited, tried, renewed]
    default: present
  manifests:
    description: Templates of the role; each holds YAML documents. The action plugin renders them.
    type: list
    elements: str
    default: []
  upstream:
    description:
      - What upstream publishes. C(url) is a folder, C(files) are the sums (sha256) of files below it, by their paths,
        C(overlay) is a template of the role with the kustomization that makes objects of them, C(ca_path) a PEM file
        with an authority that is trusted, too.
    type: dict
    default: {}
  certificate:
    description: C(namespace) and C(name) of the Secret with the certificate of a webhook, and its C(service).
    type: dict
    default: {}
  force_conflicts:
    description: Whether fields that others hold are taken from them.
    type: bool
    default: false
  keep:
    description: Objects, named as in O(wait), that are not deleted though O(manifests) has them no more.
    type: list
    elements: str
    default: []
  pod_security:
    description:
      - Pod Security level that namespaces of O(manifests) and O(upstream) enforce, unless they say one themselves. A
        namespace that is there already gets no such label. The action plugin takes it from the role's meta/gpuctl.yml.
    type: str
    default: ""
  wait:
    description:
      - Objects, as C(apiVersion/kind/namespace/name), to wait for until their pods are ready; a PersistentVolumeClaim,
        until it is bound.
    type: list
    elements: str
    default: []
  there:
    description: Objects, named as in O(wait), to wait for until they are there and have certain values, by pointers.
    type: dict
    default: {}
  trial:
    description: Template of the role with one object of a kind that the component serves.
    type: str
    default: ""
  until:
    description: What the object that was tried has at its end, by pointers.
    type: dict
    default: {}
  wait_timeout:
    description: Seconds to wait for each.
    type: int
    default: 180
  nodes:
    description: Nodes on which V(renewed) makes pods anew.
    type: list
    elements: str
    default: []
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
        return look(api, given)
    if given["state"] == "absent":
        deleted = applyset.remove(api, component)
        return {"changed": bool(deleted), "applied": [], "deleted": deleted, "state": "absent"}
    if given["state"] == "renewed":
        gone = [pod for one in given["wait"] for pod in renew_pods(api, one, given["nodes"], given["wait_timeout"])]
        return {"changed": bool(gone), "applied": [], "deleted": gone, "state": "renewed"}
    if given["state"] in ("waited", "tried"):
        wait(api, given)
        if given["state"] == "tried":
            serving.try_out(api, objects[0], given["until"], given["wait_timeout"])
        return {"changed": False, "applied": [], "deleted": [], "state": given["state"]}
    trial = objects.pop() if given["trial"] else None
    objects = [with_level(item, given["pod_security"]) for item in (*made(api, given), *objects)]
    new = {**given["receipt"], "component": component, "run": os.environ.get("GPUCTL_RUN", "")}
    receipt = applyset.begin(api, new, objects)
    change = applyset.apply_objects(api, receipt, objects, given["force_conflicts"], given["keep"])
    wait(api, {**given, "objects": [trial] if trial else []})
    applyset.complete(api, receipt, objects)
    changed = bool(change.applied or change.deleted)
    return {"changed": changed, "applied": change.applied, "deleted": change.deleted, "state": "complete"}


def made(api: Any, given: dict[str, Any]) -> list[dict[str, Any]]:
    """The objects that are made on the host: a webhook's certificate, and what comes of upstream's files."""
    asked, source = given["certificate"], given["upstream"]
    found = [webhookcert.secret(api, asked["namespace"], asked["name"], asked["service"])] if asked else []
    if source:
        found += upstream.objects(source["url"], source["files"], source["overlay"], source.get("ca_path", ""))
    return found


def wait(api: Any, given: dict[str, Any]) -> None:
    """Wait for each rollout that was named, for what is to be there, and until the object to try is taken."""
    for identity in given["wait"]:
        applyset.wait_rollout(api, identity, given["wait_timeout"])
    for identity, values in given["there"].items():
        serving.wait_there(api, identity, values, given["wait_timeout"])
    for item in given["objects"] if given["trial"] else ():
        serving.wait_admitted(api, item, given["wait_timeout"])


def look(api: Any, given: dict[str, Any]) -> dict[str, Any]:
    """What would be applied because it is not there, and what would be deleted.

    What comes of upstream's files is known only once they are fetched: until then it is what the receipt has.
    """
    known = set((applyset.read(api, given["component"]) or {}).get("objects") or {})
    if given["state"] in ("waited", "tried", "renewed"):
        return {"changed": given["state"] == "renewed", "applied": [], "deleted": []}
    objects = given["objects"][:-1] if given["trial"] else given["objects"]
    wanted = {object_id(item) for item in objects} if given["state"] == "present" else set()
    wanted |= known if given["state"] == "present" and given["upstream"] else set()
    missing = sorted(key for key in wanted if applyset.get_or_none(api, key) is None)
    gone = sorted(known - wanted - set(given["keep"]))
    return {"changed": bool(missing or gone), "applied": missing, "deleted": gone}


def main(module: HostModule) -> dict[str, Any]:
    """Apply, delete or wait."""
    try:
        return act(module)
    except KubeError as error:
        code = "api-unreachable" if error.status == 0 else "object-refused"
        raise HostError(code, str(error), "see the message of the API server") from error
