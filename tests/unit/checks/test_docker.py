"""Checks of a minikube host: its Docker, its room, and what is no business of theirs."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from bootstrap.checks.finding import Severity
from bootstrap.checks.preflight import CLUSTER_CHECKS, HOST_CHECKS, MINIKUBE_CHECKS, count_of_checks, preflight
from bootstrap.inventory.model import Inventory
from bootstrap.probe.facts import ClusterTraces, DriverFacts, OsFacts
from tests.unit.factories import GIB, host_facts, minikube_inventory

REFUSE, WARN = Severity.REFUSE, Severity.WARN
NOUVEAU = DriverFacts(nouveau=True)
DRAWN = DriverFacts(nouveau=True, nouveau_draws=True)
DESKTOP = {"gpus": 1, "driver": DRAWN, "packages": {"gdm3": "43.0-3"}}
NODE = ClusterTraces(kubelet_conf=True, server="https://192.0.2.1:6443")
SNAP = {"snap.docker.dockerd.service": "active,enabled"}


@pytest.mark.parametrize(
    ("changes", "code", "severity", "said", "fix"),
    [
        (
            {"packages": {"docker.io": "20.10.24+dfsg1-1"}},
            "minikube-docker-old",
            REFUSE,
            "docker.io 20.10.24",
            "remove",
        ),
        ({"packages": {"docker-ce": "5:24.0.7-1~x"}}, "minikube-docker-old", REFUSE, "docker-ce 5:24.0.7", "upgrade"),
        ({"packages": {"moby-engine": "nonsense"}}, "minikube-docker-old", REFUSE, "moby-engine", "upgrade"),
        ({"units": SNAP}, "runtime-conflict", REFUSE, "snap", "snap remove docker"),
        ({"packages": {"podman-docker": "4.3"}}, "runtime-conflict", REFUSE, "podman", "podman-docker"),
        ({"units": {"docker.service": "inactive,masked"}}, "minikube-docker-away", REFUSE, "masked", "unmask"),
        (
            {"packages": {"containerd": "1.6.20~ds1-1", "runc": "1.1.5"}},
            "runtime-conflict",
            REFUSE,
            "replace the containerd and runc",
            "apt-get remove containerd runc",
        ),
        ({"packages": {"runc": "1.1.5"}}, "runtime-conflict", REFUSE, "the runc", "apt-get remove runc"),
        ({"cluster": NODE}, "leftover-cluster", REFUSE, "https://192.0.2.1:6443", "another machine"),
        ({"cluster": ClusterTraces(admin_conf=True)}, "leftover-cluster", REFUSE, "unknown server", "kubeadm reset"),
        (
            {"gpus": 1, "bpf_jit_harden": 2},
            "minikube-bpf-jit-harden",
            REFUSE,
            "is 2",
            "sysctl -w net.core.bpf_jit_harden=0",
        ),
        (
            {"os": OsFacts("ubuntu", "24.04", "noble", "Ubuntu", "aarch64", "6.8")},
            "arch-unsupported",
            WARN,
            "checksum",
            "minikube_sha256",
        ),
        ({"disk_free_bytes": {"/var/lib/docker": 19 * GIB}}, "disk-low", WARN, "19.0 GiB", "docker system df"),
        ({"root": False}, "sudo-denied", REFUSE, "root", "ansible_become"),
        ({"os": OsFacts("fedora", "42", arch="x86_64")}, "os-unsupported", REFUSE, "fedora", "Debian"),
        ({"lock_holder": "another"}, "lock-held", REFUSE, "another", "wait"),
        (
            {"gpus": 1, "secure_boot": True},
            "secure-boot-unsigned",
            REFUSE,
            "Boot",
            "sign",
        ),
    ],
)
def test_faults(changes: dict[str, Any], code: str, severity: Severity, said: str, fix: str) -> None:
    [found] = preflight(minikube_inventory(), {"box": host_facts("box", **changes)})
    assert (found.host, found.code, found.severity) == ("box", code, severity)
    assert said in found.message
    assert fix in found.fix


@pytest.mark.parametrize(
    "changes",
    [
        {"packages": {"docker-ce": "5:28.5.2-1~x", "podman-docker": "4.3"}},
        {"packages": {"docker.io": "26.1.5+dfsg1-9"}, "units": {"docker.service": "active,enabled"}},
        {"hostname": "localhost"},  # the node is named after the profile
        {"swap": ("/dev/sda2",), "firewall": "ufw", "memory_bytes": GIB, "cpus": 1, "cgroup_version": 1},
        {"listeners": {6443: "x", 10250: "y"}, "resolv_loop": True, "time_synchronised": False},
        {"gpus": 1, "bpf_jit_harden": 0},
        {"bpf_jit_harden": 2},  # a node without GPUs works
        {"packages": {"docker.io": "26.1.5+dfsg1-9", "containerd": "1.7.24", "runc": "1.1.15"}},
        {"packages": {"containerd": "1.7.24"}, "units": {"docker.service": "active,enabled"}},
        {"packages": {"containerd.io": "2.3.7-1"}},
        {"packages": {"gdm3": "43.0-3"}, "driver": NOUVEAU},  # no GPU of NVIDIA's to have a driver for
        {"disk_free_bytes": {"/var/lib/docker": GIB}, "receipts": {"minikube": {"machine_id": None}}},
    ],
)
def test_what_is_fine_on_such_a_host(changes: dict[str, Any]) -> None:
    assert preflight(minikube_inventory(), {"box": host_facts("box", **changes)}) == ()


def test_a_protection_of_the_kernel_goes_where_that_is_allowed() -> None:
    allowed = minikube_inventory(explicit={"kube_host_bpf_jit_harden_off": True})
    assert preflight(allowed, {"box": host_facts("box", bpf_jit_harden=2)}) == ()


def test_a_runtime_of_the_distribution_stays_with_its_docker() -> None:
    kept = minikube_inventory(explicit={"docker_source": "distribution"})
    assert preflight(kept, {"box": host_facts("box", packages={"containerd": "1.7.24", "runc": "1.1.15"})}) == ()


def test_no_gpus_wanted_no_question_of_the_kernel_s_protection() -> None:
    without = minikube_inventory(explicit={"cluster_gpu": "none"})
    assert preflight(without, {"box": host_facts("box", gpus=1, bpf_jit_harden=2)}) == ()


def codes(inventory: Inventory, **changes: Any) -> list[str]:
    return [finding.code for finding in preflight(inventory, {"box": host_facts("box", **changes)})]


def test_nouveau_takes_a_reboot_by_hand() -> None:
    """`minikube up` has no flag for one: the machine is often the user's own."""
    [found] = preflight(minikube_inventory(), {"box": host_facts("box", gpus=1, driver=NOUVEAU)})
    assert (found.code, found.severity) == ("nouveau-loaded", Severity.FIX)
    assert "reboot it then, and run the same command again" in found.fix
    assert "--reboot" not in found.fix


