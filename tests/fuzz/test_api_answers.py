"""What a Kubernetes API may answer, with one thing changed: a result, or an error that names the API."""

from __future__ import annotations

import json
import time
import traceback
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest

from bootstrap.apply import disrupt
from bootstrap.errors import GpuctlError
from bootstrap.hostside.gpuctl_strictjson import parse_object
from bootstrap.inventory.schema import components
from bootstrap.jobs.check import pods_of, refusals
from bootstrap.jobs.ranks import culprit, ranks_of, why_failed
from bootstrap.jobs.render import render
from bootstrap.jobs.spec import JobSpec, Launcher
from bootstrap.jobs.waiting import own_events, why_waiting
from bootstrap.kube import addons
from bootstrap.kube.client import ApiError, Cluster
from bootstrap.kube.client_certificate import NotSignedError, _certificate_of
from bootstrap.launch.agent_cluster import deployment_seen, objects_seen
from bootstrap.launch.agent_model import Target
from bootstrap.launch.agent_status import _recorded
from bootstrap.launch.rights import missing_rights
from bootstrap.launch.trial_cluster import ClusterSide
from bootstrap.plan.digests import argument_digests
from bootstrap.progress import Progress
from bootstrap.verify import compute, ended, following, pods, stuck
from bootstrap.verify.look import look
from tests.fuzz.mutate import document_mutations
from tests.fuzz.share import cases
from tests.unit.factories import default_settings

CASES = 2_000
SPEC = JobSpec(name="train", launcher=Launcher.JOB, image="i", command=("c",), namespace="jobs", nodes=2, gpus=8)
TARGET = Target("cluster", "rel", "wandb", ("jobs",), "https://api.wandb.ai", "lab", ("gpu",))
SEEN = "2026-11-23T10:00:00Z"


def meta(name: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "namespace": "jobs", "uid": "u-1", "labels": {"a": "b"}, "creationTimestamp": SEEN, **more}


def pod(name: str, phase: str, state: dict[str, Any]) -> dict[str, Any]:
    env = [{"name": "WANDB_RUN_ID", "value": "run1"}]
    main = {"name": "main", "image": "i", "env": env, "resources": {"limits": {"nvidia.com/gpu": "8"}}}
    status = {"name": "main", "image": "i", "restartCount": 1, "state": state}
    unplaced = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/2 nodes"}
    annotations = {"batch.kubernetes.io/job-completion-index": name[-1]}
    return {
        "metadata": meta(name, annotations=annotations, ownerReferences=[{"kind": "Job", "name": "train"}]),
        "spec": {"nodeName": "gpu1", "containers": [main]},
        "status": {
            "phase": phase,
            "containerStatuses": [status],
            "initContainerStatuses": [],
            "conditions": [unplaced],
        },
    }


