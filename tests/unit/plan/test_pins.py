"""Versions stay as they were installed, and so does what is named after them."""

from __future__ import annotations

from typing import Any

import pytest

from bootstrap.inventory.schema import component_named
from bootstrap.plan.arguments import resolve_arguments
from bootstrap.plan.cluster_view import view_cluster
from bootstrap.probe.facts import ClusterTraces, KubeFacts
from tests.unit.factories import host_facts, inventory, node

CP = "198.51.100.10"


def resolved(component: str, version: str, installed: str, **explicit: Any) -> dict[str, Any]:
    found = inventory({"cp1": CP}, {}, explicit=explicit)
    receipt = {"state": "complete", "arguments": {version: {"digest": "x", "value": installed}}}
    kube = KubeFacts(nodes=(node("cp1", address=CP),), receipts={component: receipt}, drift={}, error=None)
    traces = ClusterTraces(admin_conf=True, kubelet_conf=True, etcd_data=True, ca_hash="sha256:aa")
    facts = {"cp1": host_facts("cp1", address=CP, kube=kube, cluster=traces)}
    return dict(resolve_arguments(found, facts, view_cluster(found, facts)).by_host["cp1"])


@pytest.mark.parametrize(
    ("component", "version", "image"),
    [
        ("flannel", "flannel_version", "flannel_image"),
        ("nvidia_device_plugin", "nvidia_device_plugin_version", "nvidia_device_plugin_image"),
    ],
)
def test_an_image_keeps_the_version_that_is_installed(component: str, version: str, image: str) -> None:
    assert version in component_named(component).pinned
    values = resolved(component, version, "0.1.2")
    assert values[version] == "0.1.2"
    assert values[image].endswith(":v0.1.2")


def test_a_package_source_keeps_the_release_that_is_installed() -> None:
    found = inventory({"cp1": CP}, {})
    receipt = {"state": "complete", "arguments": {"kubeadm_kubernetes_version": {"digest": "x", "value": "1.35.4"}}}
    facts = {"cp1": host_facts("cp1", address=CP, receipts={"kubeadm": receipt})}
    values = resolve_arguments(found, facts, view_cluster(found, facts)).by_host["cp1"]
    assert values["kubeadm_apt_source"]["url"] == "https://pkgs.k8s.io/core:/stable:/v1.35/deb/"


def test_an_image_that_the_inventory_names_stays() -> None:
    values = resolved("flannel", "flannel_version", "0.1.2", flannel_image="mirror.example.com/flannel:mine")
    assert values["flannel_image"] == "mirror.example.com/flannel:mine"
