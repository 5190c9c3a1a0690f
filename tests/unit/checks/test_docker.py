"""Checks of a minikube host: its Docker, its room, and what is no business of theirs."""

from __future__ import annotations

from typing import Any

import pytest

from bootstrap.checks.finding import Severity
from bootstrap.checks.preflight import CLUSTER_CHECKS, HOST_CHECKS, MINIKUBE_CHECKS, count_of_checks, preflight
from bootstrap.probe.facts import OsFacts
from tests.unit.factories import GIB, host_facts, minikube_inventory

REFUSE, WARN = Severity.REFUSE, Severity.WARN
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
        ({"bpf_jit_harden": 2}, "minikube-bpf-jit-harden", REFUSE, "is 2", "sysctl -w net.core.bpf_jit_harden=0"),
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
        {"bpf_jit_harden": 0},
        {"disk_free_bytes": {"/var/lib/docker": GIB}, "receipts": {"minikube": {"machine_id": None}}},
    ],
)
def test_what_is_fine_on_such_a_host(changes: dict[str, Any]) -> None:
    assert preflight(minikube_inventory(), {"box": host_facts("box", **changes)}) == ()


def test_a_protection_of_the_kernel_goes_where_that_is_allowed() -> None:
    allowed = minikube_inventory(explicit={"kube_host_bpf_jit_harden_off": True})
    assert preflight(allowed, {"box": host_facts("box", bpf_jit_harden=2)}) == ()


def test_the_count() -> None:
    each = len(HOST_CHECKS) + len(MINIKUBE_CHECKS) + len(CLUSTER_CHECKS)
    assert count_of_checks(minikube_inventory(), {"box": host_facts("box")}) == 1 + each
