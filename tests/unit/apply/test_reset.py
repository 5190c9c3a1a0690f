"""What reset decides around the playbook: who acts, what is locked, and what it may claim at the end."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from bootstrap.apply import reset as module
from bootstrap.apply.events import HostRun
from bootstrap.apply.execute import Execution
from bootstrap.apply.lock import LockWatch
from bootstrap.apply.requests import ResetRequest
from bootstrap.apply.results import HostOutcome, Outcome
from bootstrap.apply.view import SilentView
from bootstrap.errors import Problem
from bootstrap.exit_codes import ExitCode
from bootstrap.inventory.model import Inventory
from bootstrap.probe.facts import ClusterTraces, HostFacts, KubeFacts, ProbeResult, Unreachable
from bootstrap.rundir import RunDirectory
from tests.unit.factories import host_facts, inventory, minikube_inventory, node

HA = inventory({"cp1": "198.51.100.1", "cp2": "198.51.100.2"}, {"gpu1": "198.51.100.11"})
RECEIPTS = {"kubeadm": {"state": "complete"}}


def holder(name: str, ca: str = "sha256:a", **changes: Any) -> HostFacts:
    traces = ClusterTraces(admin_conf=True, kubelet_conf=True, etcd_data=True, ca_hash=ca)
    kube = KubeFacts(nodes=tuple(node(n) for n in ("cp1", "cp2", "gpu1")))
    return host_facts(name, cluster=traces, kube=kube, **{"receipts": RECEIPTS, **changes})


def lab(**changes: ProbeResult) -> dict[str, ProbeResult]:
    worker = host_facts("gpu1", receipts=RECEIPTS)
    return {"cp1": holder("cp1"), "cp2": holder("cp2"), "gpu1": worker, **changes}


def facts_of(probes: Mapping[str, ProbeResult]) -> dict[str, HostFacts]:
    return {name: probe for name, probe in probes.items() if isinstance(probe, HostFacts)}


class World:
    """Stands in for hosts and Ansible."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        self.probes = [lab()]
        self.locked: set[str] = set()
        self.waited = 0
        self.stopped = False
        self.inventory: dict[str, Any] = {}
        self.request = ResetRequest(
            Path("lab.ini"), RunDirectory.create("reset", root=tmp_path), tmp_path / "kubeconfig", yes=True
        )
        monkeypatch.setattr(module, "load_inventory", lambda _: HA)
        monkeypatch.setattr(module, "probe_hosts", self._probe)
        monkeypatch.setattr(module, "hold_locks", self._lock)
        monkeypatch.setattr(module, "execute", self._execute)
        monkeypatch.setattr(module, "wait_for_leftovers", self._wait)
        monkeypatch.setattr(module, "sweep_private_directories", lambda: None)
        self.removed: list[str] = []
        monkeypatch.setattr(module, "remove", self._remove)

    def _probe(self, *_: object) -> dict[str, ProbeResult]:
        return self.probes.pop(0) if len(self.probes) > 1 else self.probes[0]

    @contextmanager
    def _lock(self, _inventory: Inventory, _access: object, _run: str, hosts: Collection[str]) -> Iterator[LockWatch]:
        self.locked = set(hosts)
        yield LockWatch()

    def _remove(self, _path: Path, name: str) -> bool:
        self.removed.append(name)
        return True

    def _wait(self, *_: object) -> None:
        self.waited += 1

    def _execute(self, _playbook: str, _private: Path, inventory_file: Path, *_: object, **__: object) -> Execution:
        text = inventory_file.read_text().replace("!unsafe", "")
        self.inventory = yaml.safe_load(text)["all"]
        runs = {
            name: HostRun([] if self.stopped else list(values["gpuctl_steps"]))
            for name, values in self.inventory["hosts"].items()
        }
        return Execution("successful", runs, (), self.stopped)

    def reset(self, *limit: str) -> Any:
        return module.reset(dataclasses.replace(self.request, limit=limit), SilentView())


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> World:
    return World(monkeypatch, tmp_path)


def test_a_whole_reset_takes_the_context_out(world: World) -> None:
    result = world.reset()
    assert (result.exit_code, result.kubeconfig_removed) == (ExitCode.OK, "gpuctl-" + HA.cluster_name)
    assert world.locked == {"cp1", "cp2", "gpu1"}


def test_a_stopped_reset_keeps_the_context_and_says_so(world: World) -> None:
    world.stopped = True
    result = world.reset()
    assert (result.exit_code, result.kubeconfig_removed, world.removed) == (ExitCode.INTERRUPTED, None, [])
    assert [problem.code for problem in result.problems] == ["interrupted"]


