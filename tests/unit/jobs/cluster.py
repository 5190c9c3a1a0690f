"""A cluster's API as a job meets it: objects are kept, and pods go on as the test says."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from bootstrap.jobs.pods import INDEX_ANNOTATION
from bootstrap.kube.client import ApiError, Cluster

NODES = {"gpu1": 8, "gpu2": 8}


def node(name: str, gpus: int) -> dict[str, Any]:
    return {"metadata": {"name": name}, "status": {"allocatable": {"nvidia.com/gpu": str(gpus)}}}


def pod(rank: int, phase: str = "Running", *, name: str = "", at: str = "", **state: Any) -> dict[str, Any]:
    """A pod of an Indexed Job; with `name` one of an operator. `state` is that of its container."""
    states = {"Running": {"running": {}}, "Succeeded": {"terminated": {"exitCode": 0, "finishedAt": at}}}
    now = state or states.get(phase, {})
    meta: dict[str, Any] = {"name": name or f"train-{rank}-abc"}
    if not name:
        meta["annotations"] = {INDEX_ANNOTATION: str(rank)}
    statuses = [{"name": "main", "state": now}] if now else []
    return {
        "metadata": meta,
        "spec": {"nodeName": f"gpu{rank + 1}"} if phase != "Pending" or now else {},
        "status": {"phase": phase, "containerStatuses": statuses},
    }


def ended(rank: int, code: int, at: str, **more: Any) -> dict[str, Any]:
    terminated = {"exitCode": code, "finishedAt": at, **more}
    return pod(rank, "Failed" if code else "Succeeded", terminated=terminated)


def unplaced(rank: int, message: str) -> dict[str, Any]:
    found = pod(rank, "Pending")
    found["status"]["conditions"] = [{"type": "PodScheduled", "status": "False", "message": message}]
    return found


def taken(rank: int, reason: str) -> dict[str, Any]:
    """A pod that still runs, and that somebody has begun to end."""
    found = pod(rank)
    condition = {"type": "DisruptionTarget", "status": "True", "reason": reason, "message": "words of its own"}
    found["status"]["conditions"] = [condition]
    return found


class FakeCluster(Cluster):
    """`course` are the pods at each look, the last for ever; `logs` by pod; `refuses` maps kinds to the API's error.

    `mute` are pods whose kubelet does not give their log; `earlier` those that are there before anything is made;
    `keeps` says of paths how often their DELETE fails; what begins with one of `forbidden` this user may not read.
    """

    def __init__(self, *course: list[dict[str, Any]], logs: Mapping[str, str] | None = None) -> None:
        super().__init__(None)
        self.course = list(course) or [[]]
        self.logs = dict(logs or {})
        self.events: list[dict[str, Any]] = []
        self.nodes = [node(name, gpus) for name, gpus in NODES.items()]
        self.there: dict[str, dict[str, Any]] = {
            "/api/v1/namespaces/default": {},
            "/apis/node.k8s.io/v1/runtimeclasses/nvidia": {},
        }
        self.refuses: dict[str, ApiError] = {}
        self.mute: set[str] = set()
        self.earlier: list[dict[str, Any]] = []
        self.posted: list[str] = []
        self.forbidden: tuple[str, ...] = ()
        self.keeps: dict[str, int] = {}
        self.deleted: list[str] = []
        self.delete_asked: list[str] = []
        self.lingering = False  # pods, though their objects are deleted
        self.looked: Callable[[], None] = lambda: None
        self.log_asked: Callable[[int], None] = lambda _tries: None  # tries of logs that are mute
        self._tries = 0

    def call(self, method: str, path: str, **options: Any) -> dict[str, Any] | None:
        assert method == "POST", method
        body = options["body"]
        self.posted += [path] * (path != "/api/v1/namespaces")
        if body.get("kind") in self.refuses:
            raise self.refuses[str(body["kind"])]
        self.there[f"{path}/{body['metadata']['name']}"] = body
        return dict(body)

    def get(self, path: str, query: Mapping[str, str] | None = None) -> dict[str, Any] | None:
        del query
        if path.startswith(self.forbidden or "-"):
            raise ApiError(403, f'forbidden: User "ann" cannot get {path}')
        if path.endswith("/pods"):
            if not self.posted:
                return {"items": self.earlier}
            self.looked()
            if self.deleted and not self.lingering:
                return {"items": []}
            return {"items": self.course.pop(0) if len(self.course) > 1 else self.course[0]}
        if path.endswith("/events"):
            return {"items": self.events}
        if path == "/api/v1/nodes":
            return {"items": self.nodes}
        return self.there.get(path)

    def text(self, path: str, query: Mapping[str, str] | None = None) -> str:
        name = path.split("/")[-2]
        if name in self.mute:
            self._tries += 1
            self.log_asked(self._tries)
        if name in self.mute:
            raise ApiError(500, f"Get https://node:10250/containerLogs/default/{name}: no route to host")
        since = (query or {}).get("sinceTime", "")[:19]
        return "".join(f"{line}\n" for line in self.logs.get(name, "").splitlines() if line[:19] >= since)

    def delete(self, path: str) -> None:
        self.delete_asked.append(path)
        if self.delete_asked.count(path) <= self.keeps.get(path, 0):
            raise ApiError(0, "the API server does not answer")
        self.deleted.append(path)
        self.there.pop(path, None)
