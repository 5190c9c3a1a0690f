"""The few answers of a Kubernetes API that a trial reads, for one Job that moves on by one step at each look."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from bootstrap.kube.client import ApiError

NAMESPACE = "jobs"
_LABELS = {"wandb.ai/monitor": "true", "wandb.ai/agent": "ada1byte"}
_NO_PLACE = "0/2 nodes are available: 2 Insufficient nvidia.com/gpu."


class FakeCluster:
    """`stuck` names where the Job stops: no_place, image, crash, one_gpu, unregistered, quota; empty: nowhere."""

    def __init__(self) -> None:
        self.stuck = ""
        self.error: ApiError | None = None
        self.only_namespace = False
        self.paths: list[str] = []
        self.log = ""
        self._run = self._item = ""
        self._looks = 0
        self.deleted: list[str] = []
        self.keeps_jobs = False

    def make_job(self, run: str, item: str) -> None:
        """What the agent does for an item."""
        self._run, self._item = run, item

    def jump(self) -> None:
        """Be where the Job has its pod."""
        self._looks = 3

    @property
    def ended(self) -> bool:
        """Whether the program has ended."""
        return self._looks > 4 and self.stuck in {"", "one_gpu", "unregistered", "crash"}

    def get(self, path: str, query: Mapping[str, str] | None = None) -> dict[str, Any] | None:
        """As Cluster.get."""
        self.paths.append(path)
        if self.error is not None:
            raise self.error
        if self.only_namespace and path in {"/api/v1/pods", "/apis/batch/v1/jobs", "/api/v1/nodes"}:
            raise ApiError(403, "forbidden at the cluster scope")
        selector = (query or {}).get("labelSelector", "")
        if path.endswith("/jobs"):
            self._looks += 1
            return {"items": [self._job()] if self._looks > 1 and selector == f"wandb.ai/run-id={self._run}" else []}
        if path.endswith("/pods"):
            assert selector == "wandb.ai/monitor=true"
            has_pod = self._looks > 2 and self.stuck != "quota"
            return {"items": [self._pod("other", "zzzz9999", "item9"), *([self._own()] if has_pod else [])]}
        if path.endswith("/events"):
            return {"items": self._events()}
        assert path == "/api/v1/nodes"
        return {"items": [_node("cp1", None), _node("gpu1", "1")]}

    def delete(self, path: str) -> None:
        """As Cluster.delete."""
        if self.keeps_jobs:
            raise ApiError(403, "forbidden")
        self.deleted.append(path)

    def text(self, path: str, query: Mapping[str, str] | None = None) -> str:
        """As Cluster.text: the log of the pod."""
        assert path == f"/api/v1/namespaces/{NAMESPACE}/pods/launch-x-1/log"
        assert query == {"container": "launch0"}
        if self.log:
            return self.log
        if self.stuck == "crash":
            return "python3: error while loading shared libraries\n"
        gpus = 1 if self.stuck == "one_gpu" else 2
        devices = [f"nvidia{n}" for n in range(gpus)]
        said = json.dumps({"gpuctl_hello": 1, "gpus": gpus, "devices": devices, "visible": "void"})
        outcome = "http://w: refused" if self.stuck == "unregistered" else "registered"
        return f"{said}\n" + json.dumps({"gpuctl_run": outcome}) + "\n" if self.ended else f"{said}\n"

    def _job(self) -> dict[str, Any]:
        labels = _LABELS | {"wandb.ai/run-id": self._run}
        return {"metadata": {"name": "launch-x", "namespace": NAMESPACE, "labels": labels}, "status": {"active": 1}}

    def _own(self) -> dict[str, Any]:
        pod = self._pod("launch-x-1", self._run, self._item)
        state, phase = self._state()
        pod["status"] = {"phase": phase, "containerStatuses": [{"name": "launch0", "state": state}]}
        if self.stuck == "no_place":
            del pod["spec"]["nodeName"]
            reason = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": _NO_PLACE}
            pod["status"] = {"phase": "Pending", "conditions": [reason]}
        return pod

    def _state(self) -> tuple[dict[str, Any], str]:
        if self.stuck == "image":
            return {"waiting": {"reason": "ImagePullBackOff", "message": "Back-off pulling image"}}, "Pending"
        if self._looks == 3:
            return {"waiting": {"reason": "ContainerCreating"}}, "Pending"
        if self.stuck == "crash":
            return {"terminated": {"exitCode": 127, "reason": "Error"}}, "Failed"
        if self.ended:
            return {"terminated": {"exitCode": 0, "reason": "Completed"}}, "Succeeded"
        return {"running": {"startedAt": "2026-11-22T10:00:00Z"}}, "Running"

    def _pod(self, name: str, run: str, item: str) -> dict[str, Any]:
        env = [{"name": "WANDB_RUN_ID", "value": run}, {"name": "WANDB_LAUNCH_TRACE_ID", "value": item}]
        limits = {"resources": {"limits": {"nvidia.com/gpu": "2"}}}
        container = {"name": "launch0", "image": "docker.io/library/python", "env": env, **limits}
        owner = [{"kind": "Job", "name": "launch-x"}]
        return {
            "metadata": {"name": name, "namespace": NAMESPACE, "labels": _LABELS, "ownerReferences": owner},
            "spec": {"nodeName": "gpu1", "containers": [container]},
            "status": {"phase": "Running"},
        }

    def _events(self) -> list[dict[str, Any]]:
        words = {
            "image": "Failed to pull image: not found",
            "quota": "exceeded quota: gpus, requested: requests.nvidia.com/gpu=2",
        }
        empty = {"type": "Warning", "message": "Error: ImagePullBackOff", "lastTimestamp": "2026-11-22T10:00:09Z"}
        said = words.get(self.stuck)
        return [{"type": "Warning", "message": said, "lastTimestamp": "2026-11-22T10:00:01Z"}, empty] if said else []


def _node(name: str, gpus: str | None) -> dict[str, Any]:
    return {
        "metadata": {"name": name},
        "status": {"allocatable": {"cpu": "2"} | ({"nvidia.com/gpu": gpus} if gpus else {})},
    }
