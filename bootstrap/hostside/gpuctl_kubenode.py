"""The host's own Node object: registered again when somebody deleted it.

Standard library only, Python 3.8 and later: this code runs on the hosts.
"""

from __future__ import annotations

import re
import time
from typing import Any, Dict, List, Optional

from .gpuctl_hostio import HostError, read_text
from .gpuctl_kube import MERGE, Api, KubeError
from .gpuctl_kubeadmstate import load_state, node_name, save_state
from .gpuctl_systemd import control

# Where kubeadm writes the container runtime's socket: newer releases the first, older ones the second.
INSTANCE_CONFIG = "/var/lib/kubelet/instance-config.yaml"
KUBELET_FLAGS = "/var/lib/kubelet/kubeadm-flags.env"
# What `kubeadm init` and `join` put on the object beside the taint, and a kubelet may not give itself.
_CONTROL_PLANE_LABELS = {
    "node-role.kubernetes.io/control-plane": "",
    "node.kubernetes.io/exclude-from-external-load-balancers": "",
}
_SOCKET_ANNOTATION = "kubeadm.alpha.kubernetes.io/cri-socket"
_REGISTER_S = 60  # a kubelet registers within seconds of its start
_POLL_S = 0.5


def register_again(conf: str, control_plane: bool) -> List[str]:
    """Have the node in the cluster; returns what was done. `conf`: the kubeconfig to ask with.

    A kubelet registers only when it starts. Its credentials outlive its node, so nothing has to join again.
    Raises HostError [node-not-ready] when the node does not appear, KubeError when the API refuses.
    """
    api, path = Api.from_admin_conf(conf), f"/api/v1/nodes/{node_name()}"
    if _found(api, path) is not None and not load_state().get("unregistered"):
        return []
    save_state(unregistered=True)  # a run killed before the end leaves a node that is there, but bare
    control("restart", ["kubelet.service"])
    _wait_registered(api, path)
    change: Dict[str, Any] = {}
    if control_plane:
        change["labels"] = _CONTROL_PLANE_LABELS
    socket = _runtime_socket()
    if socket:
        change["annotations"] = {_SOCKET_ANNOTATION: socket}
    if change:
        api.request("PATCH", path, {"metadata": change}, MERGE)
    save_state(unregistered=False)
    return ["registered the node again"]


def _found(api: Api, path: str) -> Optional[Dict[str, Any]]:
    try:
        node: Dict[str, Any] = api.get(path)
    except KubeError as error:
        if error.status == 404:
            return None
        raise
    return node


def _wait_registered(api: Api, path: str) -> None:
    end, said = time.monotonic() + _REGISTER_S, "it is not there"
    while time.monotonic() < end:
        try:
            if _found(api, path) is not None:
                return
        except KubeError as error:
            said = str(error)
        time.sleep(_POLL_S)
    raise HostError(
        "node-not-ready",
        f"node {node_name()} was deleted, and the kubelet did not register it again within {_REGISTER_S} s: {said}",
        "see `journalctl -u kubelet` on the host",
    )


def _runtime_socket() -> str:
    """The container runtime's socket, as kubeadm wrote it down; empty when it did not."""
    text = read_text(INSTANCE_CONFIG) + "\n" + read_text(KUBELET_FLAGS)
    found = re.search(r"(?:containerRuntimeEndpoint: |--container-runtime-endpoint=)\"?([^\s\"]+)", text)
    return found.group(1) if found else ""
