"""Which images are asked for by digest: new ones, those that the inventory names, and none that runs by its tag."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from bootstrap.inventory.validate import format_complaint
from bootstrap.plan.cluster_view import ClusterView
from bootstrap.plan.images import by_digest_alone, full_name, pinned_images, shipped_images
from bootstrap.plan.planner import decide
from bootstrap.versions import versions
from tests.unit.plan.test_planner import bare, installed, lab

PROVISIONER = "registry.k8s.io/sig-storage/csi-provisioner:v6.3.0"
PINNED = f"{PROVISIONER}@{versions().digests[PROVISIONER]}"
FLANNEL = "ghcr.io/flannel-io/flannel:v0.28.10"
OURS = "sha256:" + "ab" * 32


def images(explicit: dict[str, Any], view: ClusterView | None = None) -> dict[str, Any]:
    host = lab(**explicit).host("cp1")
    return pinned_images(host, host.settings, bare(), view or ClusterView("cp1", False, None))


def test_a_new_cluster_has_the_shipped_digests() -> None:
    assert images({})["csi_driver_nfs_provisioner_image"] == PINNED
    assert "flannel_image" not in images({}), "no digest is known for it"
    assert images({"cluster_known_digests": False}) == {"volcano_image_digests": {}}


def test_the_inventory_has_the_last_word() -> None:
    assert images({"cluster_image_digests": {FLANNEL: OURS}})["flannel_image"] == f"{FLANNEL}@{OURS}"
    assert "csi_driver_nfs_provisioner_image" not in images({"cluster_image_digests": {PROVISIONER: ""}})
    mirrored = {"csi_driver_nfs_provisioner_image": "mirror.example/csi-provisioner:v6.3.0"}
    assert "csi_driver_nfs_provisioner_image" not in images(mirrored), "another name is another image"
    with_digest = {"flannel_image": f"{FLANNEL}@{OURS}", "cluster_image_digests": {FLANNEL: "sha256:" + "0" * 64}}
    assert "flannel_image" not in images(with_digest), "a setting with a digest stays as it is"
    named = {"cluster_image_digests": {"docker.io/wandb/launch-agent:0.31.0": OURS}}
    assert images(named)["launch_agent_image"] == f"wandb/launch-agent:0.31.0@{OURS}"
    ours = {"cluster_image_digests": {"docker.io/volcanosh/vc-scheduler:v1.15.1": OURS}}
    assert images(ours)["volcano_image_digests"] == {"vc-scheduler": f"@{OURS}"}


def test_what_was_installed_by_its_tag_is_no_step() -> None:
    """Receipts of 8d39fb5 have names and tags: with the digests that this version ships nothing is left to do."""
    wanted = lab(cluster_addons=["csi-driver-nfs"], nfs_volumes_server="nas.example")
    by_tag = lab(cluster_addons=["csi-driver-nfs"], nfs_volumes_server="nas.example", cluster_known_digests=False)
    facts = installed(by_tag, bare())
    kube = facts["cp1"].kube
    assert kube is not None
    entry = kube.receipts["csi_driver_nfs"]["arguments"]["csi_driver_nfs_provisioner_image"]
    assert entry["value"] == PROVISIONER
    assert decide(wanted, facts).plan.steps == ()
    # One that was installed with the digest keeps it, and another tag would get its own.
    fresh = installed(wanted, bare())
    kube = fresh["cp1"].kube
    assert kube is not None
    assert kube.receipts["csi_driver_nfs"]["arguments"]["csi_driver_nfs_provisioner_image"]["value"] == PINNED
    assert decide(wanted, fresh).plan.steps == ()


def test_a_digest_of_the_inventory_is_asked_for_on_a_running_cluster() -> None:
    facts = installed(lab(), bare())
    steps = decide(lab(cluster_image_digests={FLANNEL: OURS}), facts).plan.steps
    assert {(step.host, step.component) for step in steps} >= {("cluster", "flannel")}
    assert decide(lab(cluster_image_digests={PROVISIONER: OURS}), facts).plan.steps == (), "it is not installed"


def test_hosts_fetch_it_under_the_name_that_the_kubelet_looks_for() -> None:
    values = decide(lab(cluster_image_digests={FLANNEL: OURS}), bare()).arguments.by_host["gpu1"]
    assert f"ghcr.io/flannel-io/flannel@{OURS}" in values["containerd_prefetch_images"]
    assert values["flannel_image"] == f"{FLANNEL}@{OURS}"
    assert by_digest_alone(f"host:5000/a/b:v1@{OURS}") == f"host:5000/a/b@{OURS}"
    assert by_digest_alone("host:5000/a/b:v1") == "host:5000/a/b:v1"


def test_while_no_api_answers_images_are_as_hosts_have_fetched_them() -> None:
    for explicit in ({}, {"cluster_known_digests": False}):
        before = lab(**explicit)
        facts = installed(before, bare())
        kube = facts["cp1"].kube
        assert kube is not None
        facts["cp1"] = replace(facts["cp1"], kube=replace(kube, error="connection refused"))
        steps = decide(before, facts).plan.steps
        assert [step for step in steps if step.component == "containerd"] == []


@pytest.mark.parametrize(
    ("image", "full"),
    [
        ("wandb/launch-agent:1", "docker.io/wandb/launch-agent:1"),
        ("python:3", "docker.io/library/python:3"),
        ("ghcr.io/a/b:1", "ghcr.io/a/b:1"),
        ("host:5000/b:1", "host:5000/b:1"),
        ("localhost/b:1", "localhost/b:1"),
    ],
)
def test_names_are_completed_as_containerd_does(image: str, full: str) -> None:
    assert full_name(image) == full


def test_a_digest_that_is_none_is_refused() -> None:
    for good in ({}, {FLANNEL: OURS}, {FLANNEL: ""}, {"host:5000/a:v1": OURS}):
        assert format_complaint("image-digests", good) == ""
    for bad in (
        {FLANNEL: "latest"},
        {FLANNEL: OURS.upper()},
        {"ghcr.io/flannel-io/flannel": OURS},
        {f"{FLANNEL}@{OURS}": OURS},
    ):
        assert format_complaint("image-digests", bad)


def test_every_shipped_digest_is_of_an_image_that_a_manifest_names(figure: Any) -> None:
    known = shipped_images()
    assert set(versions().digests) == {full_name(image) for image, digest in known.items() if digest}
    assert format_complaint("image-digests", dict(versions().digests)) == ""
    figure(
        f"images that gpuctl's manifests name: {len(known)}, with a shipped digest: {sum(map(bool, known.values()))}"
    )
