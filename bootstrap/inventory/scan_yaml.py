"""Places of an inventory in Ansible's YAML form, and of files of variables."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml

from bootstrap.inventory.bounds import MOST_VALUES, value_count
from bootstrap.inventory.model import MINIKUBE, NODE_GROUPS, SERVICE_GROUPS
from bootstrap.inventory.places import Definition, Fault, GroupEntry, HostEntry, Scan
from bootstrap.inventory.yaml_nodes import MERGE, doubled

_Loader: type[yaml.SafeLoader] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
# Ansible's own: `yaml_extensions` of its YAML plugin, and what it takes from a folder of variables.
YAML_SUFFIXES = frozenset({".yml", ".yaml", ".json"})
_PARTS = ("children", "hosts", "vars")
# Of the user's own groups Ansible passes over what it does not know, and so does gpuctl: they may hold YAML's anchors.
_OURS = frozenset({*NODE_GROUPS, *SERVICE_GROUPS, MINIKUBE, "all"})
_KINDS: dict[type[yaml.Node], str] = {
    yaml.ScalarNode: "one value",
    yaml.SequenceNode: "a list",
    yaml.MappingNode: "a mapping",
}
_GROUP_LINE = re.compile(r"""^(?:"[^"]+"|'[^']+'|[^\s\[\]{}#;=:,]+)[ \t]*:(?:[ \t]|$)|^[ \t]*\{""")
_LIST_OUTPUT = "it is what `ansible-inventory --list` or an inventory script prints for Ansible, and no inventory"
_LIST_FIX = "make it with --yaml: ansible-inventory -i INVENTORY --list --yaml --output FILE.yml"


def is_yaml(path: Path, text: str) -> bool:
    """Whether Ansible reads this file of an inventory as YAML: by its suffix, and without one by what it holds."""
    suffix = os.path.splitext(path.name)[1]  # noqa: PTH122 - Ansible's way: `hosts.` has the suffix `.`
    return suffix in YAML_SUFFIXES or (not suffix and is_group_mapping(text))


def is_group_mapping(text: str) -> bool:
    """Whether the text is to be read as YAML: its first line that is no comment is a key, or begins a mapping."""
    for line in text.removeprefix("\ufeff").splitlines():
        if line.strip() and not line.lstrip().startswith("#") and line.rstrip() != "---" and line[0] != "%":
            return _GROUP_LINE.match(line) is not None
    return False


def scan_yaml(text: str, path: str) -> Scan:
    """Scan Ansible's YAML form: groups with hosts, children and vars."""
    found = Scan(yaml_files={path})
    node = compose(text, path, found)
    if node is not None and _is_list_output(node):
        found.faults.append(Fault(_LIST_OUTPUT, path, _line(node), fatal=True, fix=_LIST_FIX))
        return found
    with suppress(RecursionError):  # an alias to a group that holds it: Ansible refuses it
        for name, body in pairs(node):
            _scan_group(found, name, body, path)
    return found


def _is_list_output(node: yaml.Node) -> bool:
    """Whether it is JSON for scripts: `_meta`, or groups that are lists, or have lists of hosts or children."""
    groups = {_text(name): body for name, body in pairs(node)}
    if "_meta" in groups:
        return True
    lists = [body for body in groups.values() if isinstance(body, yaml.SequenceNode)]
    parts = [part for body in groups.values() for name, part in pairs(body) if _text(name) in ("hosts", "children")]
    flow = isinstance(node, yaml.MappingNode) and node.flow_style
    return bool(flow and any(isinstance(part, yaml.SequenceNode) for part in (*lists, *parts)))


def _scan_group(found: Scan, key: yaml.Node, body: yaml.Node, path: str) -> None:
    group = _text(key)
    found.groups.append(GroupEntry(group, path, _line(key)))
    found.faults += _unlike_a_group(group, key, body, path)
    for part, content in pairs(body):
        if _text(part) == "hosts":
            for host, variables in _entries(content):
                found.add_host(HostEntry(_text(host), group, path, _line(host)))
                found.definitions += _definitions(variables, "host", _text(host), path)
        elif _text(part) == "children":
            for child, child_body in _entries(content):
                _scan_group(found, child, child_body, path)
        elif _text(part) == "vars":
            found.definitions += _definitions(content, "group", group, path)


