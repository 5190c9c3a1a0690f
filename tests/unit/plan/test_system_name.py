"""The system that a host names chooses a file of the roles here: what it says is no way out of their folder."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bootstrap.plan.planner import decide
from bootstrap.probe.facts import OsFacts
from tests.unit.factories import host_facts, inventory


@pytest.mark.parametrize(
    ("name", "version", "expected"),
    [
        ("debian", "12", "debian-12"),
        ("ubuntu", "24.04", "ubuntu-24.04"),
        ("../../../tmp/x", "1", "unknown"),
        ("debian", "12/../x", "unknown"),
        ("{{ 7*7 }}", "12", "unknown"),
        ("debian\n", "12", "unknown"),
        ("", "", "unknown"),
    ],
)
def test_the_name_of_a_system(name: str, version: str, expected: str) -> None:
    facts = host_facts("cp1")
    facts = replace(facts, os=OsFacts(name, version, "", "", "x86_64", "6.1.0"))
    found = decide(inventory({"cp1": "198.51.100.11"}, {}), {"cp1": facts})
    assert found.arguments.by_host["cp1"]["cluster_os"] == expected
