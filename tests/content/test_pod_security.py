"""Namespaces that roles make say which pods they admit."""

from __future__ import annotations

import pytest

from bootstrap.inventory.schema import component_named
from tests.content.rolefiles import WORKING_ROLES
from tests.unit.plugins_cluster.rendering import ROLES

LEVELS = ("privileged", "baseline", "restricted")
UPSTREAM = frozenset({"volcano", "jobset"})  # whose own files have the namespace


def makes_a_namespace(role: str) -> bool:
    templates = (ROLES / role / "templates").glob("*.j2")
    return role in UPSTREAM or any("\nkind: Namespace\n" in path.read_text(encoding="utf-8") for path in templates)


@pytest.mark.parametrize("role", [role for role in WORKING_ROLES if makes_a_namespace(role)])
def test_a_namespace_has_a_level(role: str) -> None:
    labelled = any(
        "pod-security.kubernetes.io/enforce:" in path.read_text(encoding="utf-8")
        for path in (ROLES / role / "templates").glob("*.j2")
    )
    assert (component_named(role).pod_security in LEVELS) is not labelled
