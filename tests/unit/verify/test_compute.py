"""Pods that compute, on nodes whose GPUs change under them."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from bootstrap.kube.client import ApiError, Cluster
from bootstrap.progress import Silent
from bootstrap.verify import compute as computing
from bootstrap.verify import following, stuck
from bootstrap.verify.pods import Assignment


class Shrinking(Cluster):
    """One node that offered eight GPUs when it was looked at, and offers seven by now."""

    def __init__(self) -> None:
        super().__init__(None)
        self.pods: dict[str, int] = {}

    def call(self, method: str, path: str, **options: Any) -> dict[str, Any] | None:
        assert method == "POST"
        if path.endswith("/pods"):
            body = options["body"]
            gpus = body["spec"]["containers"][0]["resources"]["limits"]["nvidia.com/gpu"]
            self.pods[body["metadata"]["name"]] = int(gpus)
        return {}

    def get(self, path: str, query: Mapping[str, str] | None = None) -> dict[str, Any] | None:
        del query
        if path.startswith("/api/v1/nodes/"):
            return {"status": {"allocatable": {"nvidia.com/gpu": "7"}}}
        if not path.endswith("/pods") or path == "/api/v1/pods":
            return {"items": []}
        return {
            "items": [
                {"metadata": {"name": name, "namespace": "v"}, "status": self.status(n)}
                for name, n in self.pods.items()
            ]
        }

    def status(self, gpus: int) -> dict[str, Any]:
        if gpus <= 7:
            return {"phase": "Succeeded", "containerStatuses": [{"state": {"terminated": {"exitCode": 0}}}]}
        message = "0/1 nodes are available: 1 Insufficient nvidia.com/gpu."
        return {
            "phase": "Pending",
            "conditions": [{"type": "PodScheduled", "status": "False", "message": message}],
        }

    def text(self, path: str, query: Mapping[str, str] | None = None) -> str:
        del path, query
        return json.dumps({"devices": [{"uuid": f"GPU-{n}"} for n in range(7)]})

    def delete(self, path: str) -> None:
        self.pods.pop(path.rpartition("/")[2], None)


def test_a_node_that_lost_a_gpu_meanwhile_computes_on_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following, "_PAUSE_S", 0.001)
    cluster = Shrinking()
    found = computing.compute(
        cluster, {"gpu2": 8}, run_id="r", image="python:3", runtime_class="nvidia", timeout_s=30, progress=Silent()
    )
    assert (len(found["gpu2"].devices), found["gpu2"].code) == (7, "")
    assert list(cluster.pods) == ["compute-gpu2-7-again"]


class Left(Cluster):
    """Namespaces that earlier runs left, by name: made at, and how long they may live."""

    def __init__(self, **left: tuple[str, str]) -> None:
        super().__init__(None)
        self.left = left
        self.deleted: list[str] = []

    def get(self, path: str, query: Mapping[str, str] | None = None) -> dict[str, Any] | None:
        del path, query
        made = {"app.kubernetes.io/name": "gpuctl-verify"}
        return {
            "items": [
                {"metadata": {"name": name, "labels": made, "creationTimestamp": at, "annotations": lives}}
                for name, (at, text) in self.left.items()
                for lives in ({computing.LIVES: text} if text else None,)
            ]
        }

    def delete(self, path: str) -> None:
        self.deleted.append(path.rpartition("/")[2])


def test_namespaces_of_killed_runs_go_when_no_pod_may_be_alive_there() -> None:
    now, old = datetime.now(UTC).isoformat(), (datetime.now(UTC) - timedelta(seconds=1000)).isoformat()
    cluster = Left(
        fresh=(now, ""), killed=(old, ""), pulls=(old, "2520"), pulled=(old, "960"), changed=(old, "for ever")
    )
    computing._sweep(cluster)
    assert cluster.deleted == ["killed", "pulled", "changed"]


class Refusing(Cluster):
    """Takes no pod of one node; a busy one, in which nobody has made the namespace's default account yet."""

    def __init__(self, refused: str) -> None:
        super().__init__(None)
        self.refused = refused
        self.made: list[str] = []
        self.pods: list[str] = []

    def call(self, method: str, path: str, **options: Any) -> dict[str, Any] | None:
        assert method == "POST"
        body = options["body"]
        if path.endswith("/pods"):
            account = body["spec"].get("serviceAccountName", "default")
            if f"serviceaccounts/{account}" not in self.made:
                raise ApiError(403, f"error looking up service account x/{account}: not found")
            if body["metadata"]["name"].startswith(f"compute-{self.refused}-"):
                raise ApiError(422, "ValidatingAdmissionPolicy 'p' with binding 'b' denied request: no")
            self.pods.append(body["metadata"]["name"])
        self.made.append(f"{path.rpartition('/')[2]}/{body['metadata']['name']}")
        return {}

    def get(self, path: str, query: Mapping[str, str] | None = None) -> dict[str, Any] | None:
        del query
        if not path.endswith("/pods") or path == "/api/v1/pods":
            return {"items": []}
        through = {"phase": "Succeeded", "containerStatuses": [{"state": {"terminated": {"exitCode": 0}}}]}
        return {"items": [{"metadata": {"name": name}, "status": through} for name in self.pods]}

    def text(self, path: str, query: Mapping[str, str] | None = None) -> str:
        del path, query
        return json.dumps({"devices": [{"uuid": "GPU-0"}]})

    def delete(self, path: str) -> None:
        del path


