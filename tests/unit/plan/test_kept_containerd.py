"""A containerd that is there keeps its folders, and goes on keeping them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from bootstrap.checks.finding import Severity
from bootstrap.checks.preflight import preflight
from bootstrap.plan.arguments import expected_gpus, resolve_arguments
from bootstrap.plan.cluster_view import view_cluster
from bootstrap.plan.digests import argument_digests
from bootstrap.plan.driver_arguments import module_flavour
from bootstrap.plan.planner import decide
from bootstrap.probe.facts import ContainerdFacts, HostFacts, PciGpu
from tests.unit.factories import GIB, host_facts, inventory, minikube_inventory

FOUND = ContainerdFacts(root="/data/containerd", state="/data/run", imports=("/opt/site/*.toml",))
PACKAGES = {"containerd.io": "2.1.4-1~debian.12~bookworm"}


def arguments(facts: HostFacts, **explicit: Any) -> dict[str, Any]:
    wanted = inventory({"cp1": "198.51.100.10"}, {"gpu1": "198.51.100.11"}, explicit=explicit)
    all_facts = {"cp1": host_facts("cp1", address="198.51.100.10"), "gpu1": facts}
    return dict(resolve_arguments(wanted, all_facts, view_cluster(wanted, all_facts)).by_host["gpu1"])


def folders(values: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(values[f"containerd_{name}"] for name in ("data_root", "state_folder", "further_imports"))


def recorded(values: dict[str, Any]) -> dict[str, Any]:
    return {"schema": 1, "component": "containerd", "state": "complete", "revision": 1, "machine_id": None,
            "arguments": argument_digests("containerd", values)}  # fmt: skip


def test_an_adopted_containerd_keeps_its_folders_and_the_next_run_has_nothing_to_change() -> None:
    facts = host_facts("gpu1", packages=PACKAGES, containerd=FOUND)
    values = arguments(facts)
    assert folders(values) == ("/data/containerd", "/data/run", ["/opt/site/*.toml"])
    assert values["containerd_adopt"]

    ours = ContainerdFacts(
        root="/data/containerd", state="/data/run", imports=("/opt/site/*.toml",), settings=("plugins.x",)
    )
    again = replace(facts, receipts={"containerd": recorded(values)}, containerd=ours)
    assert folders(arguments(again)) == folders(values)
    wanted = inventory({"cp1": "198.51.100.10"}, {"gpu1": "198.51.100.11"})
    decision = decide(wanted, {"cp1": host_facts("cp1", address="198.51.100.10"), "gpu1": again})
    assert ("gpu1", "containerd") not in {(step.host, step.component) for step in decision.plan.steps}


def test_a_receipt_of_before_stays_as_it_is() -> None:
    """Its host was switched to the default folder then: where its data is now stays."""
    values = arguments(host_facts("gpu1", packages=PACKAGES))
    old = recorded(values)
    for name in ("containerd_state_folder", "containerd_further_imports"):
        del old["arguments"][name]
    facts = host_facts("gpu1", packages=PACKAGES, receipts={"containerd": old}, containerd=FOUND)
    assert folders(arguments(facts)) == ("/var/lib/containerd", "/run/containerd", [])


def test_the_inventory_has_the_last_word_on_a_new_host_and_none_without_a_containerd() -> None:
    assert folders(arguments(host_facts("gpu1"), containerd_data_root="/data"))[0] == "/data"
    left = host_facts("gpu1", containerd=FOUND)  # a configuration whose containerd was removed
    assert folders(arguments(left)) == ("/var/lib/containerd", "/run/containerd", [])
    by_hand = host_facts("gpu1", containerd=FOUND, units={"containerd.service": "active,enabled"})
    assert folders(arguments(by_hand))[0] == "/data/containerd"


@pytest.mark.parametrize(
    ("explicit", "free", "code"),
    [
        ({"containerd_data_root": "/data"}, {"/": 5 * GIB, "/var/lib/containerd": 5 * GIB, "/data": 90 * GIB}, None),
        (
            {"containerd_data_root": "/data/c"},
            {"/": 90 * GIB, "/var/lib/containerd": 90 * GIB, "/data": GIB},
            "disk-low",
        ),
        ({}, {"/": 5 * GIB, "/var/lib/containerd": 5 * GIB, "/data": 90 * GIB}, "disk-low"),
    ],
)
def test_room_is_looked_for_where_images_go(explicit: dict[str, Any], free: dict[str, int], code: str | None) -> None:
    wanted = inventory({"cp1": "198.51.100.10"}, {"gpu1": "198.51.100.11"}, explicit=explicit)
    facts = {"cp1": host_facts("cp1", address="198.51.100.10", disk_free_bytes={"/": 90 * GIB})}
    facts["gpu1"] = host_facts("gpu1", disk_free_bytes=free)
    assert [f.code for f in preflight(wanted, facts) if f.host == "gpu1"] == ([code] if code else [])


def test_room_is_looked_for_where_an_adopted_containerd_and_docker_have_their_data() -> None:
    free = {"/": 5 * GIB, "/var/lib/containerd": 5 * GIB, "/data/containerd": 90 * GIB}
    wanted = inventory({"cp1": "198.51.100.11"}, {})
    kept = host_facts("cp1", packages=PACKAGES, containerd=FOUND, data_roots={"containerd": "/data/containerd"})
    assert preflight(wanted, {"cp1": replace(kept, disk_free_bytes=free)}) == ()

    box = host_facts("box", data_roots={"docker": "/data/docker"})
    small = {"/var/lib/docker": GIB, "/data/docker": 90 * GIB}
    assert preflight(minikube_inventory(), {"box": replace(box, disk_free_bytes=small)}) == ()
    [found] = preflight(minikube_inventory(), {"box": replace(box, disk_free_bytes={"/data/docker": GIB})})
    assert (found.severity, "/data/docker has 1.0 GiB" in found.message) == (Severity.WARN, True)


def cards(*ids: str) -> tuple[PciGpu, ...]:
    return tuple(PciGpu(f"0000:0{n}:00.0", device) for n, device in enumerate(ids, 1))


@pytest.mark.parametrize(
    ("ids", "flavour", "count"),
    [
        (("128b", "2684"), "open", 1),  # GT 710, RTX 4090
        (("10d8", "2b85"), "open", 1),  # NVS 300, RTX 5090
        (("1db6", "128b"), "closed", 1),  # V100, GT 710
        (("102d", "102d"), "open", 0),  # K80
    ],
)
def test_the_module_follows_from_the_cards_that_count(ids: tuple[str, ...], flavour: str, count: int) -> None:
    facts = host_facts("gpu1", gpus=0)
    facts = replace(facts, gpus=cards(*ids))
    values = arguments(facts)

    assert module_flavour(facts) == values["nvidia_driver_module"] == flavour
    assert values["cluster_gpu_host"] == (count > 0)
    assert len(expected_gpus(facts)) == count
    old = {"nvidia_driver": {"state": "complete", "gpus": [card.address for card in facts.gpus]}}
    assert len(expected_gpus(replace(facts, receipts=old))) == count, "an earlier gpuctl counted all of them"


def test_another_branch_has_its_newest_version_unless_one_is_named() -> None:
    facts = host_facts("gpu1", gpus=1)
    assert arguments(facts)["nvidia_driver_version"].startswith("580.")
    assert arguments(facts, nvidia_driver_branch="570")["nvidia_driver_version"] == ""
    named = {"nvidia_driver_branch": "570", "nvidia_driver_version": "570.172.08"}
    assert arguments(facts, **named)["nvidia_driver_version"] == "570.172.08"


@pytest.mark.parametrize(
    ("resolved", "given", "path"),
    [
        (True, None, ""),  # the case: no systemd-resolved, and no file of its
        (True, "/run/systemd/resolve/resolv.conf", "/run/systemd/resolve/resolv.conf"),
        (False, "/run/systemd/resolve/resolv.conf", ""),
    ],
)
def test_the_kubelet_is_given_no_resolver_file_that_is_not_there(resolved: bool, given: str | None, path: str) -> None:
    facts = host_facts("gpu1", resolv_loop=resolved, resolv_conf=given)
    assert arguments(facts)["kubeadm_resolv_conf"] == path
