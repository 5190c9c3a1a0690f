from __future__ import annotations

import difflib
import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from .rendering import GOLDEN, render, value

SANS = ["10.1.0.10", "127.0.0.1", "lab-api", "lab-cp1"]
INIT = {"kubeadm_role": "init", "kubeadm_node_ip": "10.1.0.10", "kubeadm_cert_sans": SANS}
WORKER = {
    "kubeadm_role": "worker",
    "kubeadm_node_ip": "10.1.0.11",
    "kubeadm_node_labels": {"nvidia.com/gpu.present": "true"},
}
MATERIAL = {"token": "abcdef.0123456789abcdef", "ca_hashes": ["sha256:" + "0" * 64], "certificate_key": "1" * 64}
CASES: dict[str, tuple[str, str, dict[str, Any]]] = {
    "kubeadm/init.yaml": ("kubeadm", "kubeadm.yaml.j2", INIT),
    "kubeadm/init-cgroup-v1-gpu.yaml": (
        "kubeadm",
        "kubeadm.yaml.j2",
        {
            **INIT,
            "kubeadm_schedulable": True,
            "kubeadm_allow_cgroup_v1": True,
            "kubeadm_ignore_preflight_errors": ["NumCPU"],
            "kubeadm_node_labels": {"nvidia.com/gpu.present": "true"},
            "kubeadm_kube_proxy_config": {"mode": "nftables", "conntrack": {"maxPerCore": 0, "min": 0}},
        },
    ),
    "kubeadm/join-worker.yaml": ("kubeadm", "join.yaml.j2", {**WORKER, "__kubeadm_join_material": MATERIAL}),
    "kubeadm/join-control-plane.yaml": (
        "kubeadm",
        "join.yaml.j2",
        {**INIT, "kubeadm_role": "control-plane", "__kubeadm_join_material": MATERIAL},
    ),
    "flannel/default.yaml": ("flannel", "flannel.yml.j2", {}),
    "flannel/host-gw.yaml": (
        "flannel",
        "flannel.yml.j2",
        {"flannel_backend": "host-gw", "flannel_interface": "eth1", "flannel_nftables": True},
    ),
    "nvidia_device_plugin/cdi-cri.yaml": ("nvidia_device_plugin", "nvidia-device-plugin.yml.j2", {}),
    "nvidia_device_plugin/envvar.yaml": (
        "nvidia_device_plugin",
        "nvidia-device-plugin.yml.j2",
        {"nvidia_device_plugin_device_list_strategy": "envvar"},
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_templates_render_as_recorded(name: str) -> None:
    text, path = render(CASES[name][0], CASES[name][1], **CASES[name][2]), GOLDEN / name
    if os.environ.get("GPUCTL_UPDATE_GOLDEN"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    recorded = path.read_text(encoding="utf-8")
    difference = "".join(difflib.unified_diff(recorded.splitlines(True), text.splitlines(True), name, "rendered"))
    assert text == recorded, difference


@pytest.mark.parametrize("name", CASES)
def test_every_document_is_an_object_with_a_kind(name: str) -> None:
    documents = list(yaml.safe_load_all(render(CASES[name][0], CASES[name][1], **CASES[name][2])))
    assert documents
    assert all({"apiVersion", "kind"} <= set(document) for document in documents)


def kubeadm() -> str:
    found = os.environ.get("GPUCTL_KUBEADM") or shutil.which("kubeadm")
    built = sorted(Path.home().glob(".cache/gpuctl/components/components/kubernetes-*/kubeadm"))
    if not found and built:
        found = str(built[-1])
    if not found:
        pytest.skip("no kubeadm on this machine: build the components first")
    return found


@pytest.mark.parametrize("name", [name for name in CASES if name.startswith("kubeadm/")])
def test_kubeadm_accepts_what_is_rendered(name: str, tmp_path: Path) -> None:
    path = tmp_path / "kubeadm.yaml"
    path.write_text(render(CASES[name][0], CASES[name][1], **CASES[name][2]), encoding="utf-8")
    done = subprocess.run(
        [kubeadm(), "config", "validate", "--config", str(path)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "unknown field" not in done.stderr


def test_a_user_setting_wins_over_ours() -> None:
    asked = {"eventRecordQPS": 5, "evictionHard": {"a": "1"}}
    ours = value("kubeadm", "__kubeadm_kubelet_ours", kubeadm_kubelet_config={})
    assert ours["cgroupDriver"] == "systemd"
    assert value("kubeadm", "__kubeadm_kubelet_ours", kubeadm_kubelet_config=asked) == {**ours, **asked}


def test_settings_of_hosts_reach_the_kubelet() -> None:
    ours = value(
        "kubeadm",
        "__kubeadm_kubelet_ours",
        kubeadm_allow_cgroup_v1=True,
        kubeadm_resolv_conf="/run/systemd/resolve/resolv.conf",
    )
    assert ours["failCgroupV1"] is False
    assert ours["resolvConf"] == "/run/systemd/resolve/resolv.conf"


def test_a_schedulable_control_plane_has_an_empty_list_of_taints() -> None:
    registration = value("kubeadm", "__kubeadm_registration", **INIT, kubeadm_schedulable=True)
    assert registration["taints"] == []
    assert "taints" not in value("kubeadm", "__kubeadm_registration", **INIT)


def test_the_repository_follows_the_minor_release() -> None:
    source = value("kubeadm", "kubeadm_apt_source", kubeadm_kubernetes_version="1.37.2")
    assert source["url"] == "https://pkgs.k8s.io/core:/stable:/v1.37/deb/"


def test_another_network_configuration_makes_other_pods() -> None:
    def stamp(**values: Any) -> str:
        daemonset = list(yaml.safe_load_all(render("flannel", "flannel.yml.j2", **values)))[-1]
        return str(daemonset["spec"]["template"]["metadata"]["annotations"]["gpuctl/configuration"])

    assert stamp() != stamp(cluster_pod_cidr="10.42.0.0/16")
    assert stamp() == stamp(flannel_image="elsewhere/flannel:v1")


def test_flannels_configuration_is_json_with_real_booleans() -> None:
    objects = list(yaml.safe_load_all(render("flannel", "flannel.yml.j2")))
    data = next(o for o in objects if o["kind"] == "ConfigMap")["data"]
    assert json.loads(data["net-conf.json"]) == {
        "Network": "10.244.0.0/16",
        "EnableNFTables": False,
        "Backend": {"Type": "vxlan"},
    }


@pytest.mark.parametrize(
    ("argument", "flag", "allowed"),
    [
        (False, {}, False),
        (True, {}, True),
        (False, {"gpuctl_reboot_ok": True}, True),
        (False, {"gpuctl_reboot_ok": False}, False),
    ],
)
def test_a_reboot_is_allowed_by_the_argument_or_by_the_flag_of_one_run(
    argument: bool, flag: dict[str, bool], allowed: bool
) -> None:
    found = value("nvidia_driver", "__nvidia_driver_reboot_ok", nvidia_driver_reboot_ok=argument, **flag)
    assert found is allowed