def test_a_refused_pod_is_a_finding_of_its_node_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following, "_PAUSE_S", 0.001)
    found = computing.compute(
        Refusing("gpu1"),
        {"gpu1": 8, "gpu2": 8},
        run_id="r",
        image="python:3",
        runtime_class="nvidia",
        timeout_s=30,
        progress=Silent(),
    )
    assert (found["gpu1"].code, found["gpu1"].of_cluster) == ("policy-denies", True)
    assert (found["gpu2"].code, len(found["gpu2"].devices)) == ("", 1)


class Stuck(Cluster):
    """A pod that never begins, for the reason that its status gives."""

    def __init__(self, status: Mapping[str, Any], events: list[dict[str, Any]]) -> None:
        super().__init__(None)
        self.status, self.events = status, events

    def get(self, path: str, query: Mapping[str, str] | None = None) -> dict[str, Any] | None:
        del query
        if path.endswith("/events"):
            return {"items": self.events}
        return {"items": [{"metadata": {"name": "compute-gpu1-8", "namespace": "v"}, "status": self.status}]}


STUCK: dict[str, tuple[Mapping[str, Any], list[dict[str, Any]]]] = {
    "image-pull-failed": (
        {"phase": "Pending", "containerStatuses": [{"state": {"waiting": {"reason": "ErrImageNeverPull"}}}]},
        [],
    ),
    "pod-start-failed": (
        {
            "phase": "Pending",
            "containerStatuses": [{"state": {"waiting": {"reason": "CreateContainerError", "message": "no space"}}}],
        },
        [],
    ),
    "pod-pending": (
        {
            "phase": "Pending",
            "conditions": [{"type": "PodScheduled", "status": "False", "message": "1 node(s) had disk pressure"}],
        },
        [],
    ),
    "cni-missing": (
        {"phase": "Pending"},
        [
            {
                "type": "Warning",
                "reason": "FailedCreatePodSandBox",
                "message": 'plugin type="flannel" failed (add): open /run/flannel/subnet.env: no such file',
                "involvedObject": {"name": "compute-gpu1-8"},
            }
        ],
    ),
}


@pytest.mark.parametrize("code", STUCK)
def test_the_wait_ends_when_the_reason_is_known(code: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("_PAUSE_S", 0.001), ("_EVENTS_S", 0.0)):
        monkeypatch.setattr(following, name, value)
    for name in ("_STARTING_S", "_SCHEDULING_S", "PULLING_S"):
        monkeypatch.setattr(stuck, name, 0.01)
    rounds = following.Following(
        Stuck(*STUCK[code]), "v", [Assignment("gpu1", 8, ())], "nvidia.com/gpu", 300.0, Silent()
    )
    begun = time.monotonic()
    found = rounds.collect()["gpu1"]
    assert time.monotonic() - begun < 5  # of 300 s
    assert (found.code, bool(found.error), bool(found.fix)) == (code, True, True)


@pytest.mark.parametrize(
    ("words", "code"),
    [
        ("unresolvable CDI devices k8s.device-plugin.nvidia.com/gpu=GPU-1", "plugin-cdi-missing"),
        ("unresolvable CDI devices nvidia.com/gpu=0", "cdi-missing"),
        ('conflicting device "nvidia.com/gpu=0" (conflicts with "/etc/cdi/a.yaml")', "cdi-conflict"),
        ('unable to get OCI runtime: no runtime for "nvidia" is configured', "nvidia-runtime-missing"),
        ('exec: "/usr/bin/nvidia-container-runtime": executable file not found in $PATH', "runtime-binary-missing"),
        ("fork/exec /usr/bin/nvidia-container-runtime: no such file or directory", "runtime-binary-missing"),
        ("cni plugin not initialized", "cni-missing"),
        ("something else", "pod-start-failed"),
    ],
)
def test_what_the_runtime_says_names_what_lacks(words: str, code: str) -> None:
    assert stuck.start_failure(words).code == code