ENDED = {"terminated": {"exitCode": 1, "reason": "Error", "message": "m", "finishedAt": SEEN}}
PODS = [
    pod("train-0", "Failed", ENDED),
    pod("train-1", "Pending", {"waiting": {"reason": "ErrImagePull", "message": "not found"}}),
    pod("train-2", "Running", {"running": {"startedAt": SEEN}}),
]
NODE = {
    "metadata": {"name": "gpu1", "annotations": {disrupt.MARK: "true"}, "labels": {}},
    "spec": {"unschedulable": True, "taints": [{"key": "work", "value": "x", "effect": "NoExecute"}]},
    "status": {
        "conditions": [{"type": "Ready", "status": "False", "message": "no network"}],
        "allocatable": {"nvidia.com/gpu": "8", "memory": "24Gi"},
        "capacity": {"nvidia.com/gpu": "8"},
    },
}
EVENT = {
    "metadata": meta("train.1"),
    "type": "Warning",
    "reason": "FailedMount",
    "message": "mount failed",
    "involvedObject": {"kind": "Pod", "name": "train-1"},
    "lastTimestamp": SEEN,
    "series": {"lastObservedTime": SEEN},
}
ROLLOUT = {
    "metadata": meta("d", generation=1),
    "spec": {
        "replicas": 1,
        "selector": {"matchLabels": {"app": "d"}},
        "template": {
            "spec": {
                "containers": [{"name": "nvidia-device-plugin", "image": "i"}],
                "nodeSelector": {"nvidia.com/gpu.present": "true"},
                "tolerations": [{"key": "x", "operator": "Exists"}],
            }
        },
    },
    "status": {"replicas": 1, "readyReplicas": 0, "observedGeneration": 1, "updatedReplicas": 1},
}
JOB = {
    "metadata": meta("train", labels={"wandb.ai/run-id": "run1"}),
    "spec": {},
    "status": {"active": 1, "failed": 1, "conditions": [{"type": "Failed", "status": "True", "message": "m"}]},
}
CLAIM = {
    "metadata": {**meta("c"), "namespace": "jobs"},
    "spec": {"csi": {"driver": "nfs.csi.k8s.io"}},
    "status": {"phase": "Bound"},
}
KINDS = [
    {"name": wanted.kind.rpartition("/")[2].lower() + "s", "kind": wanted.kind.rpartition("/")[2]}
    for role in components()
    for wanted in role.in_use
]
RECEIPT = {
    "schema": 1,
    "component": "launch_agent",
    "state": "complete",
    "objects": {"apps/v1/Deployment/jobs/d": "", "apps/v1/DaemonSet/jobs/d": "sha256:" + "0" * 64},
    "arguments": argument_digests("launch_agent", default_settings(launch_agent_queues=["gpu"])),
}
DOCUMENTS: Mapping[str, Any] = {
    "pods": {"items": PODS},
    "nodes": {"items": [NODE]},
    "node": NODE,
    "events": {"items": [EVENT]},
    "namespaces": {"items": [{"metadata": {"name": "gpuctl-verify-1", "creationTimestamp": SEEN}}]},
    "jobs": {"items": [JOB]},
    "rollout": ROLLOUT,
    "workloads": {"items": [{**ROLLOUT, "metadata": {**meta("nvidia-device-plugin"), "namespace": "kube-system"}}]},
    "receipt": {"metadata": meta("r"), "data": {"receipt": json.dumps(RECEIPT)}},
    "object": {"metadata": meta("o"), "data": {"token": "x", "password": "y"}},
    "claims": {"items": [CLAIM]},
    "discovery": {"resources": KINDS},
    "review": {"status": {"allowed": True}},
    "csr": {"metadata": {"name": "c"}, "status": {"certificate": "eA==", "conditions": []}},
    "version": {"gitVersion": "v1.36.3"},
    "status": {"kind": "Status", "metadata": {}, "status": "Success"},
}


def document_for(path: str) -> str:
    """Which document a path is answered with."""
    parts = path.strip("/").split("/")
    rest = parts[2:] if parts[0] == "api" else parts[3:]
    rest = rest[2:] if rest[:1] == ["namespaces"] and len(rest) > 2 else rest
    if parts[0] not in {"api", "apis"}:
        return "version"
    if not rest:
        return "discovery"
    if rest[0].startswith("gpuctl-receipt") or (len(rest) > 1 and rest[1].startswith("gpuctl-receipt")):
        return "receipt"
    if rest[0] in {"deployments", "daemonsets"}:
        return "rollout" if len(rest) > 1 else "workloads"
    if "reviews" in rest[0]:
        return "review"
    if rest[0] == "certificatesigningrequests":
        return "csr"
    if len(rest) > 2:
        return "status"
    if len(rest) > 1:
        return "node" if rest[0] == "nodes" else "object"
    return rest[0] if rest[0] in DOCUMENTS else "claims"


class Mutated(Cluster):
    """Answers by the path, one document of another form; everything behind the bytes is the client's own."""

    def __init__(self, name: str, text: str) -> None:
        super().__init__(None)
        self._texts = {**{known: json.dumps(document) for known, document in DOCUMENTS.items()}, name: text}

    def _request(self, method: str, path: str, query: Any, body: Any, content_type: str) -> tuple[int, str]:  # noqa: ARG002
        if path.endswith("/log"):
            return 200, 'x\n{"devices": [{"uuid": "GPU-1", "ok": true}]}\n'
        return 200, self._texts[document_for(path)]


class Quiet(Progress):
    """Says nothing."""

    def note(self, text: str) -> None:
        """Nothing."""


def _jobs(cluster: Cluster) -> None:
    ranks = ranks_of(pods_of(cluster, SPEC))
    if first := culprit(ranks, ()):
        why_failed(first, ("x",))
    events = (cluster.get("/api/v1/namespaces/jobs/events") or {}).get("items") or []
    why_waiting(SPEC, ranks, own_events(events, JOB["metadata"], {"train-1"}))
    list(refusals(cluster, SPEC, render(SPEC)))


