"""What kubeadm has made of this host so far: nothing, half a node, a whole one, or somebody else's.

Only half a node that this host's receipt says we began, and that no other node knows, may be cleaned away.
Standard library only, Python 3.8 and later: this code runs on the hosts.
"""

from __future__ import annotations

import json
import os
import time
from typing import Any, Dict, List, Optional, Tuple

from .gpuctl_base import listdir
from .gpuctl_hostio import HostError, read_text, run, write_atomic
from .gpuctl_kube import ADMIN_CONF, Api, KubeError
from .gpuctl_receipts import read as read_receipt
from .gpuctl_unitrun import unit_state

STATE = "/var/lib/gpuctl/kubeadm.json"
KUBELET_CONF = "/etc/kubernetes/kubelet.conf"
MANIFESTS = "/etc/kubernetes/manifests"
UNITS = {"init": "gpuctl-kubeadm-init", "control-plane": "gpuctl-kubeadm-join", "worker": "gpuctl-kubeadm-join"}
_TRACES = (
    ADMIN_CONF,
    KUBELET_CONF,
    "/etc/kubernetes/bootstrap-kubelet.conf",
    "/etc/kubernetes/pki/ca.crt",
    MANIFESTS + "/etcd.yaml",
    MANIFESTS + "/kube-apiserver.yaml",
    "/var/lib/kubelet/config.yaml",
    "/var/lib/etcd/member",
)
_API_WAIT_S = 10  # a control plane that just booted answers within this, or is not one we may wait for
_POLL_S = 0.5


def load_state(path: str = STATE) -> Dict[str, Any]:
    """What we know to be true of this host's node: `whole` (made to the end), digests of what was applied to it."""
    try:
        found = json.loads(read_text(path) or "{}")
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def save_state(path: str = STATE, **more: Any) -> Dict[str, Any]:
    """Add to what we know; returns all of it."""
    known = {**load_state(path), **more}
    write_atomic(path, (json.dumps(known, sort_keys=True) + "\n").encode(), 0o600)
    return known


def traces() -> List[str]:
    """Files that a cluster leaves on a host, as far as they are here."""
    return [path for path in _TRACES if os.path.exists(path)]


def inspect(role: str) -> Dict[str, Any]:
    """How far this host is: {"state": none|running|half|whole, "traces": [...]}.

    role: init, control-plane or worker. Raises HostError [leftover-cluster] for what is neither ours nor alive.
    """
    found = traces()
    if unit_state(UNITS[role]).running:
        return {"state": "running", "traces": found}
    if not found:
        return {"state": "none", "traces": []}
    receipt = (read_receipt("kubeadm") or {}).get("state")
    if load_state().get("whole") or receipt == "complete":
        return {"state": "whole", "traces": found}
    whole = _whole_worker(receipt) if role == "worker" else _whole_control_plane(role, receipt)
    if whole:
        save_state(whole=True)
        return {"state": "whole", "traces": found}
    if receipt != "begun":
        raise leftover(f"it holds parts of a cluster that gpuctl did not make and that does not work: {found[0]}")
    return {"state": "half", "traces": found}


def leftover(message: str) -> HostError:
    """The refusal to touch what may be somebody's cluster."""
    return HostError("leftover-cluster", message, "if nobody needs it: `gpuctl reset --limit HOST`, then run again")


def _whole_worker(receipt: Optional[str]) -> bool:
    """A worker is one as soon as the kubelet has its own credentials; before that the API does not know it."""
    return os.path.exists(KUBELET_CONF) if receipt == "begun" else os.path.exists(KUBELET_CONF) and bool(_kubelet_up())


def _kubelet_up() -> bool:
    return run(["systemctl", "is-active", "--quiet", "kubelet.service"], 15).rc == 0


def _whole_control_plane(role: str, receipt: Optional[str]) -> bool:
    """Whether the API answers and init's last phase is done. Raises HostError when others joined half an init."""
    if not os.path.exists(ADMIN_CONF):
        return False
    answer = _ask_api()
    if answer is None:
        return False
    others, finished = answer
    if role == "control-plane":
        return finished and receipt != "begun"
    if finished:
        return True
    if others:
        raise leftover(f"kubeadm init was begun here and did not end, but other nodes joined: {', '.join(others)}")
    return receipt != "begun"


def _ask_api() -> Optional[Tuple[List[str], bool]]:
    """(other nodes, whether init's last phase left kube-proxy); None when the API does not answer."""
    end = time.monotonic() + _API_WAIT_S
    while True:
        try:
            api = Api.from_admin_conf(timeout_s=5)
            nodes = [node["metadata"]["name"] for node in api.get("/api/v1/nodes").get("items") or ()]
            return sorted(set(nodes) - {node_name()}), _has_kube_proxy(api)
        except (OSError, ValueError, KubeError):
            if time.monotonic() >= end or not os.path.exists(MANIFESTS + "/kube-apiserver.yaml"):
                return None
        time.sleep(_POLL_S)


def _has_kube_proxy(api: Api) -> bool:
    try:
        api.get("/apis/apps/v1/namespaces/kube-system/daemonsets/kube-proxy")
    except KubeError as error:
        if error.status == 404:
            return False
        raise
    return True


def node_name() -> str:
    """The name under which kubeadm registers this host."""
    return os.uname().nodename.strip().lower()


def manifests_there() -> List[str]:
    """Static pods of a control plane that are in place."""
    return [name for name in listdir(MANIFESTS) if name.endswith(".yaml")]
