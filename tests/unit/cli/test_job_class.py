"""The runtime class of the pods of `gpuctl job run`: the option, the inventory's, the usual one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from bootstrap.cli.main import main
from bootstrap.exit_codes import ExitCode
from bootstrap.jobs.run import JobResult
from bootstrap.jobs.spec import JobSpec
from tests.unit.jobs.cluster import FakeCluster

JOB = ("--image", "torch:2", "--", "true")
Ran = Callable[..., str]


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> Ran:
    """Run the command on a cluster with these classes; that of the job."""

    def set_up(*words: str, classes: tuple[str, ...] = ("nvidia", "gpu")) -> str:
        cluster = FakeCluster()
        cluster.there = {f"/apis/node.k8s.io/v1/runtimeclasses/{name}": {} for name in classes}
        specs: list[JobSpec] = []

        @contextmanager
        def reached(*_: object) -> Iterator[FakeCluster]:
            yield cluster

        def stand_in(_cluster: FakeCluster, spec: JobSpec, *_: object) -> JobResult:
            specs.append(spec)
            return JobResult(ExitCode.OK, spec.name, spec.namespace, str(spec.launcher), (), 1.0)

        monkeypatch.setattr("bootstrap.kube.reach.answering_api", reached)
        monkeypatch.setattr("bootstrap.jobs.run.run_job", stand_in)
        assert main(["job", "run", *words, *JOB]) == 0
        return specs[0].runtime_class

    return set_up


@pytest.fixture
def inventory(tmp_path: Path) -> str:
    path = tmp_path / "lab.ini"
    hosts = "[control_plane]\ncp1 ansible_host=10.0.0.1\n[workers]\ngpu1 ansible_host=10.0.0.2\n"
    path.write_text(f"{hosts}[all:vars]\nansible_user=ops\nnvidia_device_plugin_runtime_class=gpu\n")
    return str(path)


def test_the_class_is_the_inventorys_where_no_other_is_named(ran: Ran, inventory: str) -> None:
    assert ran("-i", inventory) == "gpu"
    assert ran("-i", inventory, "--runtime-class", "nvidia") == "nvidia"
    assert ran("-i", inventory, "--runtime-class", "") == ""
    assert ran() == "nvidia"


def test_a_class_that_is_left_out_is_told(ran: Ran, inventory: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert ran("-i", inventory, classes=("nvidia",)) == ""
    words = "the cluster has no runtime class gpu: its pods get the nodes' own"
    assert words in "".join(capsys.readouterr())
    assert ran("-i", inventory, "--gpus", "0", classes=()) == "gpu"
    assert "runtime class" not in "".join(capsys.readouterr())
