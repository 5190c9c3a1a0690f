"""What the host roles write, and what they ask each distribution for, against golden files.

`GPUCTL_UPDATE_GOLDEN=1` writes them anew.
"""

from __future__ import annotations

import difflib
import json
import os
import tomllib
from pathlib import Path
from typing import Any

import pytest
from ansible.parsing.dataloader import DataLoader

from bootstrap.plan.digests import plain
from bootstrap.versions import versions
from tests.unit.plugins_cluster.rendering import GOLDEN, ROLES, render, value

SYSTEMS = sorted(versions().systems)
HOST_ROLES = ("kube_host", "nvidia_driver", "containerd", "nvidia_container_toolkit")
ENGINE_IN_DOCKER = {"nvidia_container_toolkit_engine": "docker"}
CA = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
MIRRORS = {"docker.io": "https://mirror.example:5000", "ghcr.io": "https://mirror.example/v2/ghcr"}
TEMPLATES: dict[str, tuple[str, str, dict[str, Any]]] = {
    "kube_host/modules.conf": ("kube_host", "modules.conf.j2", {}),
    "kube_host/sysctl-at-least.conf": ("kube_host", "sysctl-at-least.conf.j2", {}),
    "kube_host/sysctl-exact.conf": (
        "kube_host",
        "sysctl-exact.conf.j2",
        {"kube_host_sysctls": {"vm.max_map_count": 262144}},
    ),
    "kube_host/sysctl-exact-minikube.conf": (
        "kube_host",
        "sysctl-exact.conf.j2",
        {"kube_host_minimal": True, "kube_host_bpf_jit_harden_off": True},
    ),
    "containerd/config.toml": ("containerd", "config.toml.j2", {}),
    "containerd/config-kept.toml": (
        "containerd",
        "config.toml.j2",
        {
            "containerd_data_root": "/data/containerd",
            "containerd_state_folder": "/data/run",
            "containerd_further_imports": ["/opt/site/*.toml"],
        },
    ),
    "containerd/crictl.yaml": ("containerd", "crictl.yaml.j2", {}),
    "containerd/prefetch.service": (
        "containerd",
        "prefetch.service.j2",
        {"containerd_prefetch_images": ["registry.k8s.io/pause:3.10.2", "registry.k8s.io/kube-proxy:v1.36.3"]},
    ),
    "containerd/hosts-docker.toml": (
        "containerd",
        "hosts.toml.j2",
        {
            "__containerd_registry": "docker.io",
            "__containerd_mirror": MIRRORS["docker.io"],
            "cluster_ca_certificate": CA,
        },
    ),
    "containerd/hosts-only.toml": (
        "containerd",
        "hosts.toml.j2",
        {
            "__containerd_registry": "ghcr.io",
            "__containerd_mirror": MIRRORS["ghcr.io"],
            "containerd_registry_mirror_only": True,
        },
    ),
    "containerd/hosts-default.toml": (
        "containerd",
        "hosts.toml.j2",
        {"__containerd_registry": "_default", "__containerd_mirror": "https://mirror.example:5000"},
    ),
    "nvidia_driver/nouveau.conf": ("nvidia_driver", "nouveau.conf.j2", {}),
    "nvidia_driver/unattended.conf": ("nvidia_driver", "unattended.conf.j2", {}),
    "nvidia_driver/nvlsm.conf": ("nvidia_driver", "nvlsm.conf.j2", {"nvidia_driver_nvlsm": True}),
    "nvidia_driver/persistenced.conf": ("nvidia_driver", "persistenced.conf.j2", {}),
    "nvidia_container_toolkit/99-nvidia.toml": ("nvidia_container_toolkit", "99-nvidia.toml.j2", {}),
    "nvidia_container_toolkit/99-nvidia-default.toml": (
        "nvidia_container_toolkit",
        "99-nvidia.toml.j2",
        {"nvidia_container_toolkit_default_runtime": True},
    ),
    "nvidia_container_toolkit/config.toml": ("nvidia_container_toolkit", "config.toml.j2", {}),
}
# What a role asks of each distribution: variables, for each set of arguments.
ASKED: dict[str, tuple[tuple[str, ...], dict[str, dict[str, Any]]]] = {
    "kube_host": (
        ("__kube_host_packages", "__kube_host_time_package", "__kube_host_time_unit", "__kube_host_evidence_files"),
        {"default": {}, "minikube": {"kube_host_minimal": True}},
    ),
    "docker": (
        ("__docker_source", "__docker_wanted", "__docker_evidence_files", "__docker_evidence_packages"),
        {
            "default": {},
            "distribution": {"docker_source": "distribution"},
            "distribution, from a mirror": {
                "docker_source": "distribution",
                "docker_apt_source": {
                    "url": "https://m/apt",
                    "suite": "s",
                    "key_url": "https://m/k",
                    "key_fingerprint": "ab",
                },
            },
            "one version": {"docker_version": "28.5.2"},
            "kept": {"docker_adopt": True},
        },
    ),
    "containerd": (
        ("__containerd_source", "__containerd_evidence_files"),
        {
            "default": {},
        },
    ),
    "nvidia_container_toolkit": (
        (
            "__nvidia_container_toolkit_source",
            "__nvidia_container_toolkit_files",
            "__nvidia_container_toolkit_evidence",
        ),
        {"default": {}, "docker": ENGINE_IN_DOCKER, "arm64": {"nvidia_container_toolkit_architecture": "arm64"}},
    ),
    "nvidia_driver": (
        (
            "__nvidia_driver_source",
            "__nvidia_driver_pinning",
            "__nvidia_driver_all_packages",
            "__nvidia_driver_version_glob",
            "__nvidia_driver_files",
        ),
        {
            "default": {},
            "older than Turing": {"nvidia_driver_module": "closed"},
            "newest of 595, NVSwitch": {
                "nvidia_driver_branch": "595",
                "nvidia_driver_version": "",
                "nvidia_driver_nvswitch": True,
            },
            "NVSwitch behind ConnectX": {"nvidia_driver_nvswitch": True, "nvidia_driver_nvlsm": True},
        },
    ),
}