def _trial(cluster: Cluster) -> None:
    side = ClusterSide(cluster, "jobs")
    side.look("run1", "item1")
    side._nodes()
    side._warning("jobs", "x")


def _verify(cluster: Cluster) -> None:
    look(cluster, ["gpu1", "cp1"], "nvidia")
    pods.assign((cluster.get("/api/v1/pods") or {}).get("items", []), {"gpu1": 8})
    compute._sweep(cluster)
    following.allocatable_now(cluster, "gpu1", pods.GPU_RESOURCE)
    events = (cluster.get("/api/v1/namespaces/jobs/events") or {}).get("items", [])
    for each in (cluster.get("/api/v1/namespaces/jobs/pods") or {}).get("items", []):
        stuck.why_stuck(each, events)
        ended.finished(cluster, "jobs", each, pods.Assignment("gpu1", 8, ()))


def _disrupt(cluster: Cluster) -> None:
    disrupt._cordoned_by_others(cluster, "gpu1")
    for each in disrupt._evictable(cluster, "gpu1"):
        disrupt._evict(cluster, each)
    disrupt._wait_ready(cluster, "gpu1", Quiet())


def _addons(cluster: Cluster) -> None:
    receipt = addons.receipt_in(cluster, "launch_agent")
    addons.workloads(cluster, receipt or {})
    addons.in_use(cluster, [wanted for role in components() for wanted in role.in_use])


def _agent(cluster: Cluster) -> None:
    objects_seen(cluster, TARGET)
    deployment_seen(cluster, TARGET)
    missing_rights(cluster, "wandb", "a", ("jobs",))
    _recorded(cluster)


def _certificate(cluster: Cluster) -> None:
    _certificate_of(cluster.get("/apis/certificates.k8s.io/v1/certificatesigningrequests/c") or {})
    cluster.get("/version")


READERS: Sequence[Callable[[Cluster], None]] = (_jobs, _trial, _verify, _disrupt, _addons, _agent, _certificate)


def test_mutated_answers_of_an_api_end_in_results_or_errors(
    figure: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(disrupt, "READY_DEADLINE_S", -1.0)
    share = -(-cases(CASES) // len(DOCUMENTS))
    seen: Counter[str] = Counter()
    failures: Counter[str] = Counter()
    slowest = 0.0
    for number, (name, document) in enumerate(DOCUMENTS.items()):
        whole = {"answer": document}  # so that the answer as a whole is changed as well
        for where, changed in document_mutations(whole, 20261203 + number, max(share, 3)):
            text, began = json.dumps(changed.get("answer")), time.monotonic()
            for read in READERS:
                try:
                    read(Mutated(name, text))
                    seen["results"] += 1
                except (ApiError, GpuctlError, NotSignedError):
                    seen["errors"] += 1
                except Exception as error:  # noqa: BLE001 - a traceback for what an API says is what is looked for
                    place = traceback.extract_tb(error.__traceback__)[-1]
                    at = f"{place.filename.rpartition('/')[2]}:{place.lineno}"
                    failures[f"{type(error).__name__} in {at}, as {name}: {where}"] += 1
            seen["answers"] += 1
            slowest = max(slowest, time.monotonic() - began)
    figure(
        f"mutated Kubernetes API answers: {seen['answers']} × {len(READERS)} readers: {seen['results']} results, "
        f"{seen['errors']} errors; {failures.total()} tracebacks, slowest {slowest:.2f} s"
    )
    assert not failures, "\n".join(failures)
    assert slowest < 5


@pytest.mark.parametrize("text", ["", "[]", "null", "NaN", '{"a": ' * 3000 + "1" + "}" * 3000, '{"a": "\\ud800"}'])
def test_an_answer_that_is_no_object_is_the_servers_fault(text: str) -> None:
    with pytest.raises(ApiError, match="cannot be read"):
        Mutated("nodes", text).get("/api/v1/nodes")


def test_the_documents_themselves_are_of_their_kinds_form(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disrupt, "READY_DEADLINE_S", -1.0)
    for read in READERS[:-1]:
        try:
            read(Mutated("version", "{}"))
        except GpuctlError as error:
            assert error.problems[0].code == "node-not-ready"  # noqa: PT017 - of the node in NODE
    assert parse_object(json.dumps(DOCUMENTS))
