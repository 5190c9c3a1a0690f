"""What the reports of an all-reduce come to, and how it is told."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from bootstrap.errors import Problem
from bootstrap.jobs import run as running
from bootstrap.progress import Silent
from bootstrap.ui.verification import verify_screen
from bootstrap.verify import collective
from bootstrap.verify.collective import RING_FIX, Collective, all_reduce, judge
from bootstrap.verify.compute import LIVES
from tests.unit.jobs.cluster import FakeCluster, ended, pod, taken, unplaced
from tests.unit.ui.screen_examples import verify_result

NODES = ("gpu1", "gpu2")
T1 = "2026-11-23T10:00:01Z"
JOBS = "/apis/batch/v1/namespaces/gpuctl-verify-r1-ring/jobs"
NAMESPACE = "/api/v1/namespaces/gpuctl-verify-r1-ring"


@pytest.fixture(autouse=True)
def _quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    hurried = SimpleNamespace(monotonic=time.monotonic, sleep=lambda _seconds: time.sleep(0.001))
    monkeypatch.setattr(running, "time", hurried)


class Ring(FakeCluster):
    """Has the pods of a job once that is made: `pods` by job, those of any other `usual`; `says` by rank."""

    def __init__(
        self, usual: list[dict[str, Any]], says: Mapping[int, str] | None = None, **pods: list[dict[str, Any]]
    ) -> None:
        super().__init__()
        self.usual, self.pods = usual, pods
        self.logs = {f"train-{rank}-abc": f"2026-11-23T10:00:00.1Z {line}\n" for rank, line in (says or {}).items()}
        self.there[NAMESPACE] = {}
        self.namespace: dict[str, Any] = {}

    def call(self, method: str, path: str, **options: Any) -> dict[str, Any] | None:
        if path == "/api/v1/namespaces":
            self.namespace = options["body"]["metadata"]
        return super().call(method, path, **options)

    def get(self, path: str, query: Mapping[str, str] | None = None) -> dict[str, Any] | None:
        if not path.endswith("/pods"):
            return super().get(path, query)
        job = (query or {}).get("labelSelector", "").rpartition("=")[2]
        made = f"{JOBS}/{job}" in self.there
        return {"items": self.pods.get(job, self.usual) if made else []}

    def job(self, name: str = "all-reduce") -> dict[str, Any]:
        found: dict[str, Any] = self.there[f"{JOBS}/{name}"]["spec"]
        return found


def over(cluster: FakeCluster, **more: Any) -> Collective:
    given = {"run_id": "R1", "image": "python:3", "timeout_s": 30, "progress": Silent(), "runtime_class": "nvidia"}
    return all_reduce(cluster, NODES, **{**given, **more})


def said(node: str, **more: Any) -> dict[str, Any]:
    return {"gpuctl_collective": 1, "node": node, "sum_right": True, "bytes_per_s": 2e8, "error": "", **more}


GOOD = {0: said("gpu1"), 1: said("gpu2", bytes_per_s=1.25e8)}


def test_right_sums_everywhere() -> None:
    found = judge(NODES, GOOD, None)
    assert (found.code, found.slowest) == ("", 1.25e8)
    assert verify_screen(replace(verify_result(), collective=found))[-2] == (
        "all-reduce over 2 nodes: ✓ right sum, slowest link 125 MB/s each way (tcp)"
    )


@pytest.mark.parametrize(
    ("reports", "job", "code", "words"),
    [
        (
            {
                0: said("gpu1", sum_right=False, code="collective-rank-lost", error="rank 1 ended in the middle"),
                1: said("gpu2", sum_right=False, code="collective-sum-wrong", error="the sum is wrong at place 3"),
            },
            Problem("job-failed", "rank 0 ended with 1", "its last lines are below"),
            "collective-sum-wrong",
            "gpu2: the sum is wrong at place 3",
        ),
        ({}, Problem("job-pending", "rank 1 has no node", "ask for less"), "job-pending", "rank 1 has no node"),
        ({0: said("gpu1")}, None, "collective-failed", "1 ranks did not report"),
        ({**GOOD, 1: said("gpu2", sum_right=False)}, None, "collective-failed", "a rank has not the right sum"),
    ],
)
def test_what_failed_is_named(
    reports: Mapping[int, Mapping[str, Any]], job: Problem | None, code: str, words: str
) -> None:
    found = judge(NODES, reports, job)
    assert (found.code, found.error) == (code, words)
    assert verify_screen(replace(verify_result(), collective=found))[-2] == f"all-reduce over 2 nodes: ✗ {words}"


@pytest.mark.parametrize(
    ("code", "fix"),
    [
        ("collective-rank-missing", RING_FIX),
        ("collective-rank-lost", RING_FIX),
        ("collective-rank-silent", RING_FIX),
        ("collective-sum-wrong", "look at memory and network of the nodes"),
        ("collective-failed", "look at what it says"),
    ],
)
def test_the_network_is_to_blame_for_a_broken_ring_only(code: str, fix: str) -> None:
    assert judge(NODES, {0: said("gpu1", code=code, error="words")}, None).fix == fix


def test_a_program_that_knows_what_mends_it_says_so() -> None:
    report = said("gpu1", code="collective-failed", error="the image has no torch", fix="name another")
    assert judge(NODES, {0: report}, Problem("job-failed", "rank 0 ended with 1", "look")).fix == "name another"


def lacking(rank: int, program: str) -> dict[str, Any]:
    """A pod whose image has no such program."""
    words = f'exec: "{program}": executable file not found in $PATH'
    return ended(rank, 128, T1, reason="StartError", message=words)


LOST = '{"gpuctl_collective": 1, "error": "rank 1 ended in the middle", "code": "collective-rank-lost"}'
NONE_FREE = "0/2 nodes are available: 2 Insufficient nvidia.com/gpu."


@pytest.mark.parametrize(
    ("pods", "says", "code", "words", "fix"),
    [
        ([unplaced(0, NONE_FREE), unplaced(1, NONE_FREE)], {}, "job-pending", "GPUs free", "give it what it waits for"),
        ([lacking(0, "python3"), lacking(1, "python3")], {}, "job-failed", "no python3", "set cluster_python_image"),
        # What a neighbour says of a rank that was taken away is no matter of the network.
        ([ended(0, 1, T1), taken(1, "EvictionByEvictionAPI")], {0: LOST}, "job-failed", "drained", "look at the node"),
        ([ended(0, 1, T1), ended(1, 1, T1)], {0: LOST, 1: LOST}, "collective-rank-lost", "gpu1: rank 1", RING_FIX),
    ],
)
def test_what_kept_the_job_from_its_end_has_its_own_fix(
    pods: list[dict[str, Any]], says: Mapping[int, str], code: str, words: str, fix: str
) -> None:
    found = over(Ring(pods, says), timeout_s=0.01)
    assert found.code == code
    assert words in found.error
    assert found.fix.startswith(fix)


def test_pods_with_gpus_are_of_the_runtime_class_of_the_cluster() -> None:
    cluster = Ring([ended(rank, 0, T1) for rank in (0, 1)])
    cluster.there["/apis/node.k8s.io/v1/runtimeclasses/gpu"] = {}
    over(cluster, torch_gpus=8, runtime_class="gpu")
    assert cluster.job()["template"]["spec"]["runtimeClassName"] == "gpu"
    assert "runtimeClassName" not in cluster.job("pull")["template"]["spec"]


def test_a_runtime_class_that_is_not_there_is_mended_by_the_inventory() -> None:
    found = over(Ring([ended(rank, 0, T1) for rank in (0, 1)]), torch_gpus=8, runtime_class="gpu")
    assert (found.code, found.error) == ("job-runtime-class-unknown", "the cluster has no runtime class gpu")
    assert found.fix.startswith("correct nvidia_device_plugin_runtime_class")


def test_an_image_that_has_no_name_is_a_finding_of_the_all_reduce() -> None:
    found = over(Ring([]), image="a b")
    assert (found.code, found.fix) == ("job-invalid", "name one as registry/name:tag")


class Told(Silent):
    """Keeps what the steps do, and how they ended."""

    def __init__(self) -> None:
        self.ends: list[tuple[str, str]] = []
        self.said: list[str] = []

    def task(self, host: str, step: str, title: str) -> None:
        self.said.append(f"{host} {step}: {title}")

    def note(self, message: str) -> None:
        self.said.append(message)

    def done(self, host: str, step: str, elapsed: float) -> None:
        self.ends.append((host, step if elapsed >= 0 else ""))

    def failed(self, host: str, step: str, message: str) -> None:
        self.ends.append((host, f"{step}: {message}"))


def test_an_all_reduce_that_failed_is_not_shown_as_done() -> None:
    told = Told()
    over(Ring([unplaced(0, "taints"), unplaced(1, "taints")]), timeout_s=0.01, progress=told)
    assert [host for host, end in told.ends if end.startswith("all-reduce: after 0 s 0 of 2 ranks")] == list(NODES)


def test_pods_go_to_every_node_in_a_namespace_of_their_own() -> None:
    line = '{"gpuctl_collective": 1, "sum_right": true, "bytes_per_s": 1000.0, "error": ""}'
    cluster = Ring([ended(rank, 0, T1) for rank in (0, 1)], {0: line, 1: line})
    told = Told()
    found = over(cluster, progress=told)
    assert found == Collective(NODES, ranks=found.ranks)
    assert [rank.node for rank in found.ranks] == ["gpu1", "gpu2"]
    assert told.ends == [("gpu1", "all-reduce"), ("gpu2", "all-reduce")]
    job = cluster.job()["template"]["spec"]
    terms = job["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"]
    assert terms[0]["matchExpressions"][0]["values"] == ["gpu1", "gpu2"]
    assert job["containers"][0]["securityContext"]["runAsNonRoot"]
    assert "nvidia" not in str(job)
    assert cluster.deleted == [NAMESPACE]


def test_with_pytorch_pods_take_the_gpus_of_their_nodes() -> None:
    cluster = Ring([ended(rank, 0, T1) for rank in (0, 1)])
    over(cluster, image="torch:2", torch_gpus=8)
    container = cluster.job()["template"]["spec"]["containers"][0]
    assert container["resources"]["limits"]["nvidia.com/gpu"] in {8, "8"}
    assert "torch_collective.py" in str(container)


def test_the_image_is_on_all_nodes_before_the_ranks_wait_for_one_another() -> None:
    """A node that has it already must not take one that still pulls it for silent, nor hold its GPUs meanwhile."""
    cluster = Ring([ended(rank, 0, T1) for rank in (0, 1)])
    told = Told()
    over(cluster, image="torch:2", torch_gpus=8, timeout_s=300, progress=told)
    pull = cluster.job("pull")
    assert pull["activeDeadlineSeconds"] > collective.PULL_S
    assert list(cluster.there).index(f"{JOBS}/pull") < list(cluster.there).index(f"{JOBS}/all-reduce")
    pod = pull["template"]["spec"]
    assert (pod["containers"][0]["image"], "nvidia" in str(pull)) == ("torch:2", False)
    assert pod["containers"][0]["command"] == ["python3", "-c", ""]
    assert told.said[:2] == ["gpu1 all-reduce: pull torch:2", "gpu2 all-reduce: pull torch:2"]
    # Whoever cleans up after killed runs leaves it alone while its pods may live.
    assert int(cluster.namespace["annotations"][LIVES]) > collective.PULL_S + 2 * 300
    # The ranks may begin as late as they may take, and then have all of their time.
    assert cluster.job()["activeDeadlineSeconds"] > 2 * 300


def test_the_usual_image_was_pulled_to_compute() -> None:
    cluster = Ring([ended(rank, 0, T1) for rank in (0, 1)])
    over(cluster)
    assert f"{JOBS}/pull" not in cluster.there


def event(reason: str, rank: int, second: int, kind: str = "Normal") -> dict[str, Any]:
    name = f"train-{rank}-abc"
    at = f"2026-11-23T10:00:{second:02}Z"
    return {"type": kind, "reason": reason, "involvedObject": {"kind": "Pod", "name": name}, "lastTimestamp": at}


@pytest.mark.parametrize(
    ("events", "waits"),
    [
        ([event("Pulling", 0, 2), event("Scheduled", 0, 1)], True),
        ([event("FailedCreatePodSandBox", 1, 1, "Warning"), event("Pulling", 1, 2)], True),
        ([event("Pulling", 0, 1), event("Pulled", 0, 2)], True),
        ([event("Pulling", 0, 1), event("Failed", 0, 2, "Warning")], False),
        ([event("FailedCreatePodSandBox", 0, 1, "Warning")], False),
        ([], False),
    ],
)
def test_an_image_that_is_being_pulled_has_more_time_than_the_all_reduce(
    events: list[dict[str, Any]], waits: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(collective, "PULL_S", 0.5)
    cluster = Ring([pod(rank, "Pending", waiting={"reason": "ContainerCreating"}) for rank in (0, 1)])
    cluster.events = events
    begun = time.monotonic()
    found = over(cluster, torch_gpus=8, timeout_s=0.01)
    assert (found.code, time.monotonic() - begun > 0.5) == ("job-pending", waits)


def test_an_image_that_cannot_be_pulled_is_told_while_it_is_tried_again() -> None:
    refused = {"waiting": {"reason": "ImagePullBackOff", "message": "not found"}}
    told = Told()
    begun = time.monotonic()
    pods = [pod(rank, "Pending", **refused) for rank in (0, 1)]
    found = over(Ring(pods), torch_gpus=8, timeout_s=0.1, progress=told)
    assert (found.code, time.monotonic() - begun < 60) == ("job-pending", True)
    assert "the image cannot be pulled on gpu1: not found" in found.error
    assert "waits: the image cannot be pulled on gpu1: not found" in told.said


def test_a_program_that_the_image_lacks_is_found_by_pulling_it() -> None:
    found = over(Ring([], pull=[lacking(0, "python3"), lacking(1, "python3")]), torch_gpus=8)
    assert (found.error, found.fix) == (
        "rank 0 on gpu1: the image has no python3",
        "name a --collective-image that has it",
    )


@pytest.mark.parametrize(
    ("transport", "slowest", "words"),
    [
        ("tcp", 1.25e8, "slowest link 125 MB/s each way (tcp)"),
        ("gloo", 1.25e8, "bus bandwidth 125 MB/s (gloo)"),
        ("nccl", 3.625e11, "bus bandwidth 362.5 GB/s (nccl)"),
    ],
)
def test_what_was_measured_depends_on_the_transport(transport: str, slowest: float, words: str) -> None:
    """That of a bus is reckoned from the time of the whole; only by TCP each link is measured."""
    reports = {rank: {**report, "transport": transport, "bytes_per_s": slowest} for rank, report in GOOD.items()}
    found = judge(NODES, reports, None)
    assert found.transport == transport
    line = verify_screen(replace(verify_result(), collective=found))[-2]
    assert line == f"all-reduce over 2 nodes: ✓ right sum, {words}"
