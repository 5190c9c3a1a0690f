"""The Kubernetes side of a trial: the Job of an item, its pod, what that says, and what its events say."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, Protocol

from bootstrap.hostside.gpuctl_strictjson import parse
from bootstrap.kube.client import ApiError
from bootstrap.launch.hello import REGISTERED, SEEN
from bootstrap.launch.trial_model import Hello, Job, Pod

GPU_RESOURCE = "nvidia.com/gpu"
_RUN_LABEL = "wandb.ai/run-id"
_POD_SELECTOR = "wandb.ai/monitor=true"
_FORBIDDEN = 403
_TAIL_LINES = 12
_EMPTY = re.compile(r"Error: \w+")
_FINISHED = frozenset({"Succeeded", "Failed"})


class Api(Protocol):
    """What is used of bootstrap.kube.client.Cluster."""

    def get(self, path: str, query: Mapping[str, str] | None = None) -> dict[str, Any] | None:
        """GET; None for 404. Raises ApiError."""

    def text(self, path: str, query: Mapping[str, str] | None = None) -> str:
        """GET a text. Raises ApiError."""

    def delete(self, path: str) -> None:
        """DELETE; nothing when it is not there. Raises ApiError."""


class ClusterSide:
    """Looks for one job after another; remembers what it saw, since a Job vanishes 60 s after its end.

    `namespace` is where the queue's configuration puts its Jobs: asked alone where the whole cluster is not shown.
    """

    def __init__(self, api: Api, namespace: str) -> None:
        self._api = api
        self._namespace = namespace
        self._everywhere = True
        self.job: Job | None = None
        self.pod: Pod | None = None
        self.hello: Hello | None = None
        self.nodes: tuple[tuple[str, int], ...] = ()

    def look(self, run_id: str, item_id: str) -> None:
        """Renew job, pod, hello and nodes; `run_id` is "" while no agent has claimed the item. Raises ApiError."""
        found = self._list("/apis/batch/v1", "jobs", f"{_RUN_LABEL}={run_id}") if run_id else []
        if found:
            self.job = job_of(found[0])
        elif self.job is not None:
            self.job = replace(self.job, gone=True)
        pods = [pod for pod in self._list("/api/v1", "pods", _POD_SELECTOR) if _belongs(pod, run_id, item_id)]
        if pods:
            self._see_pod(max(pods, key=lambda pod: str(pod["metadata"].get("creationTimestamp", ""))))
        elif self.pod is not None:
            self.pod = replace(self.pod, gone=True)
        elif self.job is not None and not self.job.gone:
            words = self._warning(self.job.namespace, self.job.name)
            self.job = replace(self.job, words=words) if words else self.job

    def remove_waiting(self) -> str:
        """Delete the trial's Job unless its pod has begun; its name, empty where nothing was deleted.

        A Job that never gets a place, or its image, would keep its agent busy for ever. Raises ApiError.
        """
        job, pod = self.job, self.pod
        begun = pod is not None and (pod.started or pod.phase in _FINISHED)
        if job is None or job.gone or job.ended or begun:
            return ""
        self._api.delete(f"/apis/batch/v1/namespaces/{job.namespace}/jobs/{job.name}")
        self.job = replace(job, gone=True)
        self.pod = replace(pod, gone=True) if pod is not None else None
        return f"{job.namespace}/{job.name}"

    def _see_pod(self, raw: Mapping[str, Any]) -> None:
        pod = pod_of(raw)
        if pod.no_place:
            self.nodes = self.nodes or self._nodes()
        elif not pod.started and pod.phase not in _FINISHED:
            pod = replace(pod, words=self._warning(pod.namespace, pod.name) or pod.words)
        self.pod = pod
        if pod.started and (self.hello is None or not self.hello.registered):
            self._read_log(pod, container_of(raw))

    def _read_log(self, pod: Pod, container: str) -> None:
        path = f"/api/v1/namespaces/{pod.namespace}/pods/{pod.name}/log"
        try:
            log = self._api.text(path, {"container": container})
        except ApiError as error:
            if not error.status:
                raise
            self.pod = replace(pod, log_tail=f"its log cannot be read: {error.message}")
            return
        self.hello = read_hello(log) or self.hello
        self.pod = replace(pod, log_tail="\n".join(log.rstrip().splitlines()[-_TAIL_LINES:]))

    def _list(self, group: str, kind: str, selector: str) -> list[dict[str, Any]]:
        """The objects, of all namespaces or of the one that may be read."""
        query = {"labelSelector": selector}
        if self._everywhere:
            try:
                return list((self._api.get(f"{group}/{kind}", query) or {}).get("items", []))
            except ApiError as error:
                if error.status != _FORBIDDEN:
                    raise
                self._everywhere = False
        return list((self._api.get(f"{group}/namespaces/{self._namespace}/{kind}", query) or {}).get("items", []))

    def _warning(self, namespace: str, name: str) -> str:
        """The newest warning about an object; empty where events may not be read."""
        try:
            found = self._api.get(
                f"/api/v1/namespaces/{namespace}/events", {"fieldSelector": f"involvedObject.name={name}"}
            )
        except ApiError as error:
            if not error.status:
                raise
            return ""
        return newest_warning((found or {}).get("items", []))

    def _nodes(self) -> tuple[tuple[str, int], ...]:
        """(name, allocatable GPUs) of every node; none where nodes may not be read."""
        try:
            items = (self._api.get("/api/v1/nodes") or {}).get("items", [])
        except ApiError as error:
            if not error.status:
                raise
            return ()
        return tuple(
            (str(node["metadata"]["name"]), _number(node.get("status", {}).get("allocatable", {}).get(GPU_RESOURCE)))
            for node in items
        )


def job_of(raw: Mapping[str, Any]) -> Job:
    """A batch Job as the API has it."""
    meta, status = raw["metadata"], raw.get("status", {})
    conditions = {c.get("type"): c for c in status.get("conditions") or [] if c.get("status") == "True"}
    failed = conditions.get("Failed", {})
    return Job(
        namespace=str(meta["namespace"]),
        name=str(meta["name"]),
        agent=str((meta.get("labels") or {}).get("wandb.ai/agent", "")),
        failed=str(failed.get("message") or failed.get("reason") or ""),
        ended=bool({"Failed", "Complete"} & set(conditions)),
    )


def pod_of(raw: Mapping[str, Any]) -> Pod:
    """A pod as the API has it; of its containers, the one that asks for GPUs, else the first."""
    meta, spec, status = raw["metadata"], raw.get("spec", {}), raw.get("status", {})
    name = container_of(raw)
    container = next(c for c in spec["containers"] if c["name"] == name)
    state: Mapping[str, Any] = next((c for c in status.get("containerStatuses") or [] if c.get("name") == name), {})
    now = state.get("state") or {}
    ended, waiting = now.get("terminated"), now.get("waiting") or {}
    place: Mapping[str, Any] = next((c for c in status.get("conditions") or [] if c.get("type") == "PodScheduled"), {})
    unplaced = place.get("status") == "False" and not spec.get("nodeName")
    return Pod(
        namespace=str(meta["namespace"]),
        name=str(meta["name"]),
        phase=str(status.get("phase", "Pending")),
        image=str(container.get("image", "")),
        node=str(spec.get("nodeName") or ""),
        gpus=sum(_gpus_of(c) for c in spec["containers"]),
        owner=_owner(meta),
        no_place=str(place.get("message") or place.get("reason") or "") if unplaced else "",
        waiting=str(waiting.get("reason") or ""),
        words=str(waiting.get("message") or (ended or {}).get("message") or status.get("message") or ""),
        started=ended is not None or "running" in now,
        exit_code=int(ended["exitCode"]) if ended else None,
        reason=str((ended or {}).get("reason") or status.get("reason") or ""),
    )


def _owner(meta: Mapping[str, Any]) -> tuple[str, str]:
    owners = meta.get("ownerReferences") or [{}]
    return str(owners[0].get("kind", "Pod")), str(owners[0].get("name", meta["name"]))


def container_of(raw: Mapping[str, Any]) -> str:
    """The name of the container whose report counts."""
    containers = raw["spec"]["containers"]
    return str(next((c for c in containers if _gpus_of(c)), containers[0])["name"])


def read_hello(log: str) -> Hello | None:
    """The program's report; None when the log has none (yet)."""
    seen: dict[str, Any] | None = None
    registered = ""
    for line in log.splitlines():
        try:
            said = parse(line)
        except ValueError:
            continue
        if isinstance(said, dict) and SEEN in said and isinstance(said.get("gpus"), int):
            seen = said
        elif isinstance(said, dict) and REGISTERED in said:
            registered = str(said[REGISTERED])
    if seen is None:
        return None
    devices = seen.get("devices")
    names = tuple(str(name) for name in devices) if isinstance(devices, list) else ()
    return Hello(int(seen["gpus"]), names, str(seen.get("visible", "")), registered)


