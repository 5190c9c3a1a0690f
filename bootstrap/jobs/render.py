"""A job as the objects of its launcher, in the order in which they are applied. Pure."""

from __future__ import annotations

from typing import Any

from bootstrap.jobs.pods import (
    files_object,
    headless_service,
    indexed_rank,
    metadata,
    pet,
    pod_template,
)
from bootstrap.jobs.spec import JobSpec, Launcher

PORT = 29500  # torchrun's own
OPERATORS_PORT = 23456  # of Volcano's pytorch plugin, and of the training operator


def render(spec: JobSpec) -> list[dict[str, Any]]:
    """The objects; the last one is what makes the pods."""
    made = {
        Launcher.JOB: _job,
        Launcher.VOLCANO: _volcano,
        Launcher.PYTORCHJOB: _pytorchjob,
        Launcher.JOBSET: _jobset,
    }[spec.launcher](spec)
    return [*files_object(spec), *made]


def _indexed(spec: JobSpec, address: str, **pod: Any) -> dict[str, Any]:
    """The spec of an Indexed Job: one pod per node, none a second time."""
    template = pod_template(spec, "main", [*pet(spec, address, PORT), indexed_rank()], **pod)
    return {
        "completionMode": "Indexed",
        "completions": spec.nodes,
        "parallelism": spec.nodes,
        "backoffLimit": 0,
        **({"activeDeadlineSeconds": spec.deadline_s} if spec.deadline_s else {}),
        "template": template,
    }


def _job(spec: JobSpec) -> list[dict[str, Any]]:
    """An Indexed Job's pods have the host names NAME-0, NAME-1, ... in the domain of the headless Service."""
    job = _indexed(spec, f"{spec.name}-0.{spec.name}", subdomain=spec.name)
    return [
        headless_service(spec, {"batch.kubernetes.io/job-name": spec.name}),
        {"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata(spec), "spec": job},
    ]


def _jobset(spec: JobSpec) -> list[dict[str, Any]]:
    """JobSet makes the Service itself, and host names of set, kind of job, number of the job, and index."""
    job = {"replicas": 1, "name": "node", "template": {"spec": _indexed(spec, f"{spec.name}-node-0-0.{spec.name}")}}
    body = {
        "network": {"enableDNSHostnames": True, "publishNotReadyAddresses": True},
        "failurePolicy": {"maxRestarts": 0},
        "replicatedJobs": [job],
    }
    return [{"apiVersion": "jobset.x-k8s.io/v1alpha2", "kind": "JobSet", "metadata": metadata(spec), "spec": body}]


def _volcano(spec: JobSpec) -> list[dict[str, Any]]:
    """A master and workers, all or none of them.

    The pytorch plugin says where they meet, and each pod's rank as RANK; torchrun looks for PET_NODE_RANK, and a
    variable that is injected cannot be used in the value of another: a shell does that.
    """
    renamed = ("sh", "-c", 'PET_NODE_RANK="$RANK" exec "$@"', "sh", *spec.command)
    variables = pet(spec, f"{spec.name}-master-0.{spec.name}", OPERATORS_PORT)
    template = pod_template(spec, "main", variables, renamed)
    tasks: list[dict[str, Any]] = [{"name": "master", "replicas": 1, "template": template}]
    if spec.nodes > 1:
        tasks.append({"name": "worker", "replicas": spec.nodes - 1, "template": template})
    body = {
        "schedulerName": "volcano",
        "queue": spec.queue,
        # Fewer pods would start, and wait for ever: each of them counts on all.
        "minAvailable": spec.nodes,
        "maxRetry": 1,
        "plugins": {
            "pytorch": ["--master=master", "--worker=worker", f"--port={OPERATORS_PORT}"],
            "svc": ["--publish-not-ready-addresses=true"],
        },
        "policies": [
            {"event": "PodFailed", "action": "AbortJob"},
            {"event": "PodEvicted", "action": "AbortJob"},
        ],
        "tasks": tasks,
    }
    return [{"apiVersion": "batch.volcano.sh/v1alpha1", "kind": "Job", "metadata": metadata(spec), "spec": body}]


def _pytorchjob(spec: JobSpec) -> list[dict[str, Any]]:
    """The training operator sets PET_* itself. A backoffLimit of 0 would delete failed pods with their logs."""
    replica = {"restartPolicy": "Never", "template": pod_template(spec, "pytorch", [])}
    replicas = {"Master": {"replicas": 1, **replica}}
    if spec.nodes > 1:
        replicas["Worker"] = {"replicas": spec.nodes - 1, **replica}
    body = {
        "nprocPerNode": str(spec.processes),
        "runPolicy": {
            "cleanPodPolicy": "None",
            **({"activeDeadlineSeconds": spec.deadline_s} if spec.deadline_s else {}),
            "schedulingPolicy": {"minAvailable": spec.nodes, "queue": spec.queue},
        },
        "pytorchReplicaSpecs": replicas,
    }
    return [{"apiVersion": "kubeflow.org/v1", "kind": "PyTorchJob", "metadata": metadata(spec), "spec": body}]
