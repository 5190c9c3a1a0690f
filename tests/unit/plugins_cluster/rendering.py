"""Renders a role's templates and values as Ansible does, without a host."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ansible.parsing.dataloader import DataLoader
from ansible.plugins.loader import init_plugin_loader
from ansible.template import Templar, trust_as_template
from ansible.utils.collection_loader import AnsibleCollectionConfig

ROOT = Path(__file__).resolve().parents[3]
ROLES = ROOT / "roles"
GOLDEN = ROOT / "tests" / "golden" / "roles"
CLUSTER = {
    "cluster_name": "lab",
    "cluster_endpoint": "lab-api",
    "cluster_endpoint_port": 6443,
    "cluster_pod_cidr": "10.244.0.0/16",
    "cluster_service_cidr": "10.96.0.0/12",
    "cluster_ca_certificate": "",
    "ansible_managed": "Written by gpuctl.",
}


def have_lookups() -> None:
    """For templates that look files up: tell Ansible's loader, once for all tests, where its plugins are."""
    if AnsibleCollectionConfig.collection_finder is None:
        init_plugin_loader([])


def templar(role: str, **values: Any) -> Templar:
    """A templar that knows the role's defaults and vars, and these values."""
    loader = DataLoader()
    variables: dict[str, Any] = dict(CLUSTER)
    for room in ("defaults", "vars"):
        found = loader.load_from_file(str(ROLES / role / room / "main.yml"), trusted_as_template=True)
        variables.update(found or {})
    variables.update(values)
    return Templar(loader=loader, variables=variables)


def render(role: str, template: str, **values: Any) -> str:
    """The text that a template becomes."""
    text = trust_as_template((ROLES / role / "templates" / template).read_text(encoding="utf-8"))
    overrides = {"trim_blocks": True, "lstrip_blocks": True}
    return str(templar(role, **values).template(text, escape_backslashes=False, overrides=overrides))


def value(role: str, name: str, **values: Any) -> Any:
    """The value of one variable of the role."""
    found = templar(role, **values)
    return found.template(found.available_variables[name])
