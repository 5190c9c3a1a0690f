"""Module gpuctl_nfs_volumes: before volumes and claims are applied, see to what a plain apply cannot do."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from bootstrap.hostside import gpuctl_applyset as applyset
from bootstrap.hostside.gpuctl_hostio import HostError
from bootstrap.hostside.gpuctl_kube import MANAGER, MERGE, Api, KubeError
from bootstrap.hostside.gpuctl_module import HostModule
from bootstrap.hostside.gpuctl_namespaces import with_level

DOCUMENTATION = r"""
module: gpuctl_nfs_volumes
short_description: Make the way free for volumes that M(gpuctl_objects) applies
description:
  - Makes namespaces that are not there. They are not among the component's objects, and so never deleted with it.
  - Says which volume or claim cannot become what is wanted, since Kubernetes lets source and size not be changed.
  - Frees a volume whose claim was deleted by somebody, so that the new claim of that name can bind to it again.
options:
  component:
    description: Role that owns the volumes.
    type: str
    required: true
  levels:
    description: Pod Security levels, by the names of namespaces, that those enforce that are made here.
    type: dict
    default: {}
  volumes:
    description: Each has C(name) and C(namespace) of the claim, C(volume), C(capacity), C(server) and C(path).
    type: list
    elements: dict
    required: true
"""

EXAMPLES = r"""
- name: Make the way free
  gpuctl_nfs_volumes:
    component: nfs_volumes
    volumes:
      - {name: data, namespace: default, volume: data.default, capacity: 1Gi, server: 10.0.0.1, path: /srv/data}
"""

RETURN = r"""
actions:
  description: What was done (or, in check mode, would be).
  type: list
  elements: str
  returned: success
"""

_AGAIN = "delete claim and volume (`kubectl delete pvc`, `kubectl delete pv`) when no pod uses them; the data stays"


def prepare(
    api: Api, volumes: list[dict[str, Any]], check_mode: bool, levels: Mapping[str, str] | None = None
) -> list[str]:
    """Refuse what cannot be, then make namespaces and free volumes. Raises HostError (nfs-volume-*)."""
    claims = {
        v["volume"]: applyset.get_or_none(api, f"v1/PersistentVolumeClaim/{v['namespace']}/{v['name']}")
        for v in volumes
    }
    found = {v["volume"]: applyset.get_or_none(api, f"v1/PersistentVolume//{v['volume']}") for v in volumes}
    for volume in volumes:
        _see(volume, found[volume["volume"]], claims[volume["volume"]])
    actions = []
    for name in sorted({v["namespace"] for v in volumes}):
        if applyset.get_or_none(api, f"v1/Namespace//{name}") is None:
            actions.append(f"make namespace {name}")
            if not check_mode:
                _make_namespace(api, name, (levels or {}).get(name, ""))
    for name, there in found.items():
        if there is not None and _orphaned(there, claims[name]):
            actions.append(f"free volume {name} from a claim that was deleted")
            if not check_mode:
                _free(api, name)
    return actions


def _see(wanted: dict[str, Any], volume: dict[str, Any] | None, claim: dict[str, Any] | None) -> None:
    where = f"claim {wanted['namespace']}/{wanted['name']}"
    for what, there in ((f"volume {wanted['volume']}", volume), (where, claim)):
        if there is not None and there["metadata"].get("deletionTimestamp"):
            raise HostError(
                "nfs-volume-leaving",
                f"{what} is being deleted, and something still uses it",
                "end the pods that use it",
            )
    source = (volume or {}).get("spec", {}).get("nfs") or {}
    now = (str(source.get("server")), str(source.get("path")))
    if volume is not None and now != (wanted["server"], wanted["path"]):
        message = f"volume {wanted['volume']} is {':'.join(now)}, not {wanted['server']}:{wanted['path']}"
        raise HostError("nfs-volume-fixed", message, _AGAIN)
    spec = (claim or {}).get("spec", {})
    if claim is not None and spec.get("volumeName") not in (None, "", wanted["volume"]):
        raise HostError("nfs-volume-fixed", f"{where} is bound to volume {spec['volumeName']}", _AGAIN)
    size = str((spec.get("resources") or {}).get("requests", {}).get("storage"))
    if claim is not None and quantity(size) != quantity(wanted["capacity"]):
        raise HostError("nfs-volume-fixed", f"{where} asks for {size}, not {wanted['capacity']}", _AGAIN)


def quantity(text: str) -> int:
    """Bytes of a size as Kubernetes writes it (100Gi, 2T); -1 for what is none. The API respells 1024Mi as 1Gi."""
    found = re.fullmatch(r"(\d+)(?:([kKMGTP])(i?))?", text)
    if found is None:
        return -1
    power = " KMGTP".index(found[2].upper()) if found[2] else 0
    unit: int = (1024 if found[3] else 1000) ** power
    return int(found[1]) * unit


def _orphaned(volume: dict[str, Any], claim: dict[str, Any] | None) -> bool:
    """Whether the volume still waits for a claim that is no more."""
    uid = (volume["spec"].get("claimRef") or {}).get("uid")
    return bool(uid) and (claim is None or claim["metadata"].get("uid") != uid)


def _make_namespace(api: Api, name: str, level: str) -> None:
    """One with a level is for all that brings jobs: labelled as managed by us, it may get another level later."""
    body: dict[str, Any] = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
    if level:
        body["metadata"]["labels"] = {"app.kubernetes.io/managed-by": MANAGER}
        applyset.patiently(lambda: api.apply(with_level(body, level)))
        return
    try:
        applyset.patiently(lambda: api.request("POST", "/api/v1/namespaces", body))
    except KubeError as error:
        if error.status != 409:  # somebody else made it just now
            raise


def _free(api: Api, name: str) -> None:
    path = api.path_of("v1", "PersistentVolume", "", name)
    body = {"spec": {"claimRef": {"uid": None, "resourceVersion": None}}}
    applyset.patiently(lambda: api.request("PATCH", path, body, MERGE))


def main(module: HostModule) -> dict[str, Any]:
    """Prepare the cluster for the volumes."""
    try:
        given = module.params
        actions = prepare(applyset.connect(), given["volumes"], module.check_mode, given["levels"])
    except KubeError as error:
        code = "api-unreachable" if error.status == 0 else "object-refused"
        raise HostError(code, str(error), "see the message of the API server") from error
    return {"changed": bool(actions), "actions": actions}
