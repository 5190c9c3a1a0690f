"""What of an all-reduce, and of a cluster that cannot be asked, becomes the command's problem."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from bootstrap.errors import GpuctlError, Problem
from bootstrap.exit_codes import ExitCode
from bootstrap.kube.client import Cluster
from bootstrap.probe.facts import Unreachable
from bootstrap.progress import Silent
from bootstrap.rundir import RunDirectory
from bootstrap.ui.verification import verify_screen
from bootstrap.verify import run as verifying
from bootstrap.verify.collective import Collective
from bootstrap.verify.requests import VerifyRequest
from bootstrap.verify.results import LAYERS, LayerResult, LayerState, NodeResult, VerifyResult
from bootstrap.verify.run import ring_problem
from tests.unit.factories import host_facts, inventory
from tests.unit.verify.test_layers import healthy

SETTINGS = {"cluster_python_image": "python:3", "nvidia_device_plugin_runtime_class": "gpu"}


def test_a_failed_all_reduce_keeps_its_fix_and_last_lines() -> None:
    ring = Collective(("gpu1", "gpu2"), code="job-failed", error="rank 0 ended", fix="see below", details="Traceback")
    words = "all-reduce over 2 nodes: rank 0 ended"
    assert ring_problem(ring) == Problem("job-failed", words, "see below", details="Traceback")


def asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, gpus: dict[str, int], **request: Any) -> tuple[Any, Any]:
    """What the all-reduce is asked for, None when it is not; and what came of it."""
    calls: list[dict[str, Any]] = []

    def stand_in(_cluster: Cluster, nodes: list[str], **options: Any) -> Collective:
        calls.append({"nodes": nodes, **options})
        return Collective(tuple(nodes))

    monkeypatch.setattr(verifying, "all_reduce", stand_in)
    run = RunDirectory.create("verify-gpus", root=tmp_path)
    given = VerifyRequest(inventory=tmp_path, run=run, collective=True, **request)
    found = verifying._all_reduce(Cluster(None), given, gpus, SETTINGS, Silent())
    return (calls[0] if calls else None), found


def test_the_all_reduce_has_the_runtime_class_of_the_inventory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    options, _ = asked(monkeypatch, tmp_path, {"gpu1": 8, "gpu2": 4}, collective_image="torch:2")
    assert (options["runtime_class"], options["torch_gpus"], options["image"]) == ("gpu", 4, "torch:2")


def test_a_node_without_gpus_is_named_and_not_added_up_by_tcp(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    gpus = {"gpu1": 8, "gpu2": 0, "gpu3": 0}
    options, found = asked(monkeypatch, tmp_path, gpus, collective_image="torch:2")
    assert options is None
    assert found.code == "allocatable-short"
    assert found.error == "pods can ask for no GPU on gpu2, gpu3"
    assert "--limit" in found.fix


def test_by_tcp_nodes_without_gpus_take_part(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    options, _ = asked(monkeypatch, tmp_path, {"gpu1": 8, "gpu2": 0})
    assert (options["nodes"], options["torch_gpus"]) == (["gpu1", "gpu2"], 0)


@pytest.mark.parametrize(("code", "named"), [("kubeconfig-refused", True), ("cluster-unreachable", False)])
def test_a_refused_kubeconfig_is_no_absent_plugin(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, code: str, named: bool
) -> None:
    problem = Problem(code, "its user has `exec`", "compare it", "cp1")

    def refuse(*_: object) -> None:
        raise GpuctlError(ExitCode.NOT_READY, problem)

    monkeypatch.setattr(verifying, "cluster_api", refuse)
    given = VerifyRequest(inventory=tmp_path, run=RunDirectory.create("verify-gpus", root=tmp_path))
    with pytest.raises(GpuctlError, match="exec") if named else nullcontext():
        lab = inventory({"cp1": "192.0.2.1"}, {})
        evidence, _, _ = verifying._ask_cluster(given, lab, "cp1", {"gpu1": healthy()}, Silent())
        assert (evidence["gpu1"].node, evidence["gpu1"].api_error) == (None, problem.message)


@pytest.mark.parametrize(
    ("options", "code", "hosts"),
    [
        ({}, ExitCode.NOT_READY, ["gpu1", "gpu2"]),
        ({"skip_unreachable": True}, ExitCode.OK, ["gpu1"]),
        ({"limit": ("gpu1",)}, ExitCode.OK, ["gpu1"]),
    ],
)
def test_a_dead_host_is_one_finding_and_the_others_are_verified(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, options: dict[str, Any], code: ExitCode, hosts: list[str]
) -> None:
    lab = inventory({"cp1": "198.51.100.10"}, {"gpu1": "198.51.100.11", "gpu2": "198.51.100.12"})
    dead = Unreachable("gpu2", "unreachable", "no route to host", "start it")
    probes = {"cp1": host_facts("cp1"), "gpu1": host_facts("gpu1", gpus=2), "gpu2": dead}
    passed = NodeResult("gpu1", True, {layer: LayerResult(LayerState.OK) for layer in LAYERS})
    monkeypatch.setattr(verifying, "probe_hosts", lambda *_: probes)
    monkeypatch.setattr(verifying, "_verify", lambda *_: VerifyResult(ExitCode.OK, "lab", (passed,), 1.0))
    given = VerifyRequest(inventory=tmp_path, run=RunDirectory.create("verify-gpus", root=tmp_path), **options)
    result = verifying.verify_nodes(lab, given, Silent())
    assert (result.exit_code, [node.host for node in result.nodes]) == (code, hosts)
    assert [problem.code for problem in result.problems] == ["unreachable"] * (len(hosts) - 1)
    assert [layer.state for node in result.nodes[1:] for layer in node.layers.values()].count(LayerState.FAILED) == (
        len(hosts) - 1
    )
    assert ("; not reached: gpu2" in verify_screen(result)[-1]) is (len(hosts) == 2)


def test_no_gpu_is_missing_where_its_host_is_away(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    lab = inventory({"cp1": "198.51.100.10"}, {"gpu1": "198.51.100.11"})
    probes = {"cp1": host_facts("cp1"), "gpu1": Unreachable("gpu1", "unreachable", "no route to host", "start it")}
    monkeypatch.setattr(verifying, "probe_hosts", lambda *_: probes)
    given = VerifyRequest(inventory=tmp_path, run=RunDirectory.create("verify-gpus", root=tmp_path))
    with pytest.raises(GpuctlError) as raised:
        verifying.verify_nodes(lab, given, Silent())
    assert (raised.value.exit_code, [p.code for p in raised.value.problems]) == (ExitCode.NOT_READY, ["unreachable"])
