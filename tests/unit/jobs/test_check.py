"""What keeps a job from ever beginning is found before anything is made, whatever this user may read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from bootstrap.errors import GpuctlError
from bootstrap.exit_codes import ExitCode
from bootstrap.jobs import making
from bootstrap.jobs.check import refusals, without_missing_class
from bootstrap.jobs.render import render
from bootstrap.jobs.run import Following, run_job
from bootstrap.jobs.spec import Launcher
from bootstrap.kube.client import ApiError
from bootstrap.progress import Silent
from tests.unit.jobs.cluster import FakeCluster, ended, node, pod
from tests.unit.jobs.following import DONE, EVER, SERVICE, T1, follow, refused
from tests.unit.jobs.test_render import spec


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"gpus": 9}, "2 pods with 9 GPUs each: the largest node has 8"),
        ({"nodes": 3, "gpus": 8}, "3 pods with 8 GPUs each: the cluster's 16 GPUs on 2 nodes have room for 2"),
        ({"nodes": 3, "gpus": 5}, "3 pods with 5 GPUs each: the cluster's 16 GPUs on 2 nodes have room for 2"),
    ],
)
def test_more_than_the_cluster_has_is_refused(changes: dict[str, Any], said: str) -> None:
    cluster = FakeCluster()
    assert refused(cluster, spec(**{"nodes": 2, **changes})) == [f"job-too-large: {said}"]
    assert not [path for path in cluster.there if path.endswith("/train")]


def test_a_cluster_without_gpus_is_told() -> None:
    cluster = FakeCluster()
    cluster.nodes = [node("cp1", 0)]
    assert refused(cluster, spec()) == ["job-too-large: 1 pods with 1 GPUs each: no node has any"]


def test_a_name_that_is_taken_is_refused_and_left() -> None:
    cluster = FakeCluster()
    cluster.there["/apis/batch/v1/namespaces/default/jobs/train"] = {}
    assert refused(cluster, spec()) == ["job-name-taken: Job default/train is there already"]
    assert cluster.deleted == []


def test_pods_of_another_job_of_that_name_are_refused() -> None:
    """Of another launcher: pods are found by the name that their label has, and would be judged together."""
    cluster = FakeCluster(DONE)
    cluster.earlier = [ended(0, 1, T1), ended(1, 0, T1)]
    said = "job-name-taken: pods of another job train are in default: train-0-abc, train-1-abc"
    assert refused(cluster, spec(nodes=2)) == [said]
    assert cluster.posted == []


def test_pods_of_an_earlier_run_that_still_end_are_refused() -> None:
    cluster = FakeCluster(DONE)
    cluster.earlier = [{**pod(0), "metadata": {**pod(0)["metadata"], "deletionTimestamp": T1}}]
    said = "job-name-taken: pods of an earlier job train are still ending in default: train-0-abc"
    assert refused(cluster, spec(nodes=2)) == [said]


def test_a_taken_name_is_told_once() -> None:
    cluster = FakeCluster(DONE)
    cluster.there["/apis/batch/v1/namespaces/default/jobs/train"] = {}
    cluster.earlier = [pod(0)]
    assert refused(cluster, spec(nodes=2)) == ["job-name-taken: Job default/train is there already"]


HERE = "/api/v1/namespaces/default"
# What a kubeconfig with rights in one namespace may not: all of it only saves a job that cannot run.
ELSEWHERE = ("/api/v1/nodes", "/apis/node.k8s.io", "/apis/scheduling.volcano.sh/v1beta1/queues")
NO_RIGHT = 'jobs.batch is forbidden: User "ann" cannot create resource "jobs" in API group "batch" in the namespace'


def test_rights_in_one_namespace_suffice() -> None:
    cluster = FakeCluster(DONE)
    cluster.forbidden = (*ELSEWHERE, f"{HERE}/events", f"{HERE}/services", "/apis/batch/v1/namespaces/default/jobs")
    job = without_missing_class(cluster, spec(nodes=2, gpus=8))
    assert job.runtime_class == "nvidia"
    assert follow(cluster, job)[0].exit_code is ExitCode.OK


def test_a_namespace_and_a_queue_that_may_not_be_read_are_taken_as_there() -> None:
    cluster = FakeCluster([])
    cluster.refuses["Job"] = ApiError(422, "no")  # so far it comes
    reading = cluster.get

    def get(path: str, query: Mapping[str, str] | None = None) -> dict[str, Any] | None:
        if path in (HERE, "/apis/batch.volcano.sh/v1alpha1", "/apis/scheduling.volcano.sh/v1beta1/queues/mine"):
            raise ApiError(403, "forbidden")
        return reading(path, query)

    cluster.get = get  # type: ignore[method-assign]
    (said,) = refused(cluster, spec(Launcher.VOLCANO, queue="mine"))
    assert said.startswith("job-refused: ")


def test_a_right_to_read_pods_that_is_missing_is_named() -> None:
    cluster = FakeCluster([pod(0)])
    cluster.forbidden = (f"{HERE}/pods",)
    assert refused(cluster, spec()) == ["job-forbidden: this kubeconfig may not list pods in namespace default"]
    assert cluster.posted == []


def test_a_right_to_make_objects_that_is_missing_is_named() -> None:
    cluster = FakeCluster([])
    cluster.refuses["Job"] = ApiError(403, f'{NO_RIGHT} "default"')
    with pytest.raises(GpuctlError) as caught:
        run_job(cluster, spec(), Following(), Silent())
    (problem,) = caught.value.problems
    assert (problem.code, problem.message) == (
        "job-forbidden",
        "this kubeconfig may not create jobs.batch in namespace default",
    )
    assert "kubectl -n default auth can-i create jobs.batch" in problem.fix
    assert problem.details.startswith("jobs.batch is forbidden")


def test_what_a_missing_right_leaves_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(making, "GONE_S", 0.02)
    cluster = FakeCluster([])
    cluster.refuses["Job"] = ApiError(403, NO_RIGHT)
    cluster.keeps[SERVICE] = EVER
    (said,) = refused(cluster, spec())
    assert said.endswith("; it could not be deleted: kubectl -n default delete services/train")


def test_a_quota_is_no_missing_right() -> None:
    cluster = FakeCluster([])
    cluster.refuses["Job"] = ApiError(403, 'jobs.batch "train" is forbidden: exceeded quota: q')
    (said,) = refused(cluster, spec())
    assert said.startswith("job-refused: Job default/train was refused: jobs.batch")


def test_a_right_that_is_taken_away_in_the_middle_is_named() -> None:
    cluster = FakeCluster([pod(0), pod(1)])

    def forbid() -> None:
        if not cluster.deleted:
            raise ApiError(403, "pods is forbidden")

    cluster.looked = forbid
    (problem,) = follow(cluster)[0].problems
    assert (problem.code, problem.message) == (
        "job-forbidden",
        "this kubeconfig may not list pods in namespace default",
    )


def test_an_api_that_does_not_answer_is_told_as_such() -> None:
    cluster = FakeCluster([])

    def get(_path: str, _query: Mapping[str, str] | None = None) -> dict[str, Any] | None:
        raise ApiError(500, "etcd")

    cluster.get = get  # type: ignore[method-assign]
    assert refused(cluster, spec()) == ["cluster-unreachable: etcd"]


def test_a_namespace_that_is_not_there() -> None:
    assert refused(FakeCluster(), spec(namespace="ml")) == ["job-namespace-unknown: there is no namespace ml"]


@pytest.mark.parametrize("launcher", [Launcher.VOLCANO, Launcher.PYTORCHJOB, Launcher.JOBSET])
def test_a_launcher_that_is_not_installed(launcher: Launcher) -> None:
    (said,) = refused(FakeCluster(), spec(launcher))
    assert said.startswith("job-launcher-missing: the cluster knows no ")


def test_a_runtime_class_that_is_not_there() -> None:
    cluster = FakeCluster()
    del cluster.there["/apis/node.k8s.io/v1/runtimeclasses/nvidia"]
    assert refused(cluster, spec()) == ["job-runtime-class-unknown: the cluster has no runtime class nvidia"]
    assert without_missing_class(cluster, spec()).runtime_class == ""
    assert without_missing_class(FakeCluster(), spec()) == spec()


def test_a_queue_that_volcano_does_not_know() -> None:
    cluster = FakeCluster()
    cluster.there["/apis/batch.volcano.sh/v1alpha1"] = {"resources": [{"name": "jobs"}]}
    assert refused(cluster, spec(Launcher.VOLCANO, queue="mine")) == ["job-queue-unknown: Volcano has no queue mine"]


@pytest.mark.parametrize(
    ("volcano", "queue", "said"),
    [
        (True, "nowhere", ["job-queue-unknown: Volcano has no queue nowhere"]),
        (True, "mine", []),
        (False, "nowhere", []),
    ],
)
def test_a_queue_of_a_pytorchjob_that_volcano_does_not_know(volcano: bool, queue: str, said: list[str]) -> None:
    """Its pods would wait for ever, where Volcano begins them; elsewhere nobody minds the queue."""
    cluster = FakeCluster()
    cluster.there["/apis/kubeflow.org/v1"] = {"resources": [{"name": "pytorchjobs"}]}
    if volcano:
        cluster.there["/apis/scheduling.volcano.sh/v1beta1"] = {"resources": [{"name": "queues"}]}
        cluster.there["/apis/scheduling.volcano.sh/v1beta1/queues/mine"] = {}
    job = spec(Launcher.PYTORCHJOB, queue=queue)
    assert [f"{problem.code}: {problem.message}" for problem in refusals(cluster, job, render(job))] == said