def _unlike_a_group(group: str, key: yaml.Node, body: yaml.Node, path: str) -> Iterator[Fault]:
    """What Ansible refuses without naming the line, or passes over although hosts of the cluster are lost by it."""
    if not _is_empty(body) and not isinstance(body, yaml.MappingNode):
        words = f"the group `{group}` is {_KINDS[type(body)]}, and must be a mapping of hosts, children and vars"
        if group in _OURS:
            yield Fault(words, path, _line(key), silent=True, fix=_colons("hosts", body))
        return
    for part, content in pairs(body):
        name = _text(part)
        if name not in _PARTS:
            if group in _OURS:
                words = f"`{name}` in the group `{group}` is none of hosts, children and vars: Ansible passes over it"
                fix = f"if it is a host, write it below `hosts:`; if it is a variable, below `vars:` of `{group}`"
                yield Fault(words, path, _line(part), silent=True, fix=fix)
        elif isinstance(content, yaml.SequenceNode):
            words = f"`{name}` of the group `{group}` is a list, and must be a mapping"
            yield Fault(words, path, _line(part), fix=_colons(name, content))
        elif name == "hosts":
            for host, variables in pairs(content):
                if not _is_empty(variables) and not isinstance(variables, yaml.MappingNode):
                    words = (
                        f"the variables of host `{_text(host)}` are {_KINDS[type(variables)]}, and must be a mapping"
                    )
                    yield Fault(words, path, _line(host), fix="write them as `name: value`, a line each")


def _colons(part: str, node: yaml.Node) -> str:
    """How the items of a list are written as keys."""
    items = node.value if isinstance(node, yaml.SequenceNode) else [node]
    names = [_text(item) for item in items if isinstance(item, yaml.ScalarNode)] or ["NAME"]
    more = ", …" if len(names) > 3 else ""
    return f"write `{part}: {{{', '.join(f'{name}: {{}}' for name in names[:3])}{more}}}`, or a line `{names[0]}:` each"


def scan_vars(text: str, path: str, scope: str, owner: str) -> Scan:
    """Scan a file of group_vars or host_vars."""
    found = Scan(yaml_files={path})
    node = compose(text, path, found, owner)
    found.definitions += _definitions(node, scope, owner, path)
    return found


def _definitions(node: yaml.Node | None, scope: str, owner: str, path: str) -> Iterator[Definition]:
    for key, value in pairs(node):
        raw = value.value if isinstance(value, yaml.ScalarNode) else ""
        yield Definition(_text(key), raw, scope, owner, path, _line(key), "yaml")


def compose(text: str, path: str, found: Scan, owner: str = "") -> yaml.Node | None:
    """The text's nodes with their marks; None, and a fault where one can be named, when it cannot be parsed."""
    try:
        node: yaml.Node | None = yaml.compose(text, _Loader)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        words = " ".join(filter(None, (error.context, error.problem)))
        found.faults.append(Fault(words, path, line, owner=owner))
        return None
    except (yaml.YAMLError, ValueError, RecursionError):  # control characters and the like: Ansible's words must do
        return None
    if value_count(node) > MOST_VALUES:
        words = f"its aliases stand for more than {MOST_VALUES} values, or for themselves"
        found.faults.append(Fault(words, path, _line(node) if node is not None else 1, fatal=True))
        return None
    for key, _, again in doubled(node) if node is not None else ():
        words = f"`{key}` stands twice in one mapping"
        found.faults.append(Fault(words, path, again.line + 1, silent=True, owner=owner))
    return node


def pairs(node: Any) -> Sequence[tuple[yaml.Node, yaml.Node]]:
    """The keys and values of a mapping, those that it merges (`<<`) first unless it has them itself."""
    if not isinstance(node, yaml.MappingNode):
        return ()
    own = [(key, value) for key, value in node.value if key.tag != MERGE]
    if len(own) == len(node.value):
        return own
    taken = {_text(key) for key, _ in own}
    merged = []
    for source in (value for key, value in node.value if key.tag == MERGE):
        for part in source.value if isinstance(source, yaml.SequenceNode) else (source,):
            for key, value in pairs(part):
                if _text(key) not in taken:
                    taken.add(_text(key))
                    merged.append((key, value))
    return [*merged, *own]


def _entries(node: yaml.Node) -> Sequence[tuple[yaml.Node, yaml.Node]]:
    """Hosts or children: the keys of a mapping, or one name."""
    if isinstance(node, yaml.ScalarNode) and not _is_empty(node):
        return [(node, yaml.ScalarNode("tag:yaml.org,2002:null", "", node.start_mark, node.end_mark))]
    return pairs(node)


def _is_empty(node: yaml.Node) -> bool:
    return isinstance(node, yaml.ScalarNode) and node.tag == "tag:yaml.org,2002:null"


def _text(node: yaml.Node) -> str:
    return str(node.value) if isinstance(node, yaml.ScalarNode) else ""


def _line(node: yaml.Node) -> int:
    return int(node.start_mark.line) + 1
