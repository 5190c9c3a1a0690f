"""Where things stand in an inventory: hosts, groups and variables with their lines, as written.

Values are resolved by Ansible (resolve_child.py), not here. This scanner knows what Ansible forgets once it has
parsed: that a host was listed twice, how a number was spelled, on which line a boolean stood. It never raises for
what a file holds: what it cannot read it leaves out, since Ansible reports it.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from bootstrap.inventory.bounds import MOST_HOSTS, MOST_VALUES, host_count, value_count
from bootstrap.inventory.sources import is_source

_SECTION = re.compile(r"^\[([^:\]\s]+)(?::(\w+))?\]\s*(?:[#;].*)?$")
_YAML_SUFFIXES = frozenset({".yml", ".yaml", ".json"})
_VARS_FOLDERS = {"group_vars": "group", "host_vars": "host"}
_Loader: type[yaml.SafeLoader] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True, slots=True)
class Definition:
    """A variable as written. `form` is host-line, ini-vars or yaml: each has its own way of quoting."""

    name: str
    raw: str
    scope: str  # host | group
    owner: str  # host pattern or group name
    path: str
    line: int
    form: str


@dataclass(frozen=True, slots=True)
class HostEntry:
    """A host, or a range of hosts, listed in a group."""

    pattern: str
    group: str
    path: str
    line: int


@dataclass(frozen=True, slots=True)
class GroupEntry:
    """The first place at which a group is named as one that holds hosts or other groups."""

    name: str
    path: str
    line: int


@dataclass(frozen=True, slots=True)
class Fault:
    """What makes a YAML file unreadable; Ansible says that it is, but not always in which file and line.

    One that is `fatal` is kept from Ansible: it would take all memory, or for ever.
    """

    message: str
    path: str
    line: int
    fatal: bool = False


@dataclass(slots=True)
class Scan:
    """All that was found, in the order of the files."""

    hosts: list[HostEntry] = field(default_factory=list)
    groups: list[GroupEntry] = field(default_factory=list)
    definitions: list[Definition] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)

    def extend(self, other: Scan) -> None:
        """Add what another file holds."""
        self.hosts += other.hosts
        self.groups += other.groups
        self.definitions += other.definitions
        self.faults += other.faults


def scan_tree(path: Path) -> Scan:
    """Scan an inventory file, or a directory of them, with the group_vars and host_vars beside it."""
    found = Scan()
    for file in _inventory_files(path):
        text = _read(file)
        looks_like_yaml = file.suffix in _YAML_SUFFIXES
        found.extend(scan_yaml(text, str(file)) if looks_like_yaml else scan_ini(text, str(file)))
    for folder, scope in _VARS_FOLDERS.items():
        root = (path if path.is_dir() else path.parent) / folder
        for file, owner in _vars_files(root):
            found.extend(scan_vars(_read(file), str(file), scope, owner))
    return found


def scan_ini(text: str, path: str) -> Scan:
    """Scan Ansible's INI form: sections of hosts, `:children` and `:vars`."""
    found = Scan()
    group, kind = "ungrouped", "hosts"
    for number, line in enumerate(map(str.strip, text.splitlines()), start=1):
        if not line or line[0] in "#;":
            continue
        section = _SECTION.match(line)
        if section:
            group, kind = section[1], section[2] or "hosts"
            if kind != "vars":
                found.groups.append(GroupEntry(group, path, number))
        elif kind == "vars" and "=" in line:
            name, _, raw = (part.strip() for part in line.partition("="))
            found.definitions.append(Definition(name, raw, "group", group, path, number, "ini-vars"))
        elif kind == "hosts":
            _scan_host_line(found, line, group, path, number)
    return found


def _scan_host_line(found: Scan, line: str, group: str, path: str, number: int) -> None:
    try:
        words = shlex.split(line, comments=True)
    except ValueError:  # an unfinished quote: Ansible reports it
        return
    if not words:
        return
    _add_host(found, HostEntry(words[0], group, path, number))
    for word in words[1:]:
        name, equals, raw = word.partition("=")
        if equals:
            found.definitions.append(Definition(name, raw, "host", words[0], path, number, "host-line"))