def newest_warning(events: Iterable[Mapping[str, Any]]) -> str:
    """The message of the event of type Warning that was seen last; "Error: ErrImagePull" and the like say nothing."""
    warnings = [e for e in events if e.get("type") == "Warning" and not _EMPTY.fullmatch(str(e.get("message", "")))]
    if not warnings:
        return ""
    return str(max(warnings, key=_seen_at).get("message") or "")


def _seen_at(event: Mapping[str, Any]) -> str:
    return str(event.get("lastTimestamp") or event.get("eventTime") or "")


def _belongs(pod: Mapping[str, Any], run_id: str, item_id: str) -> bool:
    """Pods carry no label with the run: the agent's variables in their containers tell."""
    wanted = {"WANDB_RUN_ID": run_id, "WANDB_LAUNCH_TRACE_ID": item_id}
    for container in pod.get("spec", {}).get("containers") or []:
        for variable in container.get("env") or []:
            value = wanted.get(str(variable.get("name")))
            if value and variable.get("value") == value:
                return True
    return False


def _gpus_of(container: Mapping[str, Any]) -> int:
    return _number(((container.get("resources") or {}).get("limits") or {}).get(GPU_RESOURCE))


def _number(text: Any) -> int:
    try:
        return int(str(text))
    except ValueError:
        return 0
