"""Which objects keep an addon, and what its pods lack, from the API's answers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest

from bootstrap.hostside.gpuctl_kube import object_id
from bootstrap.inventory.schema import ObjectsInUse, component_named
from bootstrap.kube import addons
from bootstrap.kube.addons import InUse, Workload

PVS = component_named("csi_driver_nfs").in_use
JOBS = (
    ObjectsInUse("batch.volcano.sh/v1alpha1/Job", {}, "/status/state/phase", frozenset()),
    ObjectsInUse("scheduling.volcano.sh/v1beta1/Queue", {}, "/status/state", frozenset({"default", "root"})),
)
CORE = {"resources": [{"name": "persistentvolumes", "kind": "PersistentVolume"}, {"name": "pods", "kind": "Pod"}]}
BATCH = {"resources": [{"name": "jobs/status", "kind": "Job"}, {"name": "jobs", "kind": "Job"}]}
QUEUES = {"resources": [{"name": "queues", "kind": "Queue"}]}


class Answers:
    """A cluster of a few paths."""

    def __init__(self, answers: Mapping[str, Any]) -> None:
        self.answers = answers
        self.asked: list[tuple[str, Mapping[str, str] | None]] = []

    def get(self, path: str, query: Mapping[str, str] | None = None) -> Any:
        self.asked.append((path, query))
        return self.answers.get(path)


def cluster(answers: Mapping[str, Any]) -> Any:
    return Answers(answers)


def volume(name: str, **spec: Any) -> dict[str, Any]:
    return {"metadata": {"name": name}, "spec": spec, "status": {"phase": "Bound"}}


def test_a_volume_of_its_driver_is_in_use_another_is_not() -> None:
    items = [volume("a", csi={"driver": "nfs.csi.k8s.io"}), volume("b", nfs={"server": "x"}), volume("c", csi={})]
    asked = cluster({"/api/v1": CORE, "/api/v1/persistentvolumes": {"items": items}})
    assert addons.in_use(asked, PVS) == (InUse("persistentvolumes", "a", "Bound"),)


def test_a_kind_that_the_cluster_does_not_know_is_in_no_use() -> None:
    assert addons.in_use(cluster({}), JOBS) == ()


def test_objects_of_all_namespaces_with_their_states() -> None:
    def job(name: str, status: Any = None, **meta: Any) -> dict[str, Any]:
        return {"metadata": {"name": name, "namespace": "ns", **meta}, "status": status or {}}

    conditions = [{"type": "Created", "status": "True"}, {"type": "Running", "status": "True"}]
    items = [
        job("runs", {"state": {"phase": "Running"}}),
        job("new"),
        job("going", {"state": {"phase": "Running"}}, deletionTimestamp="2026-01-01T00:00:00Z"),
        job("conditions", {"conditions": [*conditions, {"type": "Failed", "status": "False"}]}),
    ]
    queues = [{"metadata": {"name": name}, "status": {}} for name in ("root", "default", "mine")]
    base, queue_base = "/apis/batch.volcano.sh/v1alpha1", "/apis/scheduling.volcano.sh/v1beta1"
    asked = cluster(
        {base: BATCH, f"{base}/jobs": {"items": items}, queue_base: QUEUES, f"{queue_base}/queues": {"items": queues}}
    )
    assert [(one.kind, one.name, one.state) for one in addons.in_use(asked, JOBS)] == [
        ("jobs.batch.volcano.sh", "ns/runs", "Running"),
        ("jobs.batch.volcano.sh", "ns/new", "no state yet"),
        ("jobs.batch.volcano.sh", "ns/going", "being deleted"),
        ("jobs.batch.volcano.sh", "ns/conditions", "Running"),
        ("queues.scheduling.volcano.sh", "mine", "no state yet"),
    ]


# Volcano's kinds that people write, as release 1.15.1 serves them; the others are written by its own programs.
VOLCANOS = {
    "batch.volcano.sh/v1alpha1": {"jobs": "Job", "cronjobs": "CronJob"},
    "flow.volcano.sh/v1alpha1": {"jobflows": "JobFlow", "jobtemplates": "JobTemplate"},
    "scheduling.volcano.sh/v1beta1": {"podgroups": "PodGroup", "queues": "Queue"},
    "topology.volcano.sh/v1alpha1": {"hypernodes": "HyperNode"},
    "config.volcano.sh/v1alpha1": {"colocationconfigurations": "ColocationConfiguration"},
}


def test_all_that_people_write_for_volcano_keeps_it() -> None:
    item = {"metadata": {"name": "mine", "namespace": "ns"}}
    answers: dict[str, Any] = {}
    for version, kinds in VOLCANOS.items():
        answers[f"/apis/{version}"] = {"resources": [{"name": plural, "kind": kind} for plural, kind in kinds.items()]}
        answers.update({f"/apis/{version}/{plural}": {"items": [item]} for plural in kinds})
    found = addons.in_use(cluster(answers), component_named("volcano").in_use)
    called = (f"{plural}.{version.partition('/')[0]}" for version, kinds in VOLCANOS.items() for plural in kinds)
    assert sorted(one.kind for one in found) == sorted(called)


@pytest.mark.parametrize("served", [{}, {"/apis/batch.volcano.sh/v1alpha1": BATCH}], ids=["nothing", "jobs-alone"])
def test_kinds_that_a_release_does_not_serve_keep_nothing(served: dict[str, Any]) -> None:
    assert addons.in_use(cluster(served), component_named("volcano").in_use) == ()


@pytest.mark.parametrize(
    ("kind", "item", "state"),
    [
        ("CronJob", {"spec": {"schedule": "0 3 * * *"}, "status": {"active": [{"name": "a"}]}}, "0 3 * * *"),
        ("JobFlow", {"status": {"state": {"phase": "Running"}, "conditions": {"a": {"phase": "Running"}}}}, "Running"),
        ("JobFlow", {"status": {"conditions": {"a": {"phase": "Pending"}}}}, "no state yet"),
        ("JobTemplate", {"status": {"jobDependsOnList": ["a"]}}, "no state yet"),
    ],
)
def test_how_volcanos_kinds_stand(kind: str, item: dict[str, Any], state: str) -> None:
    """A JobFlow has its conditions by the names of jobs, not as a list."""
    (wanted,) = (entry for entry in component_named("volcano").in_use if entry.kind.endswith(f"/{kind}"))
    version, plural = wanted.kind.rpartition("/")[0], f"{kind.lower()}s"
    answers = {
        f"/apis/{version}": {"resources": [{"name": plural, "kind": kind}]},
        f"/apis/{version}/{plural}": {"items": [{"metadata": {"name": "mine"}, **item}]},
    }
    assert addons.in_use(cluster(answers), [wanted]) == (InUse(f"{plural}.{version.partition('/')[0]}", "mine", state),)


def test_a_pointer_takes_keys_with_slashes() -> None:
    item = {"metadata": {"annotations": {"a.b/c": "x"}}}
    assert addons._at(item, "/metadata/annotations/a.b~1c") == "x"
    assert addons._at(item, "/metadata/annotations/a.b~1c/d") is None


RECEIPT = {"objects": dict.fromkeys(["v1/Secret/sys/s", "apps/v1/Deployment/sys/d", "apps/v1/DaemonSet/sys/n"], "")}


def deployment(ready: int) -> dict[str, Any]:
    return {
        "apiVersion": "apps/v1",
        "metadata": {"name": "d", "namespace": "sys", "generation": 1},
        "spec": {"replicas": 1, "selector": {"matchLabels": {"b": "2", "a": "1"}}},
        "status": {"observedGeneration": 1, "readyReplicas": ready, "updatedReplicas": 1},
    }


def waiting(reason: str, message: str) -> dict[str, Any]:
    return {"image": "r/i:1", "state": {"waiting": {"reason": reason, "message": message}}}


@pytest.mark.parametrize(
    ("pod", "reason"),
    [
        ({}, ""),
        ({"containerStatuses": [{"state": {"running": {}}}, waiting("ContainerCreating", "")]}, ""),
        ({"containerStatuses": [waiting("CrashLoopBackOff", "back-off 10s")]}, " (CrashLoopBackOff: back-off 10s)"),
        ({"initContainerStatuses": [waiting("ErrImagePull", "r/i:1: not found")]}, " (ErrImagePull: r/i:1)"),
        ({"conditions": [{"type": "PodScheduled", "status": "False", "message": "0/1 nodes"}]}, " (0/1 nodes)"),
    ],
)
def test_what_pods_lack_is_said_with_the_reason(pod: dict[str, Any], reason: str) -> None:
    path = "/apis/apps/v1/namespaces/sys/deployments/d"
    asked = cluster({path: deployment(0), "/api/v1/namespaces/sys/pods": {"items": [{"status": pod}]}})
    assert object_id({**deployment(0), "kind": "Deployment"}) in RECEIPT["objects"]
    assert addons.workloads(asked, RECEIPT) == (
        Workload("DaemonSet", "sys/n", "it is not there"),
        Workload("Deployment", "sys/d", f"0 of 1 pods ready{reason}"),
    )
    assert ("/api/v1/namespaces/sys/pods", {"labelSelector": "a=1,b=2"}) in asked.asked


def test_pods_that_run_lack_nothing() -> None:
    asked = cluster({"/apis/apps/v1/namespaces/sys/deployments/d": deployment(1)})
    assert addons.workloads(asked, RECEIPT)[1] == Workload("Deployment", "sys/d")


COMPLETE = {"schema": 1, "component": "csi_driver_nfs", "state": "complete"}
DAMAGED = {**COMPLETE, "state": "damaged"}


@pytest.mark.parametrize(
    ("found", "receipt"),
    [
        (None, None),
        ({"data": {"receipt": json.dumps(COMPLETE)}}, COMPLETE),
        (
            {"data": {"receipt": json.dumps({**COMPLETE, "objects": {"../secrets": ""}})}},
            {**DAMAGED, "why": "objects has an entry of no such form"},
        ),
        ({"data": {"receipt": "{"}}, {**DAMAGED, "why": "it is not one of this component"}),
        ({}, {**DAMAGED, "why": "it is not one of this component"}),
    ],
)
def test_a_receipt_is_read_from_its_config_map(found: Any, receipt: Any) -> None:
    asked = cluster({"/api/v1/namespaces/kube-system/configmaps/gpuctl-receipt-csi-driver-nfs": found})
    read = addons.receipt_in(asked, "csi_driver_nfs")
    assert (read if read is None else dict(read)) == receipt