def _add_host(found: Scan, entry: HostEntry) -> None:
    count = host_count(entry.pattern)
    if count > MOST_HOSTS:
        words = f"`{entry.pattern[:60]}` stands for {count} hosts or more; {MOST_HOSTS} are the most"
        found.faults.append(Fault(words, entry.path, entry.line, fatal=True))
    else:
        found.hosts.append(entry)


def scan_yaml(text: str, path: str) -> Scan:
    """Scan Ansible's YAML form: groups with hosts, children and vars."""
    found = Scan()
    with suppress(RecursionError):  # an alias to a group that holds it: Ansible refuses it
        for name, node in _pairs(_compose(text, path, found)):
            _scan_group(found, name, node, path)
    return found


def _scan_group(found: Scan, key: yaml.Node, body: yaml.Node | None, path: str) -> None:
    group = _text(key)
    found.groups.append(GroupEntry(group, path, _line(key)))
    for part, content in _pairs(body):
        if _text(part) == "hosts":
            for host, variables in _pairs(content):
                _add_host(found, HostEntry(_text(host), group, path, _line(host)))
                found.definitions += _definitions(variables, "host", _text(host), path)
        elif _text(part) == "children":
            for child, child_body in _pairs(content):
                _scan_group(found, child, child_body, path)
        elif _text(part) == "vars":
            found.definitions += _definitions(content, "group", group, path)


def scan_vars(text: str, path: str, scope: str, owner: str) -> Scan:
    """Scan a file of group_vars or host_vars."""
    found = Scan()
    found.definitions += _definitions(_compose(text, path, found), scope, owner, path)
    return found


def _definitions(node: yaml.Node | None, scope: str, owner: str, path: str) -> Iterator[Definition]:
    for key, value in _pairs(node):
        raw = value.value if isinstance(value, yaml.ScalarNode) else ""
        yield Definition(_text(key), raw, scope, owner, path, _line(key), "yaml")


def _compose(text: str, path: str, found: Scan) -> yaml.Node | None:
    try:
        node: yaml.Node | None = yaml.compose(text, _Loader)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        found.faults.append(Fault(" ".join(filter(None, (error.context, error.problem))), path, line))
        return None
    except (yaml.YAMLError, ValueError, RecursionError):  # control characters and the like: Ansible's words must do
        return None
    if value_count(node) > MOST_VALUES:
        words = f"its aliases stand for more than {MOST_VALUES} values, or for themselves"
        found.faults.append(Fault(words, path, _line(node) if node is not None else 1, fatal=True))
        return None
    found.faults += _doubles(node, path, set())
    return node


def _doubles(node: Any, path: str, seen: set[int]) -> Iterator[Fault]:
    """Keys that stand twice in one mapping, at any depth; `seen` holds nodes that aliases lead to again."""
    if id(node) in seen:
        return
    seen.add(id(node))
    for position, (key, value) in enumerate(_pairs(node)):
        if isinstance(key, yaml.ScalarNode) and any(_text(k) == _text(key) for k, _ in node.value[:position]):
            yield Fault(f"`{_text(key)}` stands twice in one mapping", path, _line(key))
        yield from _doubles(value, path, seen)
    if isinstance(node, yaml.SequenceNode):
        for item in node.value:
            yield from _doubles(item, path, seen)


def _pairs(node: Any) -> Iterable[tuple[yaml.Node, yaml.Node]]:
    return node.value if isinstance(node, yaml.MappingNode) else ()


def _text(node: yaml.Node) -> str:
    return str(node.value) if isinstance(node, yaml.ScalarNode) else ""


def _line(node: yaml.Node) -> int:
    return int(node.start_mark.line) + 1


def _inventory_files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    found: list[Path] = []
    for entry in sorted(path.iterdir()):
        if is_source(entry):
            found += _inventory_files(entry)
    return found


def _vars_files(root: Path) -> Iterator[tuple[Path, str]]:
    """Files of a vars folder with the group or host that they belong to: `gpu1.yml`, `gpu1`, `gpu1/any/thing.yml`."""
    if not root.is_dir():
        return
    for entry in sorted(root.iterdir()):
        if entry.is_dir():
            yield from ((file, entry.name) for file in sorted(entry.rglob("*")) if file.is_file())
        elif entry.suffix in {*_YAML_SUFFIXES, ""}:
            yield entry, entry.stem


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:  # load_inventory reports what cannot be read
        return ""
