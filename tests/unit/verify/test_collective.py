"""What the reports of an all-reduce come to, and how it is told."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from bootstrap.progress import Silent
from bootstrap.ui.verification import verify_screen
from bootstrap.verify.collective import Collective, all_reduce, judge
from tests.unit.jobs.cluster import FakeCluster, ended
from tests.unit.ui.screen_examples import verify_result

NODES = ("gpu1", "gpu2")


def said(node: str, **more: Any) -> dict[str, Any]:
    return {"gpuctl_collective": 1, "node": node, "sum_right": True, "bytes_per_s": 2e8, "error": "", **more}


GOOD = {0: said("gpu1"), 1: said("gpu2", bytes_per_s=1.25e8)}


def test_right_sums_everywhere() -> None:
    found = judge(NODES, GOOD, "", "")
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
            ("job-failed", "rank 0 ended with 1"),
            "collective-sum-wrong",
            "gpu2: the sum is wrong at place 3",
        ),
        ({}, ("job-pending", "rank 1 has no node"), "job-pending", "rank 1 has no node"),
        ({0: said("gpu1")}, ("", ""), "collective-failed", "1 ranks did not report"),
        ({**GOOD, 1: said("gpu2", sum_right=False)}, ("", ""), "collective-failed", "a rank has not the right sum"),
    ],
)
def test_what_failed_is_named(
    reports: Mapping[int, Mapping[str, Any]], job: tuple[str, str], code: str, words: str
) -> None:
    found = judge(NODES, reports, *job)
    assert (found.code, found.error) == (code, words)
    assert verify_screen(replace(verify_result(), collective=found))[-2] == f"all-reduce over 2 nodes: ✗ {words}"


def test_pods_go_to_every_node_in_a_namespace_of_their_own() -> None:
    line = '2026-11-23T10:00:00.1Z {"gpuctl_collective": 1, "sum_right": true, "bytes_per_s": 1000.0, "error": ""}\n'
    pods = [ended(rank, 0, "2026-11-23T10:00:01Z") for rank in (0, 1)]
    for rank in (0, 1):
        pods[rank]["metadata"]["name"] = f"all-reduce-{rank}-x"
    cluster = FakeCluster(pods, logs={f"all-reduce-{rank}-x": line for rank in (0, 1)})
    cluster.there["/api/v1/namespaces/gpuctl-verify-r1-ring"] = {}
    found = all_reduce(cluster, NODES, run_id="R1", image="python:3", timeout_s=30, progress=Silent())
    assert found == Collective(NODES, ranks=found.ranks)
    assert [rank.node for rank in found.ranks] == ["gpu1", "gpu2"]
    job = cluster.there["/apis/batch/v1/namespaces/gpuctl-verify-r1-ring/jobs/all-reduce"]["spec"]["template"]["spec"]
    terms = job["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"]
    assert terms[0]["matchExpressions"][0]["values"] == ["gpu1", "gpu2"]
    assert job["containers"][0]["securityContext"]["runAsNonRoot"]
    assert "nvidia" not in str(job)
    assert cluster.deleted == ["/api/v1/namespaces/gpuctl-verify-r1-ring"]


def test_with_pytorch_pods_take_the_gpus_of_their_nodes() -> None:
    cluster = FakeCluster([ended(rank, 0, "2026-11-23T10:00:01Z") for rank in (0, 1)])
    cluster.there["/api/v1/namespaces/gpuctl-verify-r1-ring"] = {}
    all_reduce(cluster, NODES, run_id="R1", image="torch:2", timeout_s=30, progress=Silent(), torch_gpus=8)
    job = cluster.there["/apis/batch/v1/namespaces/gpuctl-verify-r1-ring/jobs/all-reduce"]["spec"]["template"]["spec"]
    container = job["containers"][0]
    assert container["resources"]["limits"]["nvidia.com/gpu"] in {8, "8"}
    assert "torch_collective.py" in str(container)


def test_the_transport_is_what_the_ranks_report() -> None:
    reports = {rank: {**report, "transport": "nccl"} for rank, report in GOOD.items()}
    assert judge(NODES, reports, "", "").transport == "nccl"
