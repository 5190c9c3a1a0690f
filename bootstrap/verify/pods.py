"""The pods that compute: how many GPUs each takes, and what it looks like."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

GPU_RESOURCE = "nvidia.com/gpu"
PAYLOAD = Path(__file__).parent / "payload" / "vectoradd.py"
POD_DEADLINE_S = 900  # a pod whose gpuctl was killed gives its GPUs back by itself
# The namespace's own default account is made by a controller, which a busy control plane runs seconds later.
ACCOUNT = "gpuctl-verify"
FINISHED = frozenset({"Succeeded", "Failed"})
UNASKED = "without-gpus"
# The variable is what images made for GPUs come with: by itself it must give a container nothing.
_COUNT = "import glob, json; print(json.dumps({'gpus': len(glob.glob('/dev/nvidia[0-9]*'))}))"
_UNPRIVILEGED = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "runAsNonRoot": True,
    "runAsUser": 65534,
    "seccompProfile": {"type": "RuntimeDefault"},
}


@dataclass(frozen=True, slots=True)
class Holder:
    """A pod that holds GPUs of a node. `name` is "namespace/name"."""

    name: str
    gpus: int
    uid: str = ""

    def __str__(self) -> str:
        return f"{self.name} ({self.gpus} GPU{'s' * (self.gpus != 1)})"


@dataclass(frozen=True, slots=True)
class Assignment:
    """How many GPUs the pod on a node takes, and who holds the others; `again` after one that was not admitted."""

    node: str
    gpus: int
    held: tuple[Holder, ...]
    again: bool = False


def assign(
    pods: Sequence[Mapping[str, Any]], allocatable: Mapping[str, int], resource: str = GPU_RESOURCE
) -> tuple[Assignment, ...]:
    """One pod per node, with all the GPUs that no other pod holds."""
    held: dict[str, list[Holder]] = {node: [] for node in allocatable}
    for pod in pods:
        node, meta = pod.get("spec", {}).get("nodeName"), pod["metadata"]
        count = gpus_of(pod, resource)
        if node in held and count and pod.get("status", {}).get("phase") not in FINISHED:
            held[node].append(Holder(f"{meta['namespace']}/{meta['name']}", count, str(meta.get("uid", ""))))
    return tuple(
        Assignment(node, max(0, total - sum(holder.gpus for holder in held[node])), tuple(held[node]))
        for node, total in allocatable.items()
    )


def gpus_of(pod: Mapping[str, Any], resource: str = GPU_RESOURCE) -> int:
    """How many GPUs a pod asks for."""
    containers = pod.get("spec", {}).get("containers", [])
    return sum(int(c.get("resources", {}).get("limits", {}).get(resource, 0)) for c in containers)


def pod_name(assignment: Assignment) -> str:
    """Another one in a second round, which would meet the first one's pod."""
    return f"compute-{assignment.node}-{assignment.gpus}{'-again' * assignment.again}"


@dataclass(frozen=True, slots=True)
class PodKind:
    """What the pods have in common. With `unasked`, a container that asks for no GPU counts those that it sees."""

    image: str
    runtime_class: str
    resource: str = GPU_RESOURCE
    unasked: bool = False


def pod_manifest(assignment: Assignment, kind: PodKind) -> dict[str, Any]:
    """The pod that computes on `assignment.gpus` GPUs of one node, under the restricted pod security standard."""
    return {
        "metadata": {"name": pod_name(assignment), "labels": {"app.kubernetes.io/managed-by": "gpuctl"}},
        "spec": {
            "restartPolicy": "Never",
            "activeDeadlineSeconds": POD_DEADLINE_S,
            **({"runtimeClassName": kind.runtime_class} if kind.runtime_class else {}),
            "serviceAccountName": ACCOUNT,
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "terminationGracePeriodSeconds": 1,
            "affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": _only(assignment.node)}},
            "tolerations": [{"operator": "Exists"}],
            "containers": [
                {
                    "name": "compute",
                    "image": kind.image,
                    "imagePullPolicy": "IfNotPresent",
                    "command": ["python3", f"/payload/{PAYLOAD.name}"],
                    "resources": {"limits": {kind.resource: str(assignment.gpus)}},
                    "securityContext": _UNPRIVILEGED,
                    "volumeMounts": [{"name": "payload", "mountPath": "/payload", "readOnly": True}],
                },
                *([_container_without(kind.image)] if kind.unasked else []),
            ],
            "volumes": [{"name": "payload", "configMap": {"name": "payload"}}],
        },
    }


def _only(node: str) -> dict[str, Any]:
    """The one node, by its name: the label kubernetes.io/hostname may have another value."""
    return {"nodeSelectorTerms": [{"matchFields": [{"key": "metadata.name", "operator": "In", "values": [node]}]}]}


def _container_without(image: str) -> dict[str, Any]:
    return {
        "name": UNASKED,
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "command": ["python3", "-c", _COUNT],
        "env": [{"name": "NVIDIA_VISIBLE_DEVICES", "value": "all"}],
        "securityContext": _UNPRIVILEGED,
    }
