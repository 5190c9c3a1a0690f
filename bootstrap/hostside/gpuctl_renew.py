"""Pods of a DaemonSet, made anew on certain nodes. Standard library only, Python 3.8 and later: runs on the hosts."""

from __future__ import annotations

import time
from typing import Any, List, Mapping, Sequence
from urllib.parse import quote

from .gpuctl_hostio import HostError
from .gpuctl_kube import Api, KubeError, split_id

_POLL_S = 0.5


def renew_pods(api: Api, identity: str, nodes: Sequence[str], timeout_s: float) -> List[str]:
    """Delete the DaemonSet's pods on these nodes and wait until others run in their places; returns their names.

    `identity` is "apps/v1/DaemonSet/namespace/name". Raises HostError [rollout-timeout], KubeError.
    """
    _, _, namespace, name = split_id(identity)
    old = [pod for pod in _pods(api, namespace, name) if _node(pod) in nodes]
    for pod in old:
        _delete(api, namespace, str(pod["metadata"]["name"]))
    gone = {pod["metadata"].get("uid") for pod in old}
    end = time.monotonic() + timeout_s
    while True:
        fresh = [pod for pod in _pods(api, namespace, name) if pod["metadata"].get("uid") not in gone]
        lacking = sorted(set(nodes) - {_node(pod) for pod in fresh if _ready(pod)})
        if not lacking:
            return sorted(str(pod["metadata"]["name"]) for pod in old)
        if time.monotonic() >= end:
            words = f"{identity}: no new pod is ready on {', '.join(lacking)} after {timeout_s:g} s"
            raise HostError("rollout-timeout", words, "see `kubectl describe`")
        time.sleep(_POLL_S)


def _pods(api: Api, namespace: str, owner: str) -> List[Mapping[str, Any]]:
    found = api.get(f"/api/v1/namespaces/{quote(namespace)}/pods").get("items") or []
    return [pod for pod in found if _owned_by(pod, owner)]


def _owned_by(pod: Mapping[str, Any], owner: str) -> bool:
    owners = pod["metadata"].get("ownerReferences") or []
    return any(one.get("kind") == "DaemonSet" and one.get("name") == owner for one in owners)


def _node(pod: Mapping[str, Any]) -> str:
    return str((pod.get("spec") or {}).get("nodeName") or "")


def _ready(pod: Mapping[str, Any]) -> bool:
    conditions = (pod.get("status") or {}).get("conditions") or []
    return any(one.get("type") == "Ready" and one.get("status") == "True" for one in conditions)


def _delete(api: Api, namespace: str, name: str) -> None:
    try:
        api.request("DELETE", f"/api/v1/namespaces/{quote(namespace)}/pods/{quote(name)}")
    except KubeError as error:
        if error.status != 404:
            raise
