"""What a cluster has of an addon: whether its pods run, and which objects of users need it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bootstrap.hostside.gpuctl_applyset import rollout_lacks
from bootstrap.hostside.gpuctl_kube import receipt_name, split_id
from bootstrap.hostside.gpuctl_strictjson import parse
from bootstrap.inventory.schema import ObjectsInUse, component_named
from bootstrap.kube.client import Cluster
from bootstrap.probe.receipt import Receipt, read_receipt

_PLURALS = {"Deployment": "deployments", "DaemonSet": "daemonsets"}


@dataclass(frozen=True, slots=True)
class Workload:
    """Pods that an addon consists of; `lacks` says what is missing, in words."""

    kind: str
    name: str  # namespace/name
    lacks: str = ""


@dataclass(frozen=True, slots=True)
class InUse:
    """An object of a user that needs the addon: `kind` as kubectl calls it, `name` with its namespace if it has one."""

    kind: str
    name: str
    state: str


def workloads(cluster: Cluster, receipt: Mapping[str, Any]) -> tuple[Workload, ...]:
    """The Deployments and DaemonSets of a receipt, as they are now.

    Raises:
        ApiError: the API did not answer.
    """
    found = []
    for identity in sorted(receipt.get("objects") or ()):
        version, kind, namespace, name = split_id(identity)
        if version != "apps/v1" or kind not in _PLURALS:
            continue
        item = cluster.get(f"/apis/{version}/namespaces/{namespace}/{_PLURALS[kind]}/{name}")
        lacks = "it is not there" if item is None else rollout_lacks({**item, "kind": kind})
        if item is not None and lacks and (reason := _waiting_for(cluster, namespace, item)):
            lacks += f" ({reason})"
        found.append(Workload(kind, f"{namespace}/{name}", lacks))
    return tuple(found)


def receipt_in(cluster: Cluster, component: str) -> Receipt | None:
    """A component's receipt as the cluster holds it, perhaps a damaged one; None without one.

    Raises:
        ApiError: the API did not answer.
    """
    found = cluster.get(f"/api/v1/namespaces/kube-system/configmaps/{receipt_name(component)}")
    if found is None:
        return None
    try:
        receipt = parse((found.get("data") or {}).get("receipt") or "")
    except ValueError:
        receipt = None
    return read_receipt(component_named(component), receipt)


def _waiting_for(cluster: Cluster, namespace: str, workload: Mapping[str, Any]) -> str:
    """Why a pod of a workload does not run, in the kubelet's or the scheduler's words."""
    labels = ((workload.get("spec") or {}).get("selector") or {}).get("matchLabels") or {}
    selector = ",".join(f"{key}={value}" for key, value in sorted(labels.items()))
    pods = cluster.get(f"/api/v1/namespaces/{namespace}/pods", {"labelSelector": selector}) or {}
    for pod in pods.get("items") or ():
        status = pod.get("status") or {}
        for container in (*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())):
            waiting = (container.get("state") or {}).get("waiting") or {}
            if waiting.get("reason") not in {None, "ContainerCreating", "PodInitializing"}:
                # Of a pull that failed the message is long, and repeats the image's name up to four times.
                said = container.get("image") if "Image" in waiting["reason"] else waiting.get("message")
                return f"{waiting['reason']}: {said or ''}".rstrip(": ")
        for condition in status.get("conditions") or ():
            if condition.get("type") == "PodScheduled" and condition.get("status") == "False":
                return str(condition.get("message") or condition.get("reason"))
    return ""


def in_use(cluster: Cluster, kinds: Sequence[ObjectsInUse]) -> tuple[InUse, ...]:
    """Every object of these kinds in all namespaces. A kind that the cluster does not know has none.

    Raises:
        ApiError: the API did not answer.
    """
    return tuple(found for wanted in kinds for found in _objects(cluster, wanted))


def _objects(cluster: Cluster, wanted: ObjectsInUse) -> Iterator[InUse]:
    version, _, kind = wanted.kind.rpartition("/")
    base = f"/{'apis' if '/' in version else 'api'}/{version}"
    known = (cluster.get(base) or {}).get("resources") or ()
    plural = next((entry["name"] for entry in known if entry["kind"] == kind and "/" not in entry["name"]), None)
    if plural is None:
        return
    group = version.partition("/")[0] if "/" in version else ""
    called = f"{plural}.{group}" if group else plural
    for item in (cluster.get(f"{base}/{plural}") or {}).get("items") or ():
        meta = item["metadata"]
        if meta["name"] in wanted.own or any(_at(item, path) != value for path, value in wanted.where.items()):
            continue
        name = f"{meta['namespace']}/{meta['name']}" if meta.get("namespace") else str(meta["name"])
        yield InUse(called, name, _state(item, wanted.state))


def _at(item: Any, pointer: str) -> Any:
    """The value at a pointer (RFC 6901) of objects in objects; None where there is none."""
    for key in pointer.removeprefix("/").split("/"):
        item = item.get(key.replace("~1", "/").replace("~0", "~")) if isinstance(item, dict) else None
    return item


def _state(item: Mapping[str, Any], pointer: str) -> str:
    """How the object stands: what its kind says, else the newest condition that holds."""
    if item["metadata"].get("deletionTimestamp"):
        return "being deleted"
    if said := _at(item, pointer):
        return str(said)
    conditions = _at(item, "/status/conditions")
    if not isinstance(conditions, list):  # a JobFlow has its jobs' there, by their names
        return "no state yet"
    holding = (c.get("type") for c in reversed(conditions) if isinstance(c, dict) and c.get("status") == "True")
    return next(map(str, filter(None, holding)), "no state yet")
