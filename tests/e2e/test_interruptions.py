"""Runs that end in the middle, and what the next run makes of it; judged by what runs on the hosts, not by files.

The tests build on one another, in the order of the file: each run gets past the moment at which the one before ended.
That reordered control planes make no second cluster is shown in test_control_planes.py.
"""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import made_lab
from tests.e2e.interrupting import Gate, ProcessWatch, Started
from tests.e2e.tool import Lab, wait_for

pytestmark = pytest.mark.e2e
LANE_COST_S = 400  # two cores, everything built, other lanes beside it

RESTART_CONTAINERD = "restart -- containerd.service"
RESTART_KUBELET = "restart kubelet.service"
CONFIG = "/etc/containerd/config.toml"


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A control plane and a worker with two simulated GPUs."""
    with made_lab(tmp_path_factory.mktemp("lab"), "i", "--hosts", "2", "--gpus", "2") as made:
        yield made


@pytest.fixture(scope="module", autouse=True)
def watch(lab: Lab) -> Iterator[ProcessWatch]:
    """From the first run to the last one."""
    with ProcessWatch(lab) as watching:
        yield watching


def bootstrap(lab: Lab) -> Started:
    return Started(lab, "bootstrap", *lab.named)


def completed(lab: Lab, host: str) -> set[str]:
    """Components whose receipt on the host is complete."""
    out = lab.ssh(host, "sh", "-c", "cat /var/lib/gpuctl/receipts/*.json 2>/dev/null", expect=None)
    receipts = [json.loads(text) for text in re.split(r"(?<=\})\s*(?=\{\s*\")", out) if text.strip()]
    return {r["component"] for r in receipts if r["state"] == "complete"}


def is_older_than_its_configuration(lab: Lab, host: str) -> bool:
    """Whether containerd's process began before its configuration last changed."""
    script = (
        f'since=$(date -d "$(systemctl show -p ActiveEnterTimestamp --value containerd.service)" +%s); '
        f"echo $since $(stat -c %Z {CONFIG})"
    )
    since, changed = lab.ssh(host, "sh", "-c", script).split()
    return int(since) < int(changed)


def test_killed_while_packages_are_installed(lab: Lab) -> None:
    """In the one run of apt for all components: none of them may be taken for installed, or for somebody else's."""
    run = bootstrap(lab)
    run.wait_for_event("gpu1", "", "Have the packages of all components")
    wait_for(
        "dpkg", lambda: lab.ssh("gpu1", "sh", "-c", "grep -lx dpkg /proc/[0-9]*/comm", expect=None).strip(), 120, 0.1
    )
    run.kill()
    assert completed(lab, "gpu1") == set()


def test_killed_in_the_driver(lab: Lab) -> None:
    with Gate(lab, "cp1", RESTART_CONTAINERD):  # the next test's moment must not have passed
        run = bootstrap(lab)
        run.wait_for_event("gpu1", "nvidia_driver", "Keep nouveau and unattended upgrades away")
        run.kill()
    assert "kube_host" in completed(lab, "gpu1"), "past the first moment"
    assert "nvidia_driver" not in completed(lab, "gpu1")


def test_killed_between_a_file_and_the_restart_of_its_service(lab: Lab) -> None:
    with Gate(lab, "cp1", RESTART_CONTAINERD) as gate:
        run = bootstrap(lab)
        wait_for("containerd's restart", gate.reached, 300)
        second = lab.json("bootstrap", *lab.named, expect=4)
        assert {e["code"] for e in second["errors"]} == {"lock-held"}
        assert {e["host"] for e in second["errors"]} == {"cp1", "gpu1"}
        for error in second["errors"]:
            assert run.run_directory().name in error["message"], "the run that holds the lock is named"
            assert re.search(r"locked by \S+@\S+ since \d{4}-\d\d-\d\dT", error["message"])
        run.kill()
    assert is_older_than_its_configuration(lab, "cp1"), "it is the moment that the test is about"
    assert "containerd" not in completed(lab, "cp1")


