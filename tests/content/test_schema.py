"""meta/gpuctl.yml of every role, and the versions that roles install."""

from __future__ import annotations

import re
from typing import Any

import pytest
from jinja2 import Environment

from bootstrap.content import ansible_config, content_root, roles_path
from bootstrap.inventory.schema import Component, component_named, components, options_of, parse_role, roles, variables
from bootstrap.inventory.validate import format_complaint
from bootstrap.plan.model import Effect
from bootstrap.versions import AptSource, parse, versions
from tests.content.rolefiles import ROLES, load

RULES = ("derived", "pinned", "immutable", "transient", "patterns", "ranges", "formats", "images")
REQUIRED = frozenset({"component", "scope", "hosts", "order", "effect", "evidence"})
KEYS = REQUIRED | {"uses", "wanted", "objects_in_use", "revision", "revisions", "assumed", "pod_security", *RULES}
IN_USE_KEYS = frozenset({"kind", "where", "state", "own"})
EVIDENCE_KEYS = frozenset({"files", "packages", "units", "sysctls", "links"})


def meta(role: str) -> dict[str, Any]:
    loaded: dict[str, Any] = load(roles_path() / role / "meta" / "gpuctl.yml")
    return loaded


@pytest.mark.parametrize("role", ROLES)
def test_meta_is_well_formed(role: str) -> None:
    found = meta(role)
    assert set(found) <= KEYS
    assert set(found) >= REQUIRED
    assert found["component"] == role
    assert found["scope"] in {"host", "cluster", "settings"}
    assert found["hosts"] in {"all", "gpu", "control_plane", "nfs_server", "launch_agent", "minikube"}
    assert found["effect"] in set(Effect)
    assert set(found["evidence"]) <= EVIDENCE_KEYS
    assert all({"kind"} <= set(entry) <= IN_USE_KEYS for entry in found.get("objects_in_use") or ())


@pytest.mark.parametrize("role", ROLES)
def test_rules_are_about_the_role_s_own_variables(role: str) -> None:
    own = {variable.name for variable in component_named(role).variables}
    for rule in RULES:
        assert set(meta(role).get(rule) or ()) <= own, rule
    assert set(meta(role).get("uses") or ()) <= set(variables()) - own


@pytest.mark.parametrize("role", ROLES)
def test_what_a_component_is_wanted_by_is_a_yes_or_no_of_its_own(role: str) -> None:
    component = component_named(role)
    if component.wanted:
        assert {variable.name: variable.type for variable in component.variables}[component.wanted] == "bool"


@pytest.mark.parametrize("role", ROLES)
def test_patterns_and_ranges_hold_for_the_defaults(role: str) -> None:
    component = component_named(role)
    values = {variable.name: variable.default for variable in component.variables}
    for name, pattern in component.patterns.items():
        assert pattern.startswith("^"), name
        assert pattern.endswith("$"), name
        for item in values[name] if isinstance(values[name], list) else [values[name]]:
            assert "{{" in str(item) or re.search(pattern, str(item)), name
    for name, (low, high) in component.ranges.items():
        assert low <= values[name] <= high
    for name, form in component.formats.items():
        for item in values[name] if isinstance(values[name], list) else [values[name]]:
            assert format_complaint(form, item) == ""


@pytest.mark.parametrize("role", ROLES)
def test_evidence_names_files_with_a_mode(role: str) -> None:
    files = meta(role)["evidence"].get("files") or []
    if isinstance(files, str):  # one template for the whole list
        return
    for entry in files:
        assert isinstance(entry, str) or set(entry) == {"path", "mode"}, entry


def test_components_come_in_the_order_of_their_dependencies() -> None:
    names = [component.name for component in components()]
    hosts = [
        "kube_host",
        "nvidia_driver",
        "containerd",
        "docker",
        "nvidia_container_toolkit",
        "nfs_client",
        "nfs_server",
    ]
    cluster = ["kubeadm", "minikube", "flannel", "nvidia_device_plugin", "nfs_volumes", "csi_driver_nfs"]
    addons = ["volcano", "jobset", "kubeflow_training_operator"]
    launch = ["launch_agent", "launch_agent_host"]
    assert names == [name for name in (*hosts, *cluster, *addons, *launch) if name in names]
    assert len({component.order for component in components()}) == len(names)
    assert [role.name for role in roles() if role.scope == "settings"] == ["cluster"]


