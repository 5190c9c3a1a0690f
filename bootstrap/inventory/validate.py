"""Everything that can be wrong with an inventory although Ansible reads it. Pure: judges what the child answered."""

from __future__ import annotations

import ipaddress
import json
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from bootstrap.errors import Problem
from bootstrap.hostside.gpuctl_nfsexports import client_complaint
from bootstrap.hostside.gpuctl_url import without_logins
from bootstrap.inventory.connection import check_connection, check_local_hosts, read_connection
from bootstrap.inventory.groups import group_problems, left_alone_note
from bootstrap.inventory.misspelled import unknown_variables, unread_note
from bootstrap.inventory.names import name_complaint, name_problems
from bootstrap.inventory.schema import SETTINGS_SCOPE, Variable, component_named, roles, variables

Answer = Mapping[str, Any]
_TAGGED = re.compile(r"[a-z0-9][a-z0-9._:/-]*:[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


def problems_of(answer: Answer, path: Path) -> list[Problem]:
    """All problems, each once: what is wrong in a group variable names no host."""
    found = [Problem(**{**problem, "details": ""}) for problem in answer["problems"]]
    duplicates = list(_duplicates(answer))
    if duplicates:  # Ansible's own complaint about the same lines says less
        places = {problem.at for problem in duplicates}
        found = [problem for problem in found if problem.code != "inventory-invalid" or problem.at not in places]
    found += duplicates
    if not answer["hosts"] and not answer["others"]:
        if not found:
            fix = "list them in the groups control_plane and workers; `gpuctl init` writes an example"
            found.append(Problem("inventory-empty", f"{path} has no hosts", fix))
        return _merged(found)
    found += group_problems(answer, path)
    for host in answer["hosts"]:
        found += unknown_variables(host)
        found += name_problems(host)
        found += check_connection(host["name"], host["connection"], host["origins"])
        found += _unfit(host)
    found += check_local_hosts(answer["hosts"])
    found += _same_address(answer["hosts"])
    found += _differing(answer["hosts"])
    return _merged(found)


def _merged(problems: Iterable[Problem]) -> list[Problem]:
    """One problem for one place: a variable of a group is wrong once, not once for each host."""
    by_fact: dict[tuple[str, ...], list[Problem]] = defaultdict(list)
    for problem in problems:
        by_fact[problem.code, problem.message, problem.fix, problem.at or f"host {problem.host}"].append(problem)
    merged = []
    for same in by_fact.values():
        first = same[0]
        host = first.host if len({problem.host for problem in same}) == 1 else None
        merged.append(Problem(first.code, first.message, first.fix, host, first.at))
    return merged


def notes_of(answer: Answer) -> tuple[Problem, ...]:
    """What is said of an inventory that is good: hosts that are left alone, variables that look like gpuctl's."""
    return (*left_alone_note(answer), *unread_note(answer["hosts"]))


def _unfit(host: Answer) -> Iterator[Problem]:
    """Values of the right type that break a rule of meta/gpuctl.yml."""
    explicit = [name for name in host["variables"] if name in variables()]
    for role in roles():
        for variable in role.variables:
            at = host["origins"].get(variable.name)
            if variable.name in explicit and variable.derived:
                words = f"`{variable.name}` is worked out by gpuctl and cannot be set"
                yield Problem("variable-invalid", words, "remove it", host["name"], at)
            elif variable.name in explicit and variable.name in host["settings"]:
                value = host["settings"][variable.name]
                for complaint in _complaints(variable, value, role.patterns, role.ranges, role.formats):
                    words = f"`{variable.name}` {complaint}"
                    yield Problem(
                        "variable-invalid", words, f"see `{variable.name}` in docs/variables.md", host["name"], at
                    )
    yield from _overlapping_ranges(host)


def setting_complaints(name: str, value: Any) -> Iterator[str]:
    """Which rules of its role a value of the right type breaks; each continues a sentence that begins with its name."""
    role = component_named(variables()[name].role)
    yield from _complaints(variables()[name], value, role.patterns, role.ranges, role.formats)


def _complaints(
    variable: Variable,
    value: Any,
    patterns: Mapping[str, str],
    ranges: Mapping[str, tuple[float, float]],
    formats: Mapping[str, str],
) -> Iterator[str]:
    shown = "that" if variable.no_log else without_logins(json.dumps(value, ensure_ascii=False))
    items = value if isinstance(value, list) else [value]
    pattern = patterns.get(variable.name)
    if pattern and not all(_matches(pattern, str(item)) for item in items):
        yield f"must match {pattern}, not {shown}"
    low, high = ranges.get(variable.name, (None, None))
    if low is not None and high is not None and not all(low <= item <= high for item in items):
        yield f"must be between {low} and {high}, not {shown}"
    if variable.name in formats:
        yield from (why for item in items if (why := format_complaint(formats[variable.name], item)))


def _matches(pattern: str, text: str) -> bool:
    """Whether a whole text has the form; `$` alone would let a newline stand at its end."""
    return re.search(pattern, text) is not None and not text.endswith("\n")


def format_complaint(name: str, value: Any) -> str:
    """Why a value is not of the format (ipv4-network, client-network, image-digests); empty when it is."""
    if name == "image-digests":
        return _digest_complaint(value)
    if name == "client-network":
        return client_complaint(str(value))
    if name != "ipv4-network":
        raise ValueError(f"unknown format {name!r}")
    try:
        ipaddress.IPv4Network(value)
    except ValueError as error:
        return f"must be an IPv4 network such as 10.244.0.0/16: {error}"
    return "" if "/" in str(value) else f"must name a prefix length, such as {value}/16"


def _digest_complaint(digests: Mapping[str, Any]) -> str:
    for image, digest in digests.items():
        if not _TAGGED.fullmatch(str(image)):
            return f"must name images with their tag, such as registry.example/name:v1, not {image}"
        if digest != "" and not _DIGEST.fullmatch(str(digest)):
            return f"must have sha256: and 64 hexadecimal digits for {image}, or an empty text"
    return ""


def _overlapping_ranges(host: Answer) -> Iterator[Problem]:
    settings = host["settings"]
    try:
        pods = ipaddress.IPv4Network(settings.get("cluster_pod_cidr"))
        services = ipaddress.IPv4Network(settings.get("cluster_service_cidr"))
    except ValueError:  # already complained about
        return
    if pods.overlaps(services):
        at = host["origins"].get("cluster_pod_cidr") or host["origins"].get("cluster_service_cidr")
        words = f"`cluster_pod_cidr` {pods} and `cluster_service_cidr` {services} overlap"
        yield Problem("variable-invalid", words, "choose networks that do not share an address", host["name"], at)


def _duplicates(answer: Answer) -> Iterator[Problem]:
    """A host that a file lists twice in a group, or of which it says different things; several files add up."""
    seen: dict[tuple[str, ...], str] = {}
    for entry in answer["listed"]:
        key = (entry["name"], entry["group"], entry["at"].rpartition(":")[0])
        if key in seen:
            words = f"host `{key[0]}` is listed twice in group `{key[1]}` (first at {_line(seen[key])})"
            yield Problem("host-duplicate", words, "keep one of the two lines", key[0], entry["at"])
        seen.setdefault(key, entry["at"])
    first: dict[tuple[str, ...], Mapping[str, str]] = {}
    for definition in answer["definitions"]:
        key = (definition["host"], definition["name"], definition["at"].rpartition(":")[0])
        earlier = first.setdefault(key, definition)
        if earlier["raw"] != definition["raw"]:
            words = f"host `{key[0]}` has two values for `{key[1]}` (the other at {_line(earlier['at'])})"
            yield Problem("host-duplicate", words, "set it in one place", key[0], definition["at"])


def _line(place: str) -> str:
    return f"line {place.rpartition(':')[2]} of {Path(place.rpartition(':')[0]).name}"


def _same_address(hosts: Sequence[Answer]) -> Iterator[Problem]:
    """Two names for one machine: by address and port, since several may sit behind one address."""
    first: dict[tuple[str, int], str] = {}
    for host in hosts:
        try:
            connection = read_connection(host["name"], host["connection"])
        except ValueError:  # check_connection has said so
            continue
        if name_complaint(connection.address):
            continue
        key = (connection.address, connection.port or 22)
        other = first.setdefault(key, host["name"])
        if other != host["name"]:
            words = f"has the same address as {other}: {key[0]} port {key[1]}"
            at = host["origins"].get("ansible_host")
            yield Problem(
                "host-duplicate",
                words,
                f"remove one of the two, or correct ansible_host of {host['name']}",
                host["name"],
                at,
            )


def _differing(hosts: Sequence[Answer]) -> Iterator[Problem]:
    """Shared settings describe one cluster: they must be the same everywhere."""
    shared = [v.name for role in roles() if role.scope == SETTINGS_SCOPE for v in role.variables if not v.derived]
    for name in shared:
        by_value: dict[str, list[Answer]] = defaultdict(list)
        for host in hosts:
            by_value[json.dumps(host["settings"].get(name), sort_keys=True)].append(host)
        if len(by_value) > 1:
            parts = (f"{value} on {', '.join(h['name'] for h in some)}" for value, some in by_value.items())
            rarest = min(by_value.values(), key=len)
            at = rarest[0]["origins"].get(name) or next(
                (h["origins"][name] for h in hosts if name in h["origins"]), None
            )
            words = f"`{name}` differs between hosts: {'; '.join(parts)}"
            yield Problem("variable-invalid", words, "set it once, under [all:vars]", None, at)
