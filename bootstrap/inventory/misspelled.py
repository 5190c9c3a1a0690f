"""Variables that gpuctl does not know: misspelled ones of its own, and those of other tools that begin like its own.

Inventories are shared with Kubespray, DeepOps or playbooks of one's own, whose variables begin with `cluster_`,
`docker_` or `kubeadm_` as well. They are not gpuctl's to refuse; only what is a typing error away from a name of
gpuctl's is.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Any

from bootstrap.errors import Problem
from bootstrap.inventory.connection import KNOWN_CONNECTION_VARIABLES
from bootstrap.inventory.schema import roles, variables

_MOST_NAMES = 5  # of variables in one sentence
_LONG = 8  # letters; a shorter word with two of them changed is another word


def unknown_variables(host: Mapping[str, Any]) -> Iterator[Problem]:
    """Variables that nothing reads, and that are one of gpuctl's or of Ansible's connections with a typing error."""
    for name in host["variables"]:
        if meant := misspelled(name):
            fix = f"rename it to {meant}"
            words = f"unknown variable `{name}`, did you mean `{meant}`?"
            yield Problem("variable-unknown", words, fix, host["name"], host["origins"].get(name))


def unread_note(hosts: Sequence[Mapping[str, Any]]) -> Iterator[Problem]:
    """One sentence about variables that begin like those of gpuctl's roles and are none of them."""
    found: dict[str, str] = {}
    for host in hosts:
        for name in host["variables"]:
            if name not in found and _looks_like_ours(name):
                found[name] = host["origins"].get(name) or ""
    if found:
        shown = ", ".join(sorted(found)[:_MOST_NAMES]) + (", …" if len(found) > _MOST_NAMES else "")
        words = f"variables that begin like gpuctl's, and that it does not read: {shown}"
        fix = "leave them if another tool reads them; docs/variables.md lists those of gpuctl"
        yield Problem("variable-unread", words, fix, at=found[min(found)] or None)


@cache
def _looks_like_ours(name: str) -> bool:
    return name not in variables() and name.startswith(_prefixes()) and not misspelled(name)


@cache
def _prefixes() -> tuple[str, ...]:
    return tuple(f"{role.name}_" for role in roles())


@cache
def misspelled(name: str) -> str:
    """The known name that this one is a typing error away from; empty where it is known, or like none."""
    if name in variables() or name in KNOWN_CONNECTION_VARIABLES:
        return ""
    candidates = sorted(KNOWN_CONNECTION_VARIABLES) if name.startswith("ansible_") else _settable()
    close = [(errors, known) for known in candidates if (errors := _errors_between(name, known)) is not None]
    return min(close)[1] if close else ""


@cache
def _settable() -> tuple[str, ...]:
    return tuple(sorted(name for name, variable in variables().items() if not variable.derived))


def _errors_between(name: str, known: str) -> int | None:
    """How many typing errors make one name of the other; None when it is more than one, or than two in a long word.

    What both begin with does not count: `cluster_nfs` is not like `cluster_pod`.
    """
    if abs(len(name) - len(known)) > 2:
        return None
    shared = next((i for i, (a, b) in enumerate(zip(name, known, strict=False)) if a != b), min(len(name), len(known)))
    start = name.rfind("_", 0, shared) + 1
    word = min(len(name), len(known)) - start
    errors = _distance(name[start:], known[start:])
    return errors if errors <= (2 if word >= _LONG else 1) else None


def _distance(a: str, b: str) -> int:
    """Letters put in, left out, changed, or swapped with their neighbour (Damerau and Levenshtein)."""
    before: list[int] = []
    row = list(range(len(b) + 1))
    for i, letter in enumerate(a, start=1):
        now = [i]
        for j, other in enumerate(b, start=1):
            cost = min(row[j] + 1, now[j - 1] + 1, row[j - 1] + (letter != other))
            if before and j > 1 and letter == b[j - 2] and a[i - 2] == other:
                cost = min(cost, before[j - 2] + 1)
            now.append(cost)
        before, row = row, now
    return row[-1]
