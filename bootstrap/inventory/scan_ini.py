"""Places of an inventory in Ansible's INI form."""

from __future__ import annotations

import re
import shlex

from bootstrap.inventory.places import Definition, GroupEntry, HostEntry, Scan

_SECTION = re.compile(r"^\[([^:\]\s]+)(?::(\w+))?\]\s*(?:[#;].*)?$")


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
    found.add_host(HostEntry(words[0], group, path, number))
    for word in words[1:]:
        name, equals, raw = word.partition("=")
        if equals:
            found.definitions.append(Definition(name, raw, "host", words[0], path, number, "host-line"))
