"""Facts that the probe recorded on real hosts, and the inventory that they belong to."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from bootstrap.checks.finding import Finding
from bootstrap.checks.preflight import preflight
from bootstrap.inventory.model import Inventory
from bootstrap.probe.facts import HostFacts, ProbeResult
from bootstrap.probe.facts_json import from_json
from tests.unit.factories import inventory

FACTS = Path(__file__).parents[2] / "fixtures" / "facts"
ADDRESSES = {"cp1": "10.202.66.11", "gpu1": "10.202.66.12", "gpu2": "10.202.66.13"}


def read(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((FACTS / f"{name}.json").read_text(encoding="utf-8"))
    return found


def fresh() -> dict[str, ProbeResult]:
    """A control plane and two GPU workers on which nothing was done yet."""
    cp1 = from_json("cp1", read("fresh-control-plane"))
    gpu1 = from_json("gpu1", read("fresh-gpu-host"))
    gpu2 = replace(
        gpu1,
        host="gpu2",
        hostname="gpu2",
        machine_id="b18dc985a1a04144a5b3e16a876259ff",
        boot_id="2fcda6b9-de49-48b1-abeb-ce8183422028",
        macs=("ae:60:35:2c:3d:63",),
        addresses={"host0": ("10.202.66.13/24",)},
    )
    return {"cp1": cp1, "gpu1": gpu1, "gpu2": gpu2}


def live(host: str) -> HostFacts:
    """A host of a cluster that runs: cp1, the control plane, or gpu1, a worker with simulated GPUs."""
    return from_json(host, read({"cp1": "live-control-plane", "gpu1": "live-gpu-host"}[host]))


def lab(**settings: Any) -> Inventory:
    workers = {name: address for name, address in ADDRESSES.items() if name != "cp1"}
    return inventory({"cp1": ADDRESSES["cp1"]}, workers, explicit={"kubeadm_allow_cgroup_v1": True, **settings})


def facts_of(probes: Mapping[str, ProbeResult], host: str) -> HostFacts:
    found = probes[host]
    assert isinstance(found, HostFacts)
    return found


def findings(host: str, settings: Mapping[str, Any] | None = None, **changes: Any) -> tuple[Finding, ...]:
    """What preflight says of the fresh lab when one host differs from what was recorded."""
    probes = fresh()
    probes[host] = replace(facts_of(probes, host), **changes)
    return preflight(lab(**(settings or {})), probes)
