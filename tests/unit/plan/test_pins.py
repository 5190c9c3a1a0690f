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


TARGETS, CLAIMS = "launch_agent_target_namespaces", "nfs_volumes_claims"
OLD_CLAIMS = [{"name": "nfs-kubedata", "namespaces": ["default"], "capacity": "100Gi"}]


def test_jobs_stay_where_an_older_release_had_them() -> None:
    values = resolved("launch_agent", TARGETS, ["default", "wandb"])
    assert values[TARGETS] == ["default", "wandb"]
    assert values["launch_agent_jobs_beside_agent"] is True
    assert values["launch_agent_policy"] == "warn"
    assert resolved("nfs_volumes", CLAIMS, OLD_CLAIMS)[CLAIMS] == OLD_CLAIMS


def test_a_new_installation_has_one_namespace_for_jobs() -> None:
    values = resolved("flannel", "flannel_version", "0.1.2")
    assert values[TARGETS] == ["launch-jobs"]
    assert [claim["namespaces"] for claim in values[CLAIMS]] == [["launch-jobs"]]
    assert (values["launch_agent_jobs_beside_agent"], values["launch_agent_policy"]) == (False, "enforce")


def test_the_inventory_moves_jobs() -> None:
    explicit = {TARGETS: ["launch-jobs"], "launch_agent_jobs_beside_agent": False, "launch_agent_policy": "enforce"}
    values = resolved("launch_agent", TARGETS, ["default", "wandb"], **explicit)
    assert {name: values[name] for name in explicit} == explicit


def test_what_is_kept_and_no_version_is_no_update() -> None:
    found = inventory({"cp1": CP}, {})
    receipt = {"state": "complete", "arguments": {TARGETS: {"digest": "x", "value": ["default", "wandb"]}}}
    kube = KubeFacts(
        nodes=(node("cp1", address=CP),), receipts={"launch_agent": receipt}, drift={}, error=None
    )  # fmt: skip
    traces = ClusterTraces(admin_conf=True, kubelet_conf=True, etcd_data=True, ca_hash="sha256:aa")
    facts = {"cp1": host_facts("cp1", address=CP, kube=kube, cluster=traces)}
    updates = resolve_arguments(found, facts, view_cluster(found, facts)).updates
    assert [update.variable for update in updates if update.component == "launch_agent"] == []