def test_shared_immutables_show_in_the_components_that_use_them() -> None:
    shared = component_named("cluster").immutable
    assert shared
    for component in components():
        assert component.immutable & shared == shared & set(component.uses)
    assert shared <= set().union(*(component.immutable for component in components()))


def test_options_of_a_component_are_its_own_and_what_it_uses() -> None:
    kubeadm = component_named("kubeadm")
    assert {option.name for option in options_of("kubeadm")} == {*kubeadm.uses, *(v.name for v in kubeadm.variables)}


def test_a_role_that_calls_itself_something_else_is_refused() -> None:
    spec: dict[str, Any] = {"argument_specs": {"main": {"options": {}}}}
    with pytest.raises(ValueError, match="component is 'b'"):
        parse_role("a", spec, {"component": "b", "scope": "host", "hosts": "all", "order": 1})


def test_defaults_are_the_versions_of_the_table() -> None:
    table = versions().defaults()
    assert {name: rendered(variables()[name].default, table) for name in table} == table


def rendered(value: Any, values: dict[str, Any]) -> str:
    """The text with its templates filled in, also those that come out of others."""
    text = str(value[0] if isinstance(value, list) else value)
    while "{{" in text:
        text = Environment(autoescape=False).from_string(text).render(values)  # noqa: S701 - no HTML
    return text


def test_every_version_variable_is_in_the_table() -> None:
    choices = {"launch_agent_target_namespaces", "nfs_volumes_claims"}  # kept as installed, and no versions
    pinned = {name for component in components() for name in component.pinned if name not in component.assumed}
    assert pinned - choices == {
        release.variable for entry in versions().components.values() for release in entry.releases
    }


def test_default_versions_are_those_that_ran() -> None:
    for entry in versions().components.values():
        for release in entry.releases:
            assert not release.default or versions().ran_in_ci(release.variable, release.value)


@pytest.mark.parametrize("marks", [{}, {"ci": True, "rendered": True}])
def test_a_release_is_marked_one_way(marks: dict[str, bool]) -> None:
    release = {"variable": "x_version", "value": "1", **marks}
    with pytest.raises(ValueError, match="either ci or rendered"):
        parse({"schema": 1, "systems": {}, "components": {"x": {"releases": [release]}}})


SOURCES = [(c, system) for c in versions().components.values() if c.apt for system in versions().systems]


@pytest.mark.parametrize(("name", "system"), [(c.name, system) for c, system in SOURCES])
def test_official_sources_are_those_of_the_table(name: str, system: str) -> None:
    entry = versions().components[name]
    expected = entry.apt_for(system)
    assert expected is not None
    [default] = [r.value for r in entry.releases if r.default and r.variable.endswith("_version")]
    expected = expected.for_version(default)
    assert official_source(component_named(name), system) == expected
    assert expected.url.startswith("https://")
    assert expected.key_url.startswith("https://")
    assert re.fullmatch(r"[0-9A-F]{40}", expected.key_fingerprint)


def official_source(component: Component, system: str) -> AptSource:
    """The source that a role has for a system when the inventory names none: in its defaults or in its vars."""
    default = variables()[f"{component.name}_apt_source"].default
    folder = roles_path() / component.name / "vars"
    data = {**(load(folder / "main.yml") or {}), **(load(folder / f"{system}.yml") or {})}
    [raw] = [default] if default else [data[f"__{component.name}_apt_source_official"]]
    values = {**data, **{r.variable: r.value for r in versions().components[component.name].releases}}

    return AptSource(**{"components": "", **{key: rendered(value, values) for key, value in raw.items()}})


def test_ansible_finds_what_it_needs_beside_its_configuration() -> None:
    import configparser

    config = configparser.ConfigParser()
    config.read(ansible_config())
    for key in ("roles_path", "library", "action_plugins"):
        assert (content_root() / config["defaults"][key]).is_dir(), key
    assert config["defaults"].getboolean("host_key_checking")