def system_vars(role: str, system: str) -> dict[str, Any]:
    path = ROLES / role / "vars" / f"{system}.yml"
    found: dict[str, Any] = DataLoader().load_from_file(str(path), trusted_as_template=True)
    return found


def compare(path: Path, text: str) -> None:
    if os.environ.get("GPUCTL_UPDATE_GOLDEN"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    wanted = path.read_text(encoding="utf-8")
    assert text == wanted, "".join(
        difflib.unified_diff(wanted.splitlines(True), text.splitlines(True), str(path), "now")
    )


@pytest.mark.parametrize("name", TEMPLATES)
def test_templates(name: str) -> None:
    role, template, values = TEMPLATES[name]
    text = render(role, template, **values)
    compare(GOLDEN / name, text)
    if name.endswith(".toml"):
        tomllib.loads(text)


@pytest.mark.parametrize("role", HOST_ROLES)
def test_every_template_is_rendered_here(role: str) -> None:
    rendered = {template for owner, template, _ in TEMPLATES.values() if owner == role}
    assert rendered == {path.name for path in (ROLES / role / "templates").iterdir()}


@pytest.mark.parametrize("role", ASKED)
def test_what_each_distribution_is_asked_for(role: str) -> None:
    names, cases = ASKED[role]
    found = {
        system: {
            case: {name.strip("_"): plain(value(role, name, **system_vars(role, system), **values)) for name in names}
            for case, values in cases.items()
        }
        for system in SYSTEMS
    }
    compare(GOLDEN / role / "distributions.json", json.dumps(found, indent=1, sort_keys=True) + "\n")


@pytest.mark.parametrize("system", SYSTEMS)
@pytest.mark.parametrize("role", ["containerd", "docker", "nvidia_driver", "nvidia_container_toolkit"])
def test_official_sources_are_signed_and_reached_by_tls(role: str, system: str) -> None:
    source = value(role, f"__{role}_source", **system_vars(role, system))
    assert str(source["url"]).startswith("https://")
    assert str(source["key_url"]).startswith("https://")
    assert len(source["key_fingerprint"]) == 40
    int(source["key_fingerprint"], 16)


def test_a_setting_replaces_the_whole_source() -> None:
    mirror = {"url": "https://m/apt", "suite": "s", "key_url": "https://m/k", "key_fingerprint": ["ab " * 20, "cd"]}
    found = {"containerd_apt_source": mirror, **system_vars("containerd", "debian-12")}
    assert plain(value("containerd", "__containerd_source", **found)) == mirror
    assert value("containerd", "__containerd_source_key", **found) == "AB" * 20


def test_each_mirror_gets_its_file() -> None:
    found = value("containerd", "__containerd_hosts_files", containerd_registry_mirrors=MIRRORS)
    assert [entry["dest"] for entry in found] == [f"/etc/containerd/certs.d/{name}/hosts.toml" for name in MIRRORS]
    evidence = value("containerd", "__containerd_hosts_evidence", containerd_registry_mirrors=MIRRORS)
    assert [entry["path"] for entry in evidence] == [entry["dest"] for entry in found]


@pytest.mark.parametrize("adopted", [True, False])
def test_what_is_adopted_is_no_evidence(adopted: bool) -> None:
    """An adopted package or driver belongs to somebody else, who may upgrade it."""
    packages = value("containerd", "__containerd_evidence_packages", containerd_adopt=adopted)
    assert packages == ([] if adopted else ["containerd.io"])
    more = {"nvidia_driver_manage_resolved": "adopt" if adopted else "install"}
    found = value(
        "nvidia_driver", "__nvidia_driver_evidence_packages", **system_vars("nvidia_driver", "debian-12"), **more
    )
    assert bool(found) is not adopted


def test_the_ca_is_written_when_there_is_one() -> None:
    without = value("kube_host", "__kube_host_all_files", cluster_endpoint_address="10.0.0.1")
    with_ca = value(
        "kube_host", "__kube_host_all_files", cluster_endpoint_address="10.0.0.1", cluster_ca_certificate=CA
    )
    assert [entry["dest"] for entry in with_ca if entry not in without] == ["/etc/gpuctl/ca.crt"]


def test_docker_is_told_of_the_runtime_and_of_our_defaults() -> None:
    assert plain(value("nvidia_container_toolkit", "__nvidia_container_toolkit_docker_keys")) == {
        "default-runtime": "nvidia"
    }
    logs = {"log-driver": "json-file", "log-opts": {"max-size": "100m"}}
    assert plain(value("docker", "__docker_defaults")) == [{"live-restore": True}, logs]
    assert plain(value("docker", "__docker_defaults", docker_live_restore=False, docker_log_max_size="")) == []


def test_what_takes_a_restart_of_docker() -> None:
    """The engine where it is gpuctl's, and the toolkit where the play says that it comes."""
    toolkit = {"name": "nvidia-container-toolkit", "version": "1.20.1-*"}
    coming = {"__docker_toolkit_version": "1.20.1", "docker_adopt": True}
    assert plain(value("docker", "__docker_restarting_packages", **coming)) == [toolkit]
    assert len(value("docker", "__docker_restarting_programs", **coming)) == 2
    assert plain(value("docker", "__docker_restarting_packages", docker_adopt=True)) == []
    assert plain(value("docker", "__docker_restarting_programs")) == []
    engine = {"name": "docker-ce", "version": None}
    assert plain(value("docker", "__docker_restarting_packages")) == [engine]
    chosen = value("docker", "__docker_restarting_packages", docker_version="28.5.2", docker_source="distribution")
    assert plain(chosen) == [{"name": "docker.io", "version": "28.5.2[-+]*"}]


@pytest.mark.parametrize(
    ("adopted", "purge", "goes"), [(False, True, True), (False, False, False), (True, True, False)]
)
def test_images_go_only_where_that_is_asked_for(adopted: bool, purge: bool, goes: bool) -> None:
    assert value("docker", "__docker_purge", docker_adopt=adopted, gpuctl_purge=purge) is goes


def test_the_default_minikube_has_its_sum() -> None:
    version = value("minikube", "minikube_version")
    for sums in value("minikube", "__minikube_sums").values():
        for architecture, found in sums.items():
            assert architecture in {"amd64", "arm64"}
            assert len(bytes.fromhex(found)) == 32
    assert version in value("minikube", "__minikube_sums")


def test_a_minikube_host_is_left_alone_but_for_what_its_node_needs() -> None:
    quiet = {"kube_host_minimal": True}
    assert value("kube_host", "__kube_host_modules", **quiet) == []
    assert value("kube_host", "__kube_host_swap", **quiet) == "keep"
    assert plain(value("kube_host", "__kube_host_sysctls_exact", **quiet)) == {}
    assert plain(value("kube_host", "__kube_host_sysctls_exact", kube_host_bpf_jit_harden_off=True, **quiet)) == {
        "net.core.bpf_jit_harden": "0"
    }
    gpus = {"kube_host_bpf_jit_for_gpus": True, **quiet}
    assert value("kube_host", "__kube_host_bpf_refused", **gpus) is True
    assert value("kube_host", "__kube_host_bpf_refused", kube_host_bpf_jit_harden_off=True, **gpus) is False
    assert value("kube_host", "__kube_host_bpf_refused", **quiet) is False
    found = value("kube_host", "__kube_host_all_files", cluster_ca_certificate=CA, **quiet)
    assert [entry["dest"] for entry in found] == [
        "/etc/sysctl.d/99-zz-gpuctl.conf",
        "/etc/sysctl.d/60-gpuctl.conf",
        "/etc/gpuctl/ca.crt",
    ]
