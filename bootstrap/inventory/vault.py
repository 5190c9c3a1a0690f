"""Passwords of Ansible Vault: as users of Ansible give them, remembered for whichever station reads the inventory.

Files come from `--vault-password-file` and from ANSIBLE_VAULT_PASSWORD_FILE and ANSIBLE_VAULT_IDENTITY_LIST. The
inventory itself, and an ansible.cfg beside it, name none: a file that is executable is run, as with Ansible.
"""

from __future__ import annotations

import configparser
import os
import shlex
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from bootstrap.redact import register

DEFAULT_ID = "default"
PASSWORD_MISSING = "vault-password-missing"  # noqa: S105 - codes of errors
PASSWORD_WRONG = "vault-password-wrong"  # noqa: S105


@dataclass(frozen=True, slots=True)
class Passwords:
    """`files` are paths, or ID@PATH; `ask` gets a password from the user; `known` are passwords by their ids."""

    files: tuple[str, ...] = ()
    ask: Callable[[], str] | None = None
    known: tuple[tuple[str, bytes], ...] = ()


_given: list[Passwords] = [Passwords()]


def remember(passwords: Passwords) -> None:
    """Use these for the rest of this process."""
    _given[0] = passwords


def given() -> Passwords:
    """What was given with the command."""
    return _given[0]


@cache
def _answer(ask: Callable[[], str]) -> str:
    """Asked for once, however often the inventory is read."""
    password = ask()
    register(password)
    return password


def request() -> dict[str, Any]:
    """What the resolving child needs, in JSON types. Raises what `ask` raises.

    As with Ansible the environment's files come with those of the command, and a password that was asked for first.
    """
    passwords = given()
    known = [(name, secret.decode("utf-8", "surrogateescape")) for name, secret in passwords.known]
    if passwords.ask is not None:
        known.insert(0, (DEFAULT_ID, _answer(passwords.ask)))
    return {"files": [*passwords.files, *_of_environment(os.environ)], "known": known}


def _of_environment(environment: Mapping[str, str]) -> Iterable[str]:
    file = environment.get("ANSIBLE_VAULT_PASSWORD_FILE", "")
    listed = environment.get("ANSIBLE_VAULT_IDENTITY_LIST", "").split(",")
    # `ID@prompt` would ask where nobody may be: --ask-vault-pass does it.
    named = (entry.strip() for entry in listed if not entry.strip().endswith("@prompt"))
    return (entry for entry in (*named, file) if entry)


def missing_fix(inventory: Path) -> str:
    """How to give the password, with the file that the user's Ansible takes it from, where an ansible.cfg names one."""
    file = _configured(inventory)
    option = f"--vault-password-file {shlex.quote(file)}" if file else "--vault-password-file FILE"
    return f"give it: `{option}`, or let gpuctl ask with --ask-vault-pass"


def _configured(inventory: Path) -> str:
    for folder in (Path.cwd(), inventory if inventory.is_dir() else inventory.parent):
        parser = configparser.ConfigParser(interpolation=None, strict=False, allow_no_value=True)
        try:
            parser.read(folder / "ansible.cfg", encoding="utf-8")
            found = parser.get("defaults", "vault_password_file", fallback="") or ""
        except (configparser.Error, UnicodeDecodeError, OSError):
            continue
        if found.strip():
            return str(folder / os.path.expanduser(found.strip()))  # noqa: PTH111 - it never raises
    return ""
