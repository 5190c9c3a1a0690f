"""Clones and copies: what proves that two hosts are one machine, and what only looks like it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootstrap.checks.finding import Finding, Severity
from bootstrap.checks.preflight import preflight
from bootstrap.inventory.model import Inventory
from bootstrap.probe.facts import ClusterTraces, HostFacts, KubeFacts, ProbeResult
from tests.unit.factories import host_facts, inventory, node

ADDRESSES = {"cp1": "198.51.100.10", "gpu1": "198.51.100.11", "gpu2": "198.51.100.12"}
UUID = "4c4c4544-0042-3510-8051-b4c04f4e3132"
SERIAL = "7BQ5NN2"
BMC = "be:3a:f2:b6:05:9f"  # of the USB network card that a BMC shows to every host
NO_SERIALS = [
    *(
        "",
        " ",
        "0",
        "00000000",
        "None",
        "N/A",
        "Not Specified",
        "Not Applicable",
        "Default string",
        "System Serial Number",
    ),
    *("To be filled by O.E.M.", "To Be Filled By O.E.M.", "0123456789", "123456789", "OEM", "O.E.M.", "Chassis Serial"),
    *("xxxxxxxx", "........", "-", "Empty", "unknown", "INVALID", "Default"),
]
NO_UUIDS = [
    *("00000000-0000-0000-0000-000000000000", "ffffffff-ffff-ffff-ffff-ffffffffffff", "Not Settable", "Not Present"),
    *("03000200-0400-0500-0006-000700080009", "FEFEFEFE-FEFE-FEFE-FEFE-FEFEFEFEFEFE", "", "0"),
]


def lab() -> Inventory:
    workers = {name: address for name, address in ADDRESSES.items() if name != "cp1"}
    return inventory({"cp1": ADDRESSES["cp1"]}, workers)


def hosts(**shared: Any) -> dict[str, ProbeResult]:
    """Three machines; the two workers share what is given."""
    found: dict[str, ProbeResult] = {}
    for number, (name, address) in enumerate(ADDRESSES.items(), 1):
        own: dict[str, Any] = {
            "machine_id": f"{number:032x}",
            "boot_id": f"boot{number}",
            "product_uuid": f"4c4c4544-0042-3510-8051-b4c04f4e313{number}",
            "product_serial": f"7BQ5NN{number}",
            "interface_macs": {"eth0": f"02:00:00:00:00:0{number}"},
        }
        found[name] = host_facts(name, address=address, **own)
        if name != "cp1":
            found[name] = replace(facts(found, name), **shared)
    return found


def facts(probes: dict[str, ProbeResult], name: str) -> HostFacts:
    found = probes[name]
    assert isinstance(found, HostFacts)
    return found


def said(probes: dict[str, ProbeResult]) -> list[tuple[str | None, str, Severity]]:
    return [(f.host, f.code, f.severity) for f in preflight(lab(), probes)]


def both(severity: Severity) -> list[tuple[str | None, str, Severity]]:
    return [(name, "identity-duplicate", severity) for name in ("gpu1", "gpu2")]


def test_three_machines_are_three() -> None:
    assert said(hosts()) == []


def test_the_network_card_of_a_bmc_is_like_those_of_all_its_kind() -> None:
    probes = hosts(macs=(BMC,))
    for number, name in enumerate(ADDRESSES, 1):
        own = {"eth0": f"02:00:00:00:00:0{number}", "usb0": BMC}
        addresses = {**facts(probes, name).addresses, "usb0": ("169.254.0.17/24",)}
        probes[name] = replace(facts(probes, name), interface_macs=own, addresses=addresses)

    assert [code for _, code, _ in said(probes) if code == "identity-duplicate"] == []


def test_equal_macs_where_the_nodes_talk_are_worth_a_look() -> None:
    probes = hosts(interface_macs={"eth0": "02:00:00:00:00:aa", "eth1": "02:00:00:00:00:bb"})

    assert said(probes) == both(Severity.WARN)


def test_uuid_and_serial_together_are_proof() -> None:
    assert said(hosts(product_uuid=UUID, product_serial=SERIAL)) == both(Severity.REFUSE)
    assert said(hosts(product_uuid=UUID, product_serial=SERIAL, container=True)) == [
        ("gpu1", "identity-duplicate", Severity.WARN)  # containers of one machine
    ]


@pytest.mark.parametrize("serial", NO_SERIALS)
def test_a_placeholder_for_a_serial_proves_nothing(serial: str) -> None:
    assert [s for _, _, s in said(hosts(product_uuid=UUID, product_serial=serial))] == [Severity.WARN]


@pytest.mark.parametrize("uuid", NO_UUIDS)
def test_a_placeholder_for_a_uuid_proves_nothing(uuid: str) -> None:
    assert said(hosts(product_uuid=uuid, product_serial=SERIAL)) == []


@given(
    uuid=st.sampled_from([UUID, None, *NO_UUIDS]),
    serial=st.sampled_from([SERIAL, None, *NO_SERIALS]),
    macs=st.sampled_from([(), (BMC,)]),
    mac=st.sampled_from(["02:00:00:00:00:aa", ""]),
    machine_id=st.booleans(),
)
def test_only_proof_refuses(uuid: str | None, serial: str | None, macs: Any, mac: str, machine_id: bool) -> None:
    shared: dict[str, Any] = {"product_uuid": uuid, "product_serial": serial, "macs": macs}
    shared |= {"interface_macs": {"eth0": mac} if mac else {}} | ({"machine_id": "a" * 32} if machine_id else {})
    refused = Severity.REFUSE in {severity for _, _, severity in said(hosts(**shared))}

    assert refused == (machine_id or (uuid == UUID and serial == SERIAL))


def running(probes: dict[str, ProbeResult]) -> dict[str, ProbeResult]:
    """The same hosts as nodes of a cluster that answers."""
    nodes = tuple(node(name, address=address) for name, address in ADDRESSES.items())
    made: dict[str, ProbeResult] = {}
    for name in probes:
        traces = ClusterTraces(kubelet_conf=True, admin_conf=name == "cp1", etcd_data=name == "cp1")
        receipt = {"state": "complete", "machine_id": facts(probes, name).machine_id, "schema": 1}
        made[name] = replace(facts(probes, name), cluster=traces, receipts={"kubeadm": receipt})
    made["cp1"] = replace(facts(made, "cp1"), kube=KubeFacts(nodes=nodes))
    return made


def advice(found: tuple[Finding, ...]) -> str:
    return " ".join(f.fix for f in found)


@pytest.mark.parametrize("shared", [{"machine_id": "a" * 32}, {"product_uuid": UUID, "product_serial": SERIAL}])
def test_running_nodes_are_left_in_peace(shared: dict[str, Any]) -> None:
    found = preflight(lab(), running(hosts(**shared)))

    assert [(f.host, f.severity) for f in found] == [("gpu1", Severity.WARN), ("gpu2", Severity.WARN)]
    assert "reset" not in advice(found)


def test_a_new_host_that_is_a_copy_of_a_running_node_is_refused_alone() -> None:
    probes = running(hosts(machine_id="a" * 32))
    probes["gpu2"] = replace(facts(probes, "gpu2"), cluster=ClusterTraces(), receipts={})
    found = preflight(lab(), probes)

    assert [(f.host, f.severity) for f in found] == [("gpu1", Severity.WARN), ("gpu2", Severity.REFUSE)]


def test_a_running_node_with_a_new_machine_id_is_never_told_to_reset() -> None:
    """What the advice for a duplicated machine-id comes to, once it was followed."""
    probes = running(hosts())
    probes["gpu1"] = replace(facts(probes, "gpu1"), machine_id="b" * 32)
    found = preflight(lab(), probes)

    assert [(f.host, f.severity) for f in found] == [("gpu1", Severity.WARN)]
    assert "reset" not in advice(found)
    stopped = replace(facts(probes, "gpu1"), cluster=ClusterTraces(kubelet_conf=True), addresses={"eth0": ()})
    assert "gpuctl reset --limit gpu1" in advice(preflight(lab(), {**probes, "gpu1": stopped}))


def test_a_control_plane_whose_admin_conf_was_moved_away_still_holds_its_cluster() -> None:
    probes = running(hosts())
    for name in ADDRESSES:
        ours = replace(facts(probes, name).cluster, kubelet_ca_hash="sha256:" + "1" * 64, ca_hash="sha256:" + "1" * 64)
        probes[name] = replace(facts(probes, name), cluster=ours)
    probes["cp1"] = replace(
        facts(probes, "cp1"), kube=None, cluster=replace(facts(probes, "cp1").cluster, admin_conf=False)
    )

    assert said(probes) == []
