"""What the pods of a job have in common, whoever makes them. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bootstrap.jobs.spec import JobSpec

GPU_RESOURCE = "nvidia.com/gpu"
NAME_LABEL = "gpuctl.io/job"
FILES = "/opt/gpuctl"
_RESTRICTED: Mapping[str, Any] = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "runAsNonRoot": True,
    "runAsUser": 65534,
    "seccompProfile": {"type": "RuntimeDefault"},
}
# The Job controller's own annotation of each pod of an Indexed Job.
INDEX_ANNOTATION = "batch.kubernetes.io/job-completion-index"


def labels(spec: JobSpec) -> dict[str, str]:
    """By which the job's objects, and its pods, are found."""
    return {"app.kubernetes.io/managed-by": "gpuctl", NAME_LABEL: spec.name}


def metadata(spec: JobSpec, name: str = "") -> dict[str, Any]:
    """Of an object of the job; named like the job itself unless said otherwise."""
    return {"name": name or spec.name, "namespace": spec.namespace, "labels": labels(spec)}


def files_name(spec: JobSpec) -> str:
    """Name of the ConfigMap with the job's files."""
    return f"{spec.name}-files"


def files_object(spec: JobSpec) -> list[dict[str, Any]]:
    """The ConfigMap with the job's files, where it has any."""
    if not spec.files:
        return []
    return [
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": metadata(spec, files_name(spec)),
            "data": dict(spec.files),
        }
    ]


def headless_service(spec: JobSpec, selector: Mapping[str, str]) -> dict[str, Any]:
    """Gives each pod a name, also before it is ready: the others wait for it."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata(spec),
        "spec": {"clusterIP": "None", "publishNotReadyAddresses": True, "selector": dict(selector)},
    }


def pet(spec: JobSpec, address: str, port: int) -> list[dict[str, Any]]:
    """Torchrun's own variables, but for the rank: nodes, processes on each, where they meet."""
    values = {
        "PET_NNODES": spec.nodes,
        "PET_NPROC_PER_NODE": spec.processes,
        "PET_MASTER_ADDR": address,
        "PET_MASTER_PORT": port,
    }
    return [{"name": name, "value": str(value)} for name, value in values.items()]


def indexed_rank() -> dict[str, Any]:
    """The pod's index as torchrun's rank of the node. JOB_COMPLETION_INDEX comes too late to be expanded in a value."""
    path = f"metadata.annotations['{INDEX_ANNOTATION}']"
    return {"name": "PET_NODE_RANK", "valueFrom": {"fieldRef": {"fieldPath": path}}}


def pod_template(
    spec: JobSpec, container: str, variables: Sequence[Mapping[str, Any]], command: Sequence[str] = (), **more: Any
) -> dict[str, Any]:
    """A pod with one container; `variables` go before the job's own, `more` into the pod's spec.

    It starts once, and is kept with its log when it fails.
    """
    limits = {"cpu": spec.cpu, "memory": spec.memory, GPU_RESOURCE: str(spec.gpus) if spec.gpus else ""}
    own = [{"name": name, "value": value} for name, value in sorted(spec.environment.items())]
    mounts, volumes = _volumes(spec)
    body = {
        "name": container,
        "image": spec.image,
        "imagePullPolicy": "IfNotPresent",
        "command": list(command or spec.command),
        "env": [*variables, *own],
        "resources": {"limits": {name: value for name, value in limits.items() if value}},
        "securityContext": dict(_RESTRICTED) if spec.restricted else {},
        "volumeMounts": mounts,
    }
    pod = {
        "restartPolicy": "Never",
        **(_one_on_each(spec) if spec.on_nodes else {}),
        "runtimeClassName": spec.runtime_class if spec.gpus else "",
        "enableServiceLinks": False,
        **more,
        "containers": [{name: value for name, value in body.items() if value}],
        "volumes": volumes,
    }
    kept = {name: value for name, value in pod.items() if value not in ("", [])}
    return {"metadata": {"labels": labels(spec)}, "spec": kept}


def _one_on_each(spec: JobSpec) -> dict[str, Any]:
    """Where the pods go when nodes are named."""
    named = {"key": "kubernetes.io/hostname", "operator": "In", "values": list(spec.on_nodes)}
    apart = {"labelSelector": {"matchLabels": {NAME_LABEL: spec.name}}, "topologyKey": "kubernetes.io/hostname"}
    required = "requiredDuringSchedulingIgnoredDuringExecution"
    return {
        "tolerations": [{"operator": "Exists"}],
        "affinity": {
            "nodeAffinity": {required: {"nodeSelectorTerms": [{"matchExpressions": [named]}]}},
            "podAntiAffinity": {required: [apart]},
        },
    }


def _volumes(spec: JobSpec) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Mounts and volumes. Processes of one node speak by shared memory: a container's own 64 MiB are too little."""
    mounts: list[dict[str, Any]] = [{"name": "shm", "mountPath": "/dev/shm"}]  # noqa: S108 - of the container
    volumes: list[dict[str, Any]] = [{"name": "shm", "emptyDir": {"medium": "Memory"}}]
    if spec.claim:
        mounts.append({"name": "data", "mountPath": spec.mount_path})
        volumes.append({"name": "data", "persistentVolumeClaim": {"claimName": spec.claim}})
    if spec.files:
        mounts.append({"name": "files", "mountPath": FILES, "readOnly": True})
        volumes.append({"name": "files", "configMap": {"name": files_name(spec)}})
    return mounts, volumes
