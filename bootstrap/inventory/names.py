"""Names of hosts, their addresses and users: what becomes words of commands, keys of documents and parts of paths."""

from __future__ import annotations

import os
import re
import stat
import sys
import unicodedata
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from bootstrap.errors import Problem

CODE = "host-name-invalid"
# They mean something to shells (OpenSSH puts names into ProxyCommand), to Ansible's host patterns, or to templates.
_ACTIVE = frozenset("\"'`$;&|<>(){}*?!#,=~^")
_ADDRESSES = ("ansible_host", "ansible_ssh_host")
_USERS = ("ansible_user", "ansible_ssh_user")
_MOST_CHARACTERS = 255  # of a DNS name
_RANGE = re.compile(r"\[[0-9A-Za-z]*:[0-9A-Za-z]+(:[0-9]+)?\]")
_LOCAL_PYTHON = re.compile(r"python(3(\.[0-9]+)?)?")


def name_problems(host: Mapping[str, Any]) -> Iterator[Problem]:
    """What is wrong with a host's name, address and user; `host` is as the resolving child answers it."""
    if complaint := name_complaint(host["name"]):
        fix = "give the host a name of letters, digits and .-_ ; ansible_host says where it is"
        yield Problem(
            CODE, f"the host's name {complaint}", fix, _shown(host["name"]), host["origins"].get("ansible_host")
        )
    for names, kind in ((_ADDRESSES, name_complaint), (_USERS, user_complaint)):
        for name in names:
            if complaint := kind(_text(host["connection"].get(name))):
                fix = (
                    "write an address or a name of DNS" if names is _ADDRESSES else "write the name of the login there"
                )
                if "holds a range" in complaint:
                    fix = "write a line for each host, with its own address"
                yield Problem(CODE, f"`{name}` {complaint}", fix, _shown(host["name"]), host["origins"].get(name))


def name_complaint(name: str) -> str:
    """Why this cannot name a host or be its address; empty when it can. Continues a sentence."""
    if _RANGE.search(name):
        return f"holds a range, {name[:80]}: Ansible writes ranges out in names of hosts only"
    if name.startswith("@") or name.endswith("@"):
        return "has nothing on one side of the `@`"
    if "/" in name or "\\" in name or ".." in name:
        return "holds a slash or `..`: it would be taken for a path"
    return user_complaint(name)


def user_complaint(name: str) -> str:
    """Why this cannot be a user's name; empty when it can."""
    if name.startswith("-"):
        return "begins with `-`: programs would take it for an option"
    if len(name) > _MOST_CHARACTERS:
        return f"has {len(name)} characters; {_MOST_CHARACTERS} are the most"
    for character in name:
        if unicodedata.category(character)[0] in "CZ":
            return f"holds a space or a control character ({character!r})"
        if character in _ACTIVE:
            return f"holds {character!r}, which shells or Ansible act upon"
    return ""


def local_python_complaint(path: str) -> str:
    """Why a Python that the inventory names is not run on this machine; empty when it is one of the system, or ours.

    An inventory may come with a program beside it: what runs here must be nobody's but root's to change.
    """
    if path == sys.executable:
        return ""
    if not path.startswith("/") or not _LOCAL_PYTHON.fullmatch(Path(path).name):
        return "is no absolute path of a Python"
    try:
        real = Path(os.path.realpath(path))
        changeable = [place for place in (Path(path).parent, real, *real.parents) if _others_change(place)]
    except (OSError, ValueError):
        return ""  # it is not there: the probe says so
    return f"is run here, and {changeable[0]} can be changed by others than root" if changeable else ""


def _others_change(place: Path) -> bool:
    status = place.stat()
    sticky = stat.S_ISDIR(status.st_mode) and status.st_mode & stat.S_ISVTX
    return status.st_uid != 0 or bool(status.st_mode & (stat.S_IWGRP | stat.S_IWOTH) and not sticky)


def _text(value: Any) -> str:
    return str(value) if isinstance(value, str | int | float) else ""


def _shown(name: str) -> str:
    """The name without what a terminal would act upon."""
    return name if name.isprintable() else repr(name)[1:-1]
