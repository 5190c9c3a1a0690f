"""Plain `ansible-playbook` makes the same cluster as gpuctl does, and one worker goes and comes back alone.

The tests build on one another, in the order of the file.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.e2e.conftest import made_lab
from tests.e2e.ownership import unexplained_files
from tests.e2e.playbooks import playbook
from tests.e2e.tool import Lab, wait_for

pytestmark = pytest.mark.e2e
LANE_COST_S = 350  # two cores, everything built, other lanes beside it

# What a node has, and a host that was reset has not.
WORKER_TRACES = "/etc/kubernetes /etc/cni/net.d/* /etc/containerd/config.toml /var/lib/kubelet/config.yaml"


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A control plane and a worker with two simulated GPUs."""
    with made_lab(tmp_path_factory.mktemp("lab"), "p", "--hosts", "2", "--gpus", "2") as made:
        yield made


def test_ansible_playbook_makes_the_cluster(lab: Lab) -> None:
    figures = playbook(lab, "site.yml")
    assert set(figures) == {"cp1", "gpu1"}
    assert all(host["failed"] == host["unreachable"] == 0 and host["changed"] > 0 for host in figures.values())
    wait_for("two GPUs allocatable on gpu1", lambda: allocatable(lab) == "2", 180)


def test_gpuctl_finds_nothing_to_do_after_it(lab: Lab) -> None:
    plan = lab.json("plan", *lab.named)["data"]
    assert plan["plan"]["steps"] == []
    assert [(n["name"], n["ready"], n["gpus_allocatable"]) for n in plan["readiness"]["nodes"]] == [
        ("cp1", True, 0),
        ("gpu1", True, 2),
    ]
    ran = lab.json("bootstrap", *lab.named)["data"]
    assert all(outcome["changed"] == 0 for outcome in ran["outcomes"])
    assert ran["kubeconfig"]["added"], "what plain Ansible does not do: the user's kubeconfig"
    assert lab.json("verify-gpus", *lab.named)["data"]["gpus_passed"] == 2
    for host in ("cp1", "gpu1"):
        assert unexplained_files(lab, host) == []


def test_ansible_playbook_again_changes_nothing(lab: Lab) -> None:
    assert [host["changed"] for host in playbook(lab, "site.yml").values()] == [0, 0]


def test_a_reset_worker_leaves_and_touches_nobody_else(lab: Lab) -> None:
    before = snapshot(lab)
    ran = lab.json("reset", *lab.named, "--limit", "gpu1", "--yes")
    assert {o["host"]: o["outcome"] for o in ran["data"]["outcomes"]} == {"cp1": "unchanged", "gpu1": "done"}
    assert ran["data"]["kubeconfig_removed"] is None
    assert lab.kubectl("get", "nodes", "-o", "name").split() == ["node/cp1"]
    assert snapshot(lab) == before
    assert (
        lab.ssh(
            "gpu1", "sh", "-c", f"ls -d {WORKER_TRACES} /var/lib/gpuctl/receipts/* 2>/dev/null", expect=None
        ).strip()
        == ""
    )
    assert lab.ssh("gpu1", "sh", "-c", "ps -A -o comm= | grep -E 'kubelet|containerd'", expect=None) == ""
    assert "gpu1 kubeadm" in lab.plan()
    assert not any(step.startswith(("cp1 ", "cluster ")) for step in lab.plan())


def test_a_reset_worker_joins_again(lab: Lab) -> None:
    before = snapshot(lab)
    ran = lab.json("bootstrap", *lab.named)
    assert set(lab.applied(ran)) == {"gpu1"}
    assert [(n["name"], n["ready"], n["gpus_allocatable"]) for n in ran["data"]["readiness"]["nodes"]] == [
        ("cp1", True, 0),
        ("gpu1", True, 2),
    ]
    assert snapshot(lab) == before
    assert lab.plan() == {}
    assert lab.json("verify-gpus", *lab.named)["data"]["gpus_passed"] == 2


def allocatable(lab: Lab) -> str:
    return lab.kubectl("get", "node", "gpu1", "-o", r"jsonpath={.status.allocatable.nvidia\.com/gpu}")


def snapshot(lab: Lab) -> tuple[str, ...]:
    """What must stay as it is on the control plane: receipts, files, the processes of containerd and the kubelet."""
    services = ("show", "-p", "MainPID,ActiveEnterTimestamp", "containerd.service", "kubelet.service")
    return (
        lab.ssh("cp1", "sh", "-c", "cd /var/lib/gpuctl/receipts && sha256sum *"),
        lab.ssh("cp1", "sh", "-c", "find /etc -type f -newer /etc/machine-id -printf '%p %T@\\n' | sort"),
        lab.ssh("cp1", "systemctl", *services),
    )
