"""Receipts at the border: those that gpuctl writes fit, and what does not fit is damaged and says why."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from bootstrap.inventory.canonical import value_digest
from bootstrap.inventory.schema import Component, component_named, components
from bootstrap.plan.arguments import resolve_arguments
from bootstrap.plan.cluster_view import view_cluster
from bootstrap.plan.digests import argument_digests, secret_digest
from bootstrap.probe.receipt import DAMAGED, read_receipt, read_receipts
from tests.unit.factories import host_facts, inventory, minikube_inventory

FACTS = Path(__file__).parents[2] / "fixtures" / "facts"
CP = "198.51.100.10"


def written(component: str, values: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {
        "schema": 1,
        "component": component,
        "state": "complete",
        "machine_id": "a" * 32,
        "arguments": argument_digests(component, values),
        "evidence": {"file:/etc/x": "absent"},
        "versions": {"containerd.io": "2.3.7-1~debian.12~bookworm"},
        "gpus": ["0000:01:00.0"],
        "completed_at": "2026-11-22T18:08:04Z",
        **changes,
    }


def read(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((FACTS / f"{name}.json").read_text(encoding="utf-8"))
    return found


@pytest.mark.parametrize("component", components(), ids=lambda component: component.name)
def test_what_a_role_writes_with_resolved_arguments_fits(component: Component) -> None:
    nodes, box = inventory({"cp1": CP}, {"gpu1": "198.51.100.11"}), minikube_inventory()
    facts = {"cp1": host_facts("cp1", address=CP), "gpu1": host_facts("gpu1", gpus=2), "box": host_facts("box", gpus=1)}
    for found in (nodes, box):
        values = resolve_arguments(found, facts, view_cluster(found, facts)).by_host
        for of_host in values.values():
            raw = json.loads(json.dumps(written(component.name, dict(of_host))))
            receipt = read_receipt(component, raw)
            assert receipt["state"] == "complete", receipt["why"]
            assert dict(receipt) == raw


@pytest.mark.parametrize("fixture", ["live-control-plane", "live-gpu-host"])
def test_receipts_of_living_hosts_fit(fixture: str) -> None:
    document = read(fixture)
    listed = [(document["receipts"], "host"), ((document["kube"] or {}).get("receipts") or {}, "cluster")]
    for raw, scope in listed:
        found = read_receipts(raw, scope)
        assert set(found) == set(raw)
        assert {name: receipt.get("why") for name, receipt in found.items()} == dict.fromkeys(raw)


def changed(path: str, value: Any) -> dict[str, Any]:
    """The kubeadm receipt of a living worker with one place changed; arguments keep a digest of what they say."""
    receipt: dict[str, Any] = copy.deepcopy(read("live-gpu-host")["receipts"]["kubeadm"])
    place, (*folders, last) = receipt, path.split(".")
    for key in folders:
        place = place[key]
    place[last] = value
    if last == "value":
        place["digest"] = value_digest(value)
    return receipt


ARGUMENT = "arguments.kubeadm_kubernetes_version"


@pytest.mark.parametrize(
    ("path", "value", "why"),
    [
        ("state", "installed", "neither begun nor complete"),
        ("schema", True, "no number"),
        ("component", "containerd", "not one of this component"),
        ("machine_id", "{{ 7*7 }}", "machine_id"),
        ("cluster_id", "sha256:", "cluster_id"),
        ("completed_at", "yesterday", "completed_at"),
        ("completed_at", "0001-01-01T00:00:00Z", "completed_at"),
        ("evidence", {"file:/x": 5}, "evidence"),
        ("evidence", [], "evidence"),
        ("versions", {"kubeadm": "1.36.3; reboot"}, "versions"),
        ("gpus", ["../../x"], "gpus"),
        ("gpus", "0000:01:00.0", "gpus"),
        ("revision", -1, "revision"),
        ("arguments", "x", "arguments"),
        (f"{ARGUMENT}.digest", "sha256:00", "digest"),
        (f"{ARGUMENT}.digest", "scrypt:zz:00", "digest"),
        (f"{ARGUMENT}.digest", "sha256:" + "0" * 64, "not that of its value"),
        (f"{ARGUMENT}.value", "1.36.3\n", "must match"),
        (f"{ARGUMENT}.value", "1.36.3 --config=/etc/shadow", "must match"),
        (f"{ARGUMENT}.value", 1.36, "not of type str"),
        (f"{ARGUMENT}.value", ["1.36.3"], "not of type str"),
        ("arguments.kubeadm_role.value", "root", "none of init, control-plane, worker"),
        ("arguments.kubeadm_schedulable.value", 1, "not of type bool"),
        ("arguments.cluster_endpoint_port.value", 70000, "between"),
        ("arguments.cluster_endpoint_port.value", 10**400, "too large"),
        ("arguments.cluster_pod_cidr.value", "10.0.0.256/8", "IPv4 network"),
        ("arguments.kubeadm_cert_sans.value", [{"a": "b"}], "not of type str"),
        ("arguments.kubeadm_node_ip.value", "10.0.0.1\x1b[2J", "no text"),
        ("arguments.kubeadm_kubelet_config.value", json.loads("[" * 90 + "]" * 90), "not of type dict"),
        ("arguments.kubeadm_kubelet_config.value", json.loads('{"a":' * 90 + "1" + "}" * 90), "too deeply"),
        ("arguments.kubeadm_kubelet_config.value", {"a": float("nan")}, "not a number"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_damaged_and_never_used(path: str, value: Any, why: str) -> None:
    receipt = read_receipt(component_named("kubeadm"), changed(path, value))
    assert receipt["state"] == DAMAGED
    assert why in receipt["why"]
    assert set(receipt) == {"schema", "component", "state", "why"}


@pytest.mark.parametrize(
    ("claim", "why"),
    [
        ({"name": "data", "hooks": "y"}, "cannot have"),
        ({"name": 5}, ".name is not of type str"),
        ("data", "of type dict"),
    ],
)
def test_the_entries_of_a_list_have_their_own_spec(claim: Any, why: str) -> None:
    raw = {"schema": 1, "component": "nfs_volumes", "state": "complete"}
    entry = {"digest": value_digest([claim]), "value": [claim]}
    receipt = read_receipt(component_named("nfs_volumes"), {**raw, "arguments": {"nfs_volumes_claims": entry}})
    assert why in receipt["why"]


def test_what_is_not_known_is_ignored() -> None:
    raw = {**changed("state", "complete"), "motd": "{{ x }}"}
    raw["arguments"]["kubeadm_hooks"] = "sh"
    receipt = read_receipt(component_named("kubeadm"), raw)
    assert receipt["state"] == "complete"
    assert "motd" not in receipt
    assert "kubeadm_hooks" not in receipt["arguments"]
    assert read_receipts({"../x": raw, "flannel": raw}, "host") == {}


def test_a_secret_has_a_digest_and_no_value() -> None:
    raw = {"schema": 1, "component": "launch_agent", "state": "complete"}
    for digest in (secret_digest("k"), value_digest("k")):
        raw["arguments"] = {"launch_agent_api_key": {"digest": digest, "value": "k"}}
        receipt = read_receipt(component_named("launch_agent"), raw)
        assert receipt["arguments"] == {"launch_agent_api_key": {"digest": digest}}


def test_one_of_a_newer_form_is_not_read() -> None:
    receipt = read_receipt(component_named("kubeadm"), changed("schema", 2))
    assert (receipt["schema"], receipt["state"]) == (2, DAMAGED)