@pytest.mark.parametrize(
    ("system", "fix"), [("debian", "apt-get install nvidia-driver"), ("ubuntu", "ubuntu-drivers install")]
)
def test_a_desktop_does_not_lose_its_display(system: str, fix: str) -> None:
    seen = host_facts("box", **DESKTOP)
    seen = replace(seen, os=replace(seen.os, id=system, version_id="12" if system == "debian" else "24.04"))
    found = preflight(minikube_inventory(), {"box": seen})[0]
    assert (found.code, found.severity) == ("driver-without-display", REFUSE)
    assert "gdm3" in found.message
    assert fix in found.fix


def test_which_desktops_are_meant() -> None:
    display, lab = "driver-without-display", minikube_inventory()
    manager = {"display-manager.service": "active,enabled"}
    assert display in codes(lab, gpus=1, driver=DRAWN, units=manager)
    assert display not in codes(lab, gpus=1, driver=DRAWN, packages={"lightdm-settings": "1"})
    drawn_by_another = {**DESKTOP, "driver": NOUVEAU}  # nouveau loads for the card that has no display, too
    assert display not in codes(lab, **drawn_by_another)
    assert display not in codes(lab, **DESKTOP, receipts={"nvidia_driver": {"state": "begun", "machine_id": None}})
    assert display not in codes(minikube_inventory(explicit={"nvidia_driver_headless_ok": True}), **DESKTOP)
    assert display not in codes(minikube_inventory(explicit={"cluster_gpu": "none"}), **DESKTOP)


def test_the_count() -> None:
    each = len(HOST_CHECKS) + len(MINIKUBE_CHECKS) + len(CLUSTER_CHECKS)
    assert count_of_checks(minikube_inventory(), {"box": host_facts("box")}) == 1 + each


def test_advice_is_true_where_it_is_given() -> None:
    """Debian 12 has no Docker that is new enough; a node that gpuctl made has more than kubeadm's reset takes away."""

    def fix(version: str, **changes: Any) -> str:
        seen = host_facts("box", **changes)
        seen = replace(seen, os=replace(seen.os, id="debian", version_id=version))
        return preflight(minikube_inventory(), {"box": seen})[0].fix

    runtimes = {"packages": {"containerd": "1.7.24"}}
    assert fix("12", **runtimes) == "run there: apt-get remove containerd"
    assert "docker_source=distribution" in fix("13", **runtimes)
    assert "kubeadm reset" in fix("13", cluster=NODE)
    assert "`gpuctl reset`" in fix("13", cluster=NODE, receipts={"kubeadm": {"schema": 1, "state": "complete"}})
