from __future__ import annotations

import shlex

from hypothesis import given
from hypothesis import strategies as st

from bootstrap.inventory.groups import nearest
from bootstrap.inventory.scan import scan_ini, scan_vars, scan_yaml

names = st.from_regex(r"[a-z][a-z0-9_]{0,8}", fullmatch=True)
values = st.text(st.characters(blacklist_categories=["Cs", "Cc", "Zl", "Zp", "Zs"]), min_size=1, max_size=12)
filler = st.sampled_from(["", "   ", "# remark", "; remark", "\t"])


@st.composite
def inventories(draw: st.DrawFn) -> tuple[str, list[tuple[str, str, int]], list[tuple[str, str, str, int]]]:
    """An INI inventory with the hosts (name, group, line) and variables (owner, name, raw, line) that are in it."""
    lines: list[str] = []
    hosts: list[tuple[str, str, int]] = []
    variables: list[tuple[str, str, str, int]] = []
    for group in draw(st.lists(names, min_size=1, max_size=3)):
        lines += draw(st.lists(filler, max_size=2))
        lines.append(f"[{group}]{draw(st.sampled_from(['', ' # remark', '   ']))}")
        for host in draw(st.lists(names, max_size=3)):
            lines += draw(st.lists(filler, max_size=2))
            pairs = draw(st.lists(st.tuples(names, values), max_size=2))
            lines.append(" ".join([host, *(f"{key}={shlex.quote(value)}" for key, value in pairs)]))
            hosts.append((host, group, len(lines)))
            variables += [(host, key, value, len(lines)) for key, value in pairs]
        lines.append(f"[{group}:vars]")
        for key, value in draw(st.lists(st.tuples(names, values), max_size=3)):
            lines.append(f"{key} = {value}")
            variables.append((group, key, value, len(lines)))
    return "\n".join(lines), hosts, variables


@given(inventories())
def test_everything_is_found_where_it_stands(
    made: tuple[str, list[tuple[str, str, int]], list[tuple[str, str, str, int]]],
) -> None:
    text, hosts, variables = made
    found = scan_ini(text, "x")
    assert [(h.pattern, h.group, h.line) for h in found.hosts] == hosts
    assert [(d.owner, d.name, d.raw, d.line) for d in found.definitions] == variables


@given(st.text())
def test_no_text_breaks_a_scanner(text: str) -> None:
    lines = len(text.splitlines())
    ini = scan_ini(text, "x")
    places = [h.line for h in ini.hosts] + [g.line for g in ini.groups] + [d.line for d in ini.definitions]
    assert all(1 <= line <= lines for line in places)
    scan_yaml(text, "x")
    scan_vars(text, "x", "group", "all")


@given(st.recursive(st.none() | st.booleans() | st.text(), lambda c: st.lists(c) | st.dictionaries(st.text(), c)))
def test_no_json_document_breaks_the_yaml_scanner(document: object) -> None:
    import json

    scan_yaml(json.dumps(document), "x")


def test_aliases_that_lead_back_are_kept_from_ansible() -> None:
    found = scan_yaml("a: &a\n  children:\n    b: *a\n", "x")
    assert [fault.fatal for fault in (*found.faults, *scan_vars("x: &x [*x]\n", "x", "group", "all").faults)] == [
        True
    ] * 2


def test_yaml_places() -> None:
    found = scan_yaml(
        "all:\n  children:\n    workers:\n      hosts:\n        gpu1: {a: 1.40}\n  vars:\n    b: yes\n", "f"
    )
    assert [(h.pattern, h.group, h.line) for h in found.hosts] == [("gpu1", "workers", 5)]
    assert [(d.name, d.raw, d.scope, d.owner, d.line) for d in found.definitions] == [
        ("a", "1.40", "host", "gpu1", 5),
        ("b", "yes", "group", "all", 7),
    ]


def test_a_key_that_stands_twice_is_a_fault() -> None:
    [fault] = scan_vars("a: 1\nb:\n  - c: 1\n    c: 2\n", "f", "group", "all").faults
    assert (fault.line, fault.path) == (4, "f")


def test_names_that_other_tools_use() -> None:
    for name in ("control-plane", "masters", "controllers", "kube_control_plane", "Control_Plane", "contol_plane"):
        assert nearest(name) == "control_plane"
    for name in ("worker", "nodes", "kube_node", "agents", "gpus", "workrs"):
        assert nearest(name) == "workers"
    for name in ("storage", "monitoring", "rack7"):
        assert nearest(name) is None