def test_interrupted_stops_after_the_component_and_names_what_is_left(lab: Lab) -> None:
    run = bootstrap(lab)
    run.wait_for_event("cp1", "containerd", "Refuse mirrors that are not reached by TLS")
    run.interrupt()
    ran = run.end()
    assert ran.code == 130, ran.err
    assert "stopping after the components that are under way" in ran.err
    assert re.search(r"cp1 .*still to do: kubeadm", ran.out), ran.out
    report = json.loads((run.run_directory() / "report.json").read_text())
    outcomes = {o["host"]: o for o in report["data"]["outcomes"]}
    assert outcomes["cp1"]["outcome"] == "stopped"
    assert "containerd" in outcomes["cp1"]["completed"]
    assert "kubeadm" in outcomes["cp1"]["state"]
    assert "containerd" in completed(lab, "cp1")
    assert not is_older_than_its_configuration(lab, "cp1"), "past the third moment"
    assert "nvidia_driver" in completed(lab, "gpu1"), "past the second moment"
    assert "kubeadm" not in completed(lab, "cp1")


def test_killed_in_kubeadm_init_and_kubeadm_with_it(lab: Lab) -> None:
    """As when the host loses power: half a control plane, which the next run cleans away."""
    run = bootstrap(lab)
    run.wait_for_event("cp1", "kubeadm", "Create the cluster")
    wait_for("the certificates", lambda: lab.ssh("cp1", "ls", "/etc/kubernetes/admin.conf", expect=None), 120)
    run.kill()
    lab.ssh("cp1", "systemctl", "kill", "--signal=KILL", "gpuctl-kubeadm-init.service")


def test_killed_in_kubeadm_init_which_goes_on(lab: Lab) -> None:
    run = bootstrap(lab)
    run.wait_for_event("cp1", "kubeadm", "Create the cluster")
    wait_for("kubeadm init", lambda: _is_active(lab, "cp1", "gpuctl-kubeadm-init"), 120)
    run.kill()
    assert _is_active(lab, "cp1", "gpuctl-kubeadm-init"), "a unit outlives the run"
    assert "kubeadm" not in completed(lab, "cp1")


def test_killed_while_the_worker_joins(lab: Lab) -> None:
    run = bootstrap(lab)
    run.wait_for_event("gpu1", "kubeadm", "Join the cluster")
    wait_for("kubeadm join", lambda: _is_active(lab, "gpu1", "gpuctl-kubeadm-join"), 60)
    run.kill()
    assert {"containerd", "kubeadm"} <= completed(lab, "cp1"), "past the fourth moment"
    assert "kubeadm" not in completed(lab, "gpu1")


def test_the_last_run_converges(lab: Lab) -> None:
    ran = lab.json("bootstrap", *lab.named)
    assert [(n["name"], n["ready"], n["gpus_allocatable"]) for n in ran["data"]["readiness"]["nodes"]] == [
        ("cp1", True, 0),
        ("gpu1", True, 2),
    ]
    assert lab.plan() == {}
    for host in ("cp1", "gpu1"):
        assert_runs_as_rendered(lab, host)
    assert sorted(lab.kubectl("get", "nodes", "-o", "name").split()) == ["node/cp1", "node/gpu1"]
    authority = lab.ssh("cp1", "cat", "/etc/kubernetes/pki/ca.crt")
    assert lab.ssh("gpu1", "cat", "/etc/kubernetes/pki/ca.crt") == authority, "one cluster"
    assert lab.ssh("gpu1", "sh", "-c", "ls -A /etc/kubernetes/manifests 2>/dev/null", expect=None) == ""
    assert lab.ssh("gpu1", "ls", "/etc/kubernetes/gpuctl").split() == ["patches"], "what it joined with is gone"
    left = lab.ssh("gpu1", "sh", "-c", "grep -la GPUCTL_RUN= /proc/[0-9]*/environ 2>/dev/null", expect=None)
    assert left == "", "no process of a killed run is left"