def test_work_that_an_earlier_run_left_is_waited_for_and_steps_are_decided_afterwards(world: World) -> None:
    busy = lab(gpu1=host_facts("gpu1", unfinished=("apt-get",)))
    world.probes = [busy, busy, lab()]
    world.reset()
    assert world.waited == 1
    assert world.inventory["hosts"]["gpu1"]["gpuctl_steps"] == ["kubeadm"], "its receipt came while we waited"


def test_only_hosts_that_answer_are_locked(world: World) -> None:
    world.probes = [lab(gpu1=Unreachable("gpu1", "unreachable", "no answer", "start it"))]
    assert world.reset("cp2").exit_code is ExitCode.OK
    assert world.locked == {"cp1", "cp2"}


def test_the_acting_control_plane_is_one_that_stays(world: World) -> None:
    world.reset("cp1")
    assert world.inventory["vars"]["gpuctl_seed"] == "cp2"
    assert world.inventory["vars"]["gpuctl_leaving_nodes"] == ["cp1"]


@pytest.mark.parametrize(("limit", "seed"), [(("cp2",), "cp1"), (("cp1",), "cp2"), ((), "cp1")])
def test_two_clusters_do_not_keep_reset_from_undoing_one(world: World, limit: tuple[str, ...], seed: str) -> None:
    world.probes = [lab(cp2=holder("cp2", ca="sha256:b"))]
    assert world.reset(*limit).exit_code is ExitCode.OK
    assert world.inventory["vars"]["gpuctl_seed"] == seed


def test_a_control_plane_that_stays_without_a_cluster_acts_for_none() -> None:
    seen = module.acting_view(HA, facts_of(lab(cp2=host_facts("cp2"))), {"cp1"})
    assert (seen.seed, seen.kube) == ("cp2", None)


def test_a_cluster_of_others_is_left_and_named(world: World) -> None:
    world.probes = [lab(gpu1=host_facts("gpu1", cluster=ClusterTraces(kubelet_conf=True)))]
    result = world.reset("gpu1")
    assert result.kept == ("gpu1: a cluster that gpuctl did not make; undo it with `kubeadm reset`",)


@pytest.mark.parametrize(
    ("ends", "failed", "stopped", "code"),
    [
        ((Outcome.DONE, Outcome.UNCHANGED), False, False, ExitCode.OK),
        ((Outcome.DONE, Outcome.STOPPED), False, False, ExitCode.STEP_FAILED),
        ((Outcome.NOT_STARTED,), False, False, ExitCode.STEP_FAILED),
        ((Outcome.DONE, Outcome.FAILED), True, False, ExitCode.PARTIAL),
        ((Outcome.FAILED,), True, False, ExitCode.STEP_FAILED),
        ((Outcome.DONE,), False, True, ExitCode.INTERRUPTED),
    ],
)
def test_exit_code(ends: tuple[Outcome, ...], failed: bool, stopped: bool, code: ExitCode) -> None:
    problems = (Problem("ansible-failed", "x"),) if failed else ()
    outcomes = [HostOutcome("h", end) for end in ends]
    assert module.exit_code_of(outcomes, Execution("successful", {}, problems, stopped)) is code


def test_a_node_that_an_interrupted_reset_left_is_forgotten(world: World) -> None:
    """Its host has nothing of the cluster any more, and no receipt."""
    world.probes = [lab(gpu1=host_facts("gpu1"))]
    assert world.reset("gpu1").exit_code is ExitCode.OK
    assert world.inventory["vars"]["gpuctl_leaving_nodes"] == ["gpu1"]


def test_a_node_that_somebody_else_made_is_not(world: World) -> None:
    world.probes = [lab(gpu1=host_facts("gpu1", cluster=ClusterTraces(kubelet_conf=True)))]
    assert world.reset("gpu1").kept == ("gpu1: a cluster that gpuctl did not make; undo it with `kubeadm reset`",)
    assert world.inventory == {}, "Ansible was not started"


def test_a_minikube_host_loses_its_roles_and_no_cluster_its_context(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The context of minikube's cluster is minikube's; that of the same name is another cluster's."""
    receipts = {name: {"state": "complete"} for name in ("kube_host", "docker", "minikube")}
    monkeypatch.setattr(module, "load_inventory", lambda _: minikube_inventory())
    world.probes = [{"box": host_facts("box", receipts=receipts)}]
    done = world.reset()
    assert done.exit_code is ExitCode.OK
    assert world.inventory["hosts"]["box"]["gpuctl_steps"] == ["minikube", "docker", "kube_host"]
    assert list(world.inventory["children"]["minikube"]["hosts"]) == ["box"]
    assert world.removed == []
    world.probes = [{"box": host_facts("box")}]
    assert world.reset().exit_code is ExitCode.OK
    assert world.removed == []
