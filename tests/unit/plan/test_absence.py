"""One host that is dead: the others are planned for as they are, and nothing is decided from what is not known."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from bootstrap.errors import GpuctlError
from bootstrap.inventory.model import NFS_SERVER, Inventory
from bootstrap.plan.arguments import resolve_arguments
from bootstrap.plan.cluster_view import view_cluster
from bootstrap.plan.model import CLUSTER
from bootstrap.plan.planner import decide
from bootstrap.plan.survey import examine, refuse
from bootstrap.probe.facts import ClusterTraces, Drift, HostFacts, Unreachable
from tests.unit.plan.test_planner import ADDRESSES, bare, installed, lab, steps


def dead(name: str, code: str = "unreachable") -> Unreachable:
    return Unreachable(name, code, "no route to host", "start it")


def without(facts: dict[str, HostFacts], *names: str) -> dict[str, HostFacts]:
    return {name: found for name, found in facts.items() if name not in names}


def planes(*names: str) -> Inventory:
    """The lab with these hosts as its control planes."""
    hosts = [
        replace(host, groups=frozenset({"control_plane" if host.name in names else "workers"})) for host in lab().hosts
    ]
    return Inventory(Path("lab.ini"), tuple(hosts))


@pytest.mark.parametrize("name", ["gpu1", "gpu2"])
def test_a_dead_worker_changes_nothing_for_the_others(name: str) -> None:
    decision = decide(lab(), without(installed(lab(), bare()), name))
    assert (steps(decision), decision.plan.extra, decision.plan.waiting) == ([], (), ())


def test_the_only_host_with_gpus_may_be_dead() -> None:
    facts = bare()
    facts["gpu1"] = replace(facts["gpu1"], gpus=())
    decision = decide(lab(), without(installed(lab(), facts), "gpu2"))
    assert (steps(decision), decision.plan.extra) == ([], ())


def test_a_dead_host_is_known_by_its_nodes_address_as_well() -> None:
    facts = installed(lab(), bare())
    kube = facts["cp1"].kube
    assert kube is not None
    renamed = tuple(replace(node, name="rack7") if node.name == "gpu2" else node for node in kube.nodes)
    facts["cp1"] = replace(facts["cp1"], kube=replace(kube, nodes=renamed))
    assert decide(lab(), without(facts, "gpu2")).plan.extra == ()
    assert decide(planes("cp1"), without(facts, "gpu1")).plan.extra == ("rack7: in the cluster, not in the inventory",)


def test_what_others_need_is_still_planned() -> None:
    facts = installed(lab(), bare())
    facts["gpu1"] = replace(facts["gpu1"], drift={"containerd": (Drift("file", "/etc/containerd/config.toml", "x"),)})
    assert steps(decide(lab(), without(facts, "gpu2"))) == [("gpu1", "containerd", "repair")]


def test_nodes_keep_their_mounts_while_they_are_off() -> None:
    facts = installed(lab(), bare())
    wanted = lab()
    hosts = tuple(replace(h, groups=h.groups | {NFS_SERVER}) if h.name == "cp1" else h for h in wanted.hosts)
    wanted = replace(wanted, hosts=hosts)
    facts = installed(wanted, facts)
    left = without(facts, "gpu2")
    values = resolve_arguments(wanted, left, view_cluster(wanted, left)).by_host["cp1"]
    assert values["nfs_server_clients"] == sorted(ADDRESSES.values())


def test_other_control_planes_are_left_alone_while_one_is_gone() -> None:
    wanted = planes("cp1", "gpu1")
    facts = installed(wanted, bare())
    facts["cp1"] = replace(facts["cp1"], drift={"containerd": (Drift("file", "/etc/containerd/config.toml", "x"),)})
    decision = decide(wanted, without(facts, "gpu1"))
    assert steps(decision) == []
    assert [line.split(" (")[0] for line in decision.plan.waiting] == ["cp1: containerd, until gpu1 can be reached"]
    assert steps(decide(wanted, facts)) == [("cp1", "containerd", "repair")]


def test_the_endpoint_stays_where_it_is_while_its_host_is_gone() -> None:
    wanted = planes("cp1", "gpu1")
    facts = installed(wanted, bare())
    kube = facts["cp1"].kube
    facts["gpu1"] = replace(
        facts["gpu1"], kube=kube, cluster=ClusterTraces(admin_conf=True, etcd_data=True, ca_hash="sha256:aa")
    )
    assert steps(decide(wanted, without(facts, "cp1"))) == []


@pytest.mark.parametrize("code", ["unreachable", "host-key-changed", "auth-failed", "sudo-denied", "probe-failed"])
def test_a_cluster_that_answers_goes_on_without_a_host(code: str) -> None:
    survey = examine(lab(), {**installed(lab(), bare()), "gpu1": dead("gpu1", code)})
    assert (survey.problems, [(p.host, p.code) for p in survey.absent]) == ((), [("gpu1", code)])
    assert survey.absent[0].fix == "start it; to leave it out of this run: --skip-unreachable"
    assert survey.decision is not None
    assert survey.decision.plan.empty


@pytest.mark.parametrize(
    ("host", "code", "refused"),
    [
        ("gpu1", "unreachable", False),
        ("gpu1", "auth-failed", True),
        ("gpu1", "host-key-unknown", True),
        ("cp1", "unreachable", True),
    ],
)
def test_a_new_cluster_needs_its_control_planes_and_settings_that_reach_all(
    host: str, code: str, refused: bool
) -> None:
    survey = examine(lab(), {**bare(), host: dead(host, code)})
    assert bool(survey.problems) is refused
    assert bool(survey.absent) is not refused


def test_the_second_control_plane_of_a_new_cluster_is_needed_too() -> None:
    survey = examine(planes("cp1", "gpu1"), {**bare(), "gpu1": dead("gpu1")})
    assert [problem.code for problem in survey.problems] == ["unreachable"]
    with pytest.raises(GpuctlError):
        refuse(survey.problems)


def test_a_dead_control_plane_whose_cluster_does_not_answer_stops_everything() -> None:
    wanted = planes("cp1", "gpu1")
    facts = installed(wanted, bare())
    facts["cp1"] = replace(facts["cp1"], kube=None)
    survey = examine(wanted, {**facts, "gpu1": dead("gpu1")})
    assert "gpu1" in {problem.host for problem in survey.problems}


def test_the_clusters_own_steps_need_no_dead_host() -> None:
    facts = installed(lab(), bare())
    kube = facts["cp1"].kube
    assert kube is not None
    facts["cp1"] = replace(facts["cp1"], kube=replace(kube, receipts={**kube.receipts, "flannel": {}}))
    found = steps(decide(lab(), without(facts, "gpu1")))
    assert [(host, component) for host, component, _ in found] == [(CLUSTER, "flannel")]
