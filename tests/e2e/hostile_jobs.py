"""Objects that whoever holds the Launch agent's token could make: those that must be refused, and those that must not.

Each attack is a change of a pod, and tried in all three kinds of jobs: in the last pod of those that have several.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from tests.e2e.tool import Lab

RUN = "ab12cd34"
KINDS = ("Job", "vcjob", "PyTorchJob")
Pod = dict[str, Any]
Attack = Callable[[Pod], None]


def _pod() -> Pod:
    """As the client sends it: with the security context that it forces on every container."""
    container = {
        "name": "pytorch",
        "image": "docker.io/library/python:3.11-slim-bookworm",
        "command": ["true"],
        "resources": {"limits": {"cpu": "1", "memory": "1Gi", "nvidia.com/gpu": "1"}},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "seccompProfile": {"type": "RuntimeDefault"},
        },
    }
    return {"restartPolicy": "Never", "containers": [container]}


def _volume(**kind: Any) -> Attack:
    def change(pod: Pod) -> None:
        pod.setdefault("volumes", []).append({"name": f"v{len(pod.get('volumes', []))}", **kind})

    return change


def _spec(**fields: Any) -> Attack:
    return lambda pod: pod.update(fields)


def _container(**fields: Any) -> Attack:
    return lambda pod: pod["containers"][0].update(fields)


def _context(**fields: Any) -> Attack:
    return lambda pod: pod["containers"][0]["securityContext"].update(fields)


def _init(**fields: Any) -> Attack:
    """The same in a container that runs before the others."""
    return lambda pod: pod.update(initContainers=[{"name": "before", "image": "busybox", **fields}])


def _env(name: str) -> dict[str, Any]:
    return {"env": [{"name": "STOLEN", "valueFrom": {"secretKeyRef": {"name": name, "key": "password"}}}]}


_TOKEN = {"serviceAccountToken": {"path": "token", "expirationSeconds": 3600}}
ATTACKS: dict[str, Attack] = {
    "hostPath": _volume(hostPath={"path": "/"}),
    "a second volume that is one of the node": lambda pod: (_volume(emptyDir={})(pod), ATTACKS["hostPath"](pod))[0],
    "a volume of a driver": _volume(csi={"driver": "secrets-store.csi.k8s.io"}),
    "privileged": _context(privileged=True, allowPrivilegeEscalation=True),
    "privileged before the others": _init(securityContext={"privileged": True}),
    "host network": _spec(hostNetwork=True),
    "host processes": _spec(hostPID=True),
    "host IPC": _spec(hostIPC=True),
    "host port": _container(ports=[{"containerPort": 80, "hostPort": 80}]),
    "capabilities": _context(capabilities={"add": ["SYS_ADMIN"]}),
    "capabilities before the others": _init(securityContext={"capabilities": {"add": ["NET_RAW"], "drop": ["ALL"]}}),
    "unmasked proc": lambda pod: (_context(procMount="Unmasked")(pod), pod.update(hostUsers=False))[0],
    "another account": _spec(serviceAccountName="gpuctl-admin"),
    "another account by its old name": _spec(serviceAccount="gpuctl-admin"),
    "a token asked for": _spec(automountServiceAccountToken=True),
    "a projected token": _volume(projected={"sources": [{"configMap": {"name": "c"}}, _TOKEN]}),
    "a Secret as variable": _container(**_env("database")),
    "a Secret as all variables": _container(envFrom=[{"secretRef": {"name": "database"}}]),
    "a Secret before the others": _init(**_env("wandb-api-key-of99an88")),
    "a Secret as volume": _volume(secret={"secretName": "database"}),
    "a projected Secret": _volume(projected={"sources": [{"secret": {"name": "database"}}]}),
    "a Secret for images": _spec(imagePullSecrets=[{"name": "database"}]),
}
# What jobs may have. `pull` stands for what launch_agent_allowed_secrets names.
FINE: dict[str, Attack] = {
    "as the client sends it": lambda _pod: None,
    "volumes of jobs": lambda pod: [  # type: ignore[func-returns-value]
        _volume(**kind)(pod)
        for kind in (
            {"emptyDir": {"medium": "Memory"}},
            {"persistentVolumeClaim": {"claimName": "nfs-kubedata"}},
            {"nfs": {"server": "10.0.0.20", "path": "/data"}},
            {"configMap": {"name": "settings"}},
            {"projected": {"sources": [{"downwardAPI": {"items": []}}, {"configMap": {"name": "settings"}}]}},
        )
    ],
    "what is off": _spec(hostNetwork=False, automountServiceAccountToken=False, serviceAccountName="default"),
    "a container before the others": _init(command=["true"]),
    "another runtime and place": _spec(
        tolerations=[{"operator": "Exists"}], nodeSelector={"kubernetes.io/os": "linux"}, priorityClassName=""
    ),
}


def job_of(kind: str, name: str, change: Attack, namespace: str) -> dict[str, Any]:
    """An object of that kind whose last pod is changed."""
    plain, changed = _pod(), copy.deepcopy(_pod())
    change(changed)
    meta: dict[str, Any] = {"name": name, "namespace": namespace, "labels": {"wandb.ai/monitor": "true"}}
    if kind == "Job":
        meta["labels"]["wandb.ai/run-id"] = RUN
        return {"apiVersion": "batch/v1", "kind": "Job", "metadata": meta, "spec": {"template": {"spec": changed}}}
    if kind == "vcjob":
        tasks = [{"name": n, "replicas": 1, "template": {"spec": p}} for n, p in (("a", plain), ("b", changed))]
        spec: dict[str, Any] = {"schedulerName": "volcano", "queue": "default", "minAvailable": 2, "tasks": tasks}
        return {"apiVersion": "batch.volcano.sh/v1alpha1", "kind": "Job", "metadata": meta, "spec": spec}
    replicas = {
        n: {"replicas": 1, "restartPolicy": "Never", "template": {"spec": p}}
        for n, p in (("Master", plain), ("Worker", changed))
    }
    spec = {"pytorchReplicaSpecs": replicas}
    return {"apiVersion": "kubeflow.org/v1", "kind": "PyTorchJob", "metadata": meta, "spec": spec}


def hostile(kinds: tuple[str, ...], namespace: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """(what it is, object) of every attack in every kind."""
    for kind in kinds:
        for number, (what, change) in enumerate(ATTACKS.items()):
            yield f"{kind}: {what}", job_of(kind, f"{kind.lower()}-hostile-{number}", change, namespace)


def harmless(kinds: tuple[str, ...], namespace: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """(what it is, object) of all that jobs may be."""
    for kind in kinds:
        for number, (what, change) in enumerate(FINE.items()):
            yield f"{kind}: {what}", job_of(kind, f"{kind.lower()}-fine-{number}", change, namespace)
        if kind == "Job":
            for number, secret in enumerate((f"wandb-api-key-{RUN}", "pull")):
                change = _container(**_env(secret))
                yield f"{kind}: {secret}", job_of(kind, f"secret-{number}", change, namespace)
        pull = _spec(imagePullSecrets=[{"name": "pull"}])
        yield f"{kind}: a Secret for images that is named", job_of(kind, f"{kind.lower()}-pull", pull, namespace)


def token_secret(namespace: str) -> dict[str, Any]:
    """A Secret that Kubernetes would fill with a token of another account."""
    annotations = {"kubernetes.io/service-account.name": "default"}
    meta = {"name": "wandb-api-key-x", "namespace": namespace, "annotations": annotations}
    return {"apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/service-account-token", "metadata": meta}


def endless_secret(namespace: str) -> dict[str, Any]:
    """What older releases gave the service on a host."""
    annotations = {"kubernetes.io/service-account.name": "wandb-launch-serviceaccount-gpuctl"}
    meta = {"name": "launch-agent-token", "namespace": namespace, "annotations": annotations}
    return {"apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/service-account-token", "metadata": meta}


def refusals(lab: Lab, host: str, objects: Iterable[tuple[str, dict[str, Any]]]) -> dict[str, str]:
    """What the API says of each object, asked with the token of the agent on that host; empty where it takes it.

    Nothing is made: the API goes through all its checks and stops before it writes.
    """
    listed = dict(objects)
    text = json.dumps({"apiVersion": "v1", "kind": "List", "items": list(listed.values())})
    token = lab.ssh(host, "cat", "/var/lib/gpuctl-launch/token")
    server = ("--server=https://127.0.0.1:6443", "--certificate-authority=/etc/kubernetes/pki/ca.crt")
    kubectl = ("kubectl", "--kubeconfig=/dev/null", *server, f"--token={token}")
    words = ("sh", "-c", '"$@" 2>&1 || true', "sh", *kubectl, "create", "--dry-run=server", "-f", "-")
    said = lab.ssh("cp1", *words, stdin=text)
    found = {}
    for what, item in listed.items():
        name = item["metadata"]["name"]
        lines = [line for line in said.splitlines() if f'"{name}"' in line or f"/{name} " in line]
        made = [line for line in lines if line.endswith("created (server dry run)")]
        assert lines, f"nothing is said of {name}: {said[-2000:]}"
        found[what] = "" if made else " ".join(lines)
    return found


# Kinds without their controllers: what the API checks of a job does not depend on them.
_OPEN = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}


def kind_of(group: str, version: str, kind: str) -> dict[str, Any]:
    """The definition of a kind."""
    plural = f"{kind.lower()}s"
    served = {"name": version, "served": True, "storage": True, "schema": {"openAPIV3Schema": _OPEN}}
    names = {"kind": kind, "plural": plural, "singular": kind.lower()}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{group}"},
        "spec": {"group": group, "scope": "Namespaced", "names": names, "versions": [served]},
    }
