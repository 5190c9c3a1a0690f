"""Pods that ask for no GPU and try to see one, beside a pod that asks for two."""

from __future__ import annotations

import json
from typing import Any

from tests.e2e.tool import Lab, wait_for

IMAGE = "docker.io/library/python:3.11-slim-bookworm"
_COUNT = "import glob; print('sees', len(glob.glob('/dev/nvidia[0-9]*')))"
_NVIDIA: dict[str, Any] = {"runtimeClassName": "nvidia"}


def pod(name: str, env: dict[str, str] | None = None, *, notes: dict[str, str] | None = None, **spec: Any) -> Any:
    """A pod that says how many GPUs it sees; `gpus` and `mounts` go to its container."""
    gpus, mounts = spec.pop("gpus", 0), spec.pop("mounts", [])
    container = {
        "name": "main",
        "image": IMAGE,
        "command": ["python3", "-c", _COUNT],
        "env": [{"name": key, "value": value} for key, value in (env or {}).items()],
        "volumeMounts": mounts,
        **({"resources": {"limits": {"nvidia.com/gpu": gpus}}} if gpus else {}),
    }
    place = {"nodeName": "gpu1"} if not gpus else {"nodeSelector": {"kubernetes.io/hostname": "gpu1"}}
    ends = {"restartPolicy": "Never", "terminationGracePeriodSeconds": 1}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": f"unasked-{name}", "labels": {"app": "unasked"}, "annotations": notes or {}},
        "spec": {**ends, **place, **spec, "containers": [container]},
    }


def tries(uuid: str) -> list[Any]:
    """Eight ways for a pod without a request: variables, annotations, a mount that is no path of the host."""
    all_gpus = {"NVIDIA_VISIBLE_DEVICES": "all"}
    fake = {"mounts": [{"name": "x", "mountPath": "/var/run/nvidia-container-devices/all"}]}
    notes = {"cdi.k8s.io/x": "nvidia.com/gpu=all", "nvidia.cdi.k8s.io/x": "nvidia.com/gpu=all"}
    return [
        pod("all", all_gpus, **_NVIDIA),
        pod("index", {"NVIDIA_VISIBLE_DEVICES": "0"}, **_NVIDIA),
        pod("uuid", {"NVIDIA_VISIBLE_DEVICES": uuid}, **_NVIDIA),
        pod("qualified", {"NVIDIA_VISIBLE_DEVICES": "nvidia.com/gpu=all"}, **_NVIDIA),
        pod("root", {**all_gpus, "NVIDIA_DRIVER_CAPABILITIES": "all"}, **_NVIDIA, securityContext={"runAsUser": 0}),
        pod("annotations", notes=notes, **_NVIDIA),
        pod("mount", **_NVIDIA, **fake, volumes=[{"name": "x", "emptyDir": {}}]),
        pod("runc", all_gpus, notes=notes),
    ]


def seen(lab: Lab, pods: list[Any]) -> dict[str, int]:
    """How many GPUs each of these pods sees; they are deleted."""
    lab.ssh("cp1", *_KUBECTL, "apply", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": pods}))
    names = [item["metadata"]["name"] for item in pods]
    try:

        def ended() -> bool:
            phases = lab.kubectl("get", "pods", "-l", "app=unasked", "-o", "jsonpath={.items[*].status.phase}").split()
            return len(phases) == len(names) and set(phases) <= {"Succeeded", "Failed"}

        wait_for("pods that ask for no GPU", ended)
        return {name: int(lab.kubectl("logs", name).split("sees")[1].split()[0]) for name in names}
    finally:
        lab.kubectl("delete", "pods", "-l", "app=unasked", "--wait=false")


_KUBECTL = ("kubectl", "--kubeconfig", "/etc/kubernetes/admin.conf")
