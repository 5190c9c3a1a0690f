"""Why a pod does not start or does not come to its end, in the words of scheduler, kubelet and runtime. Pure."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

_PULLING = frozenset({"ErrImagePull", "ImagePullBackOff", "RegistryUnavailable"})
_NEVER_PULLED = frozenset({"InvalidImageName", "ErrImageNeverPull", "ImageInspectError"})
PULLING_S = 60.0  # the kubelet has tried three times by then
_STARTING_S = 20.0  # a kubelet tries a sandbox or a container again each few seconds
_SCHEDULING_S = 10.0  # the scheduler tries again with each change in the cluster
_IMAGE_FIX = "name an image and a registry that the host can pull from (cluster_python_image), then run again"
_NODE_LOG = "`journalctl -u kubelet -u containerd` on the host says more"
RENEW_PLUGIN = "`kubectl -n kube-system delete pod -l app.kubernetes.io/name=nvidia-device-plugin`: it writes it again"


@dataclass(frozen=True, slots=True)
class Stuck:
    """A reason. After `patience_s` seconds of it the pod is given up: it is known by then."""

    code: str
    words: str
    fix: str
    patience_s: float = math.inf


def why_stuck(pod: Mapping[str, Any], events: Sequence[Mapping[str, Any]]) -> Stuck:
    """Of a pod that has not ended; `events` are those of its namespace, the newest last."""
    status = pod.get("status", {})
    for container in status.get("containerStatuses") or []:
        state = container.get("state", {})
        if waiting := state.get("waiting"):
            found = _waiting(str(waiting.get("reason")), str(waiting.get("message") or waiting.get("reason")))
            if found:
                return found
        if state.get("running"):
            return Stuck("compute-failed", "the computation does not end", "look for Xid errors in `dmesg` on the host")
    for condition in status.get("conditions") or []:
        if condition.get("type") == "PodScheduled" and condition.get("status") == "False":
            words = str(condition.get("message") or condition.get("reason"))
            return Stuck("pod-pending", words, _scheduling_fix(words), _SCHEDULING_S)
    return _by_events(pod["metadata"]["name"], events)


def _waiting(reason: str, words: str) -> Stuck | None:
    if reason in _PULLING or reason in _NEVER_PULLED:
        return Stuck("image-pull-failed", words, _IMAGE_FIX, PULLING_S if reason in _PULLING else 0.0)
    if reason.endswith("Error"):  # CreateContainerError, CreateContainerConfigError, RunContainerError
        return start_failure(words)
    return None


def start_failure(words: str) -> Stuck:
    """Of a container or a sandbox that the runtime could not make: what lacks, by the runtime's words."""
    if found := re.search(r"unresolvable CDI devices (\S+)", words):
        if found[1].startswith("k8s.device-plugin."):
            return Stuck("plugin-cdi-missing", words, RENEW_PLUGIN, _STARTING_S)
        fix = "`systemctl restart nvidia-cdi-refresh.service` on the host"
        return Stuck("cdi-missing", words, fix, _STARTING_S)
    if "conflicting device" in words or ("conflicting" in words and "CDI" in words):
        fix = "delete one of the files: `nvidia-ctk cdi list` on the host names both"
        return Stuck("cdi-conflict", words, fix, _STARTING_S)
    if found := re.search(r'no runtime for "([^"]+)" is configured', words):
        return Stuck("nvidia-runtime-missing", words, "run `gpuctl bootstrap`", _STARTING_S)
    if re.search(r"nvidia-container-runtime\S*\W+(?:executable file not found|no such file)", words):
        fix = "run `gpuctl bootstrap`, or install nvidia-container-toolkit on the host again"
        return Stuck("runtime-binary-missing", words, fix, _STARTING_S)
    if re.search(r"cni|network plugin|subnet\.env", words, re.IGNORECASE):
        fix = "renew the pod network's pod on the node: `kubectl -n kube-flannel delete pod` with its name"
        return Stuck("cni-missing", words, fix, _STARTING_S)
    return Stuck("pod-start-failed", words, _NODE_LOG, _STARTING_S)


def _scheduling_fix(words: str) -> str:
    if "Insufficient" in words:
        return "end pods on the node, or wait for them, then run again"
    if "affinity" in words or "selector" in words:
        return "look at the node: `kubectl get nodes`; was it deleted or renamed in the meantime?"
    return "do what the scheduler says, then run again"


def _by_events(name: str, events: Sequence[Mapping[str, Any]]) -> Stuck:
    mine = [e for e in events if (e.get("involvedObject") or {}).get("name") == name and e.get("type") == "Warning"]
    for event in reversed(mine):
        words = str(event.get("message") or event.get("reason"))
        if event.get("reason") in ("FailedCreatePodSandBox", "Failed"):
            return start_failure(words)
        return Stuck("pod-pending", words, _NODE_LOG, PULLING_S)
    words = "the kubelet does not begin with it, and no event says why"
    return Stuck("pod-pending", words, "`journalctl -u kubelet` on the host; does it run?")
