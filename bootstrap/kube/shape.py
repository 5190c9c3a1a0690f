"""What an object of the Kubernetes API looks like, as far as gpuctl reads it: one of another shape is refused whole."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from bootstrap.hostside.gpuctl_strictjson import misshapen

Shape = Any  # see hostside.gpuctl_strictjson.misshapen
GPU_RESOURCE = "nvidia.com/gpu"
_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.:_-]{0,252}[A-Za-z0-9])?")  # RFC 1123's, and that of RBAC
_LONGEST_NUMBER = 18


def _name(value: Any) -> bool:
    """A name that may stand in a path."""
    return isinstance(value, str) and _NAME.fullmatch(value) is not None


def _time(value: Any) -> bool:
    try:
        return isinstance(value, str) and datetime.fromisoformat(value).tzinfo is not None
    except ValueError:
        return False


def _texts(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(item, str) for item in value.values())


def _quantities(value: Any) -> bool:
    """A map of quantities; of GPUs there are whole ones."""
    if not isinstance(value, dict) or not all(isinstance(item, str | int) for item in value.values()):
        return False
    gpus = str(value.get(GPU_RESOURCE, 0))
    return gpus.isascii() and gpus.isdecimal() and len(gpus) <= _LONGEST_NUMBER


def _number(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) < 10**_LONGEST_NUMBER


_METADATA = {
    "name!": _name,
    "namespace": _name,
    "uid": str,
    "labels": _texts,
    "annotations": _texts,
    "creationTimestamp": _time,
    "deletionTimestamp": _time,
    "generation": _number,
    "ownerReferences": [{"kind!": str, "name!": str}],
    "managedFields": [{"manager": str, "time": str, "fieldsV1": {}}],
}
_NAMESPACED = {**_METADATA, "namespace!": _name}
_CONDITION = {"type!": str, "status!": str, "reason": str, "message": str}
_ENDED = {"exitCode!": _number, "reason": str, "message": str, "finishedAt": str}
_CONTAINER = {
    "name!": str,
    "image": str,
    "env": [{"name!": str, "value": str}],
    "resources": {"limits": _quantities, "requests": _quantities},
}
_STATE = {"waiting": {"reason": str, "message": str}, "running": {}, "terminated": _ENDED}
_CONTAINER_STATUS = {"name!": str, "image": str, "restartCount": _number, "state": _STATE}
_ROLLOUT = (
    "replicas", "readyReplicas", "updatedReplicas", "availableReplicas", "observedGeneration", "desiredNumberScheduled",
    "numberReady", "numberAvailable", "updatedNumberScheduled", "active", "succeeded", "failed",
)  # fmt: skip
_COUNTS: Mapping[str, Shape] = dict.fromkeys(_ROLLOUT, _number)
_OBJECT: Mapping[str, Shape] = {"metadata!": _METADATA, "spec": {}, "status": {}}
_WORKLOAD = {
    "spec": {"replicas": _number, "selector": {"matchLabels": _texts}},
    "status": {**_COUNTS, "conditions": [_CONDITION]},
}
_POD_TEMPLATE = {
    "containers": [_CONTAINER],
    "nodeSelector": _texts,
    "tolerations": [{"key": str, "operator": str, "value": str, "effect": str}],
}
_KINDS: Mapping[str, Mapping[str, Shape]] = {
    "pods": {
        "metadata!": _NAMESPACED,
        "spec!": {"nodeName": _name, "containers!": [_CONTAINER]},
        "status": {
            "phase": str,
            "reason": str,
            "message": str,
            "conditions": [_CONDITION],
            "containerStatuses": [_CONTAINER_STATUS],
            "initContainerStatuses": [_CONTAINER_STATUS],
        },
    },
    "nodes": {
        "spec": {"unschedulable": bool, "taints": [{"key!": str, "value": str, "effect!": str}]},
        "status": {
            "conditions": [_CONDITION],
            "allocatable": _quantities,
            "capacity": _quantities,
            "addresses": [{"type!": str, "address!": str}],
            "nodeInfo": {"kubeletVersion": str},
        },
    },
    "namespaces": {"metadata!": {**_METADATA, "creationTimestamp!": _time}},
    "events": {
        "type": str,
        "reason": str,
        "message": str,
        "lastTimestamp": str,
        "eventTime": str,
        "series": {"lastObservedTime": str},
        "involvedObject": {"kind": str, "name": str},
    },
    "configmaps": {"data": _texts},
    "secrets": {"data": _texts},
    "deployments": _WORKLOAD,
    "daemonsets": {**_WORKLOAD, "spec": {**_WORKLOAD["spec"], "template": {"spec": _POD_TEMPLATE}}},
    "jobs": {"metadata!": _NAMESPACED, **_WORKLOAD},
    "certificatesigningrequests": {"status": {"certificate": str, "conditions": [_CONDITION]}},
    "localsubjectaccessreviews": {"status": {"allowed": bool}},
    "subjectaccessreviews": {"status": {"allowed": bool}},
    "selfsubjectaccessreviews": {"status": {"allowed": bool}},
}
# Reviews have no name, and of events nobody reads it.
_NAMELESS = frozenset(kind for kind in _KINDS if kind.endswith("reviews")) | {"events"}
_GROUPS = frozenset({"apps", "batch", "certificates.k8s.io", "authorization.k8s.io"})
_DISCOVERY = {"resources": [{"name!": str, "kind!": str}]}
_VERSION = {"gitVersion": str}
_STATUS = {"metadata": {}, "message": str, "reason": str}


def not_of_its_kind(path: str, answer: dict[str, Any]) -> str:
    """Where the answer to a request of that path is not as it should be, as "items.metadata.name"; empty when it is."""
    if answer.get("kind") == "Status":
        return misshapen(_STATUS, answer)
    return misshapen(_shape(path, answer), answer)


def _shape(path: str, answer: Mapping[str, Any]) -> Shape:
    parts = path.strip("/").split("/")
    rest = parts[2:] if parts[0] == "api" else parts[3:] if parts[0] == "apis" else None
    if rest is None:
        return _VERSION
    if not rest:
        return _DISCOVERY
    if rest[0] == "namespaces" and len(rest) > 2:
        rest = rest[2:]
    # Custom resources have plurals of Kubernetes' own, and other forms under them.
    known = _KINDS.get(rest[0], {}) if parts[0] == "api" or parts[1] in _GROUPS else {}
    shape = {**({} if rest[0] in _NAMELESS else _OBJECT), **known}
    return {"items": [shape]} if len(rest) == 1 and "items" in answer else shape