def test_killed_on_a_living_cluster_between_files_and_restarts(lab: Lab) -> None:
    """A changed setting of containerd, and one of the kubelet: each killed before the restart that makes it count."""
    text = lab.inventory.read_text().replace("kubeadm_kubelet_config={", 'kubeadm_kubelet_config={"maxPods": 77, ')
    lab.inventory.write_text(text + "containerd_max_concurrent_downloads=4\n")
    with Gate(lab, "gpu1", RESTART_CONTAINERD) as gate:
        run = bootstrap(lab)
        wait_for("containerd's restart", gate.reached, 120)
        run.kill()
    assert is_older_than_its_configuration(lab, "gpu1")
    with Gate(lab, "gpu1", RESTART_KUBELET) as gate:
        run = bootstrap(lab)
        wait_for("the kubelet's restart", gate.reached, 180)
        run.kill()
    assert not is_older_than_its_configuration(lab, "gpu1")
    assert "maxPods: 77" in lab.ssh("gpu1", "cat", "/var/lib/kubelet/config.yaml")
    assert running_kubelet(lab, "gpu1")["maxPods"] == 110, "the file is new, what runs is not"
    lab.json("bootstrap", *lab.named)
    for host in ("cp1", "gpu1"):
        assert running_kubelet(lab, host)["maxPods"] == 77
        assert "max_concurrent_downloads = 4" in lab.ssh(host, "containerd", "config", "dump")
        assert_runs_as_rendered(lab, host)
    assert lab.plan() == {}


def test_no_secret_was_in_a_command_line_or_a_run_directory(lab: Lab, watch: ProcessWatch) -> None:
    assert watch.seen_on_hosts, "the watch sees what runs on the hosts"
    assert watch.found == set()
    assert lab.leaks == []


def test_killed_runs_leave_no_private_directory(lab: Lab) -> None:
    assert lab.plan() == {}
    assert len(Started.killed) == 8
    owners = set()
    for path in Path(tempfile.gettempdir()).glob("gpuctl-*"):
        with suppress(OSError, ValueError):  # another run, which writes or removes its own meanwhile
            owners.add(int((path / "owner").read_text()))
    assert owners & Started.killed == set()


def _is_active(lab: Lab, host: str, unit: str) -> bool:
    shown = lab.ssh(host, "systemctl", "show", "-p", "ActiveState,SubState", "--value", f"{unit}.service")
    return shown.split() in (["active", "running"], ["activating", "start"])


def running_kubelet(lab: Lab, host: str) -> dict[str, Any]:
    """The configuration with which the host's kubelet runs, as it says itself."""
    answer = json.loads(lab.kubectl("get", "--raw", f"/api/v1/nodes/{host}/proxy/configz"))
    found: dict[str, Any] = answer["kubeletconfig"]
    return found


def assert_runs_as_rendered(lab: Lab, host: str) -> None:
    """Containerd and the kubelet run with what gpuctl has rendered for them."""
    assert not is_older_than_its_configuration(lab, host)
    dump = lab.ssh(host, "containerd", "config", "dump")
    assert "SystemdCgroup = true" in dump
    assert re.search(r"config_path = ['\"]/etc/containerd/certs\.d['\"]", dump)
    patch = lab.ssh(host, "cat", "/etc/kubernetes/gpuctl/patches/kubeletconfiguration+merge.json")
    rendered, running = json.loads(patch), running_kubelet(lab, host)
    assert "evictionHard" in rendered
    # A default that Go leaves out of its JSON reads as absent.
    differs = {key: (value, running.get(key)) for key, value in rendered.items() if running.get(key, False) != value}
    assert differs == {}
    assert running["cgroupDriver"] == "systemd"
