"""The settings for plain/bootstrap.sh: those that a lab's inventory gives gpuctl, as shell variables."""

from __future__ import annotations

import configparser
import json
import shlex
from pathlib import Path
from typing import Any

import yaml

from tests.unit.plugins_cluster.rendering import ROLES, render

SCRIPT = Path(__file__).with_name("plain") / "bootstrap.sh"
GPUS_PER_WORKER = 8


def write_settings(inventory: Path, folder: Path) -> None:
    """Write settings.sh into the folder that the script is given."""
    text = "".join(f"{name}={shlex.quote(str(value))}\n" for name, value in _settings(_parsed(inventory)).items())
    (folder / "settings.sh").write_text(text, encoding="utf-8")


def _parsed(inventory: Path) -> configparser.ConfigParser:
    parser = configparser.ConfigParser(delimiters=("=",), interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read(inventory)
    return parser


def _settings(lab: configparser.ConfigParser) -> dict[str, Any]:
    variables = lab["all:vars"]
    apt, versions, workers = json.loads(variables["kubeadm_apt_source"]), _defaults(), list(lab["workers"].values())
    mirrors = json.loads(variables["containerd_registry_mirrors"])
    cgroup_v1 = variables.get("kubeadm_allow_cgroup_v1") == "true"
    return {
        "SSH": f"ssh -i {variables['ansible_ssh_private_key_file']} {variables['ansible_ssh_common_args']}",
        "CONTROL_PLANE": next(iter(lab["control_plane"].values())),
        "WORKERS": " ".join(workers),
        "NODES": 1 + len(workers),
        "GPUS": GPUS_PER_WORKER * len(workers),
        "ENDPOINT": variables["cluster_endpoint"],
        "CA": Path(variables["cluster_ca_file"]).read_text(encoding="ascii").strip(),
        "APT_URL": apt["url"],
        "APT_KEY": apt["key_url"],
        "REGISTRIES": " ".join(mirrors),
        "REGISTRY_URL": next(iter(mirrors.values())),
        "KUBERNETES": f"{versions['kubeadm_kubernetes_version']}-*",
        "CONTAINERD": f"{versions['containerd_version']}-*",
        "DRIVER": f"{versions['nvidia_driver_version']}-*",
        "TOOLKIT": f"{versions['nvidia_container_toolkit_version']}-*",
        "PAUSE_IMAGE": versions["containerd_sandbox_image"],
        "WORKER_IMAGES": " ".join(_images(versions)),
        "PREFLIGHT": "--ignore-preflight-errors=SystemVerification" if cgroup_v1 else "",
        "KUBELET_CONFIG": _document("kubelet.config.k8s.io/v1beta1", "KubeletConfiguration", {
            "cgroupDriver": "systemd", "serializeImagePulls": False, **({"failCgroupV1": False} if cgroup_v1 else {}),
            **json.loads(variables["kubeadm_kubelet_config"]),
        }),
        "KUBE_PROXY_CONFIG": _document(
            "kubeproxy.config.k8s.io/v1alpha1", "KubeProxyConfiguration",
            json.loads(variables["kubeadm_kube_proxy_config"]),
        ),
        "MANIFESTS": "\n---\n".join(
            (render("flannel", "flannel.yml.j2"), render("nvidia_device_plugin", "nvidia-device-plugin.yml.j2"))
        ),
    }  # fmt: skip


def _defaults() -> dict[str, Any]:
    found: dict[str, Any] = {}
    for role in ROLES.iterdir():
        found.update(yaml.safe_load((role / "defaults" / "main.yml").read_text(encoding="utf-8")) or {})
    return found


def _images(versions: dict[str, Any]) -> list[str]:
    """What runs on a worker: what the manifests name, and kube-proxy."""
    manifests = render("flannel", "flannel.yml.j2") + render("nvidia_device_plugin", "nvidia-device-plugin.yml.j2")
    named = {line.split('"')[1] for line in manifests.splitlines() if line.strip().startswith("image: ")}
    return sorted(
        {*named, versions["containerd_sandbox_image"],
         f"{versions['kubeadm_image_repository']}/kube-proxy:v{versions['kubeadm_kubernetes_version']}"}
    )  # fmt: skip


def _document(version: str, kind: str, values: dict[str, Any]) -> str:
    return json.dumps({"apiVersion": version, "kind": kind, **values})
