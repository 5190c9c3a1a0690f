"""The names that Ansible gives one setting of a connection, and which of them wins where several are set.

From the documentation of the plugins themselves (`ansible-doc -t connection ssh`, `-t become sudo`): Ansible goes
through the names in this order and keeps the last one that is set. A test holds this table equal to the plugins'.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

SSH: Mapping[str, tuple[str, ...]] = {
    "host": ("ansible_host", "ansible_ssh_host"),
    "host_key_checking": ("ansible_host_key_checking", "ansible_ssh_host_key_checking"),
    "password": ("ansible_password", "ansible_ssh_pass", "ansible_ssh_password"),
    "pipelining": ("ansible_pipelining", "ansible_ssh_pipelining"),
    "port": ("ansible_port", "ansible_ssh_port"),
    "private_key": ("ansible_private_key", "ansible_ssh_private_key"),
    "private_key_file": ("ansible_private_key_file", "ansible_ssh_private_key_file"),
    "private_key_passphrase": ("ansible_private_key_passphrase", "ansible_ssh_private_key_passphrase"),
    "remote_user": ("ansible_user", "ansible_ssh_user"),
}
SUDO: Mapping[str, tuple[str, ...]] = {
    "become_exe": ("ansible_become_exe", "ansible_sudo_exe"),
    "become_flags": ("ansible_become_flags", "ansible_sudo_flags"),
    "become_pass": ("ansible_become_password", "ansible_become_pass", "ansible_sudo_pass"),
    "become_user": ("ansible_become_user", "ansible_sudo_user"),
}
# Settings that one reader after another looks for: their names are made one, whatever the inventory calls them.
_CANONICAL: Mapping[str, str] = {
    "password": "ansible_password",
    "private_key_passphrase": "ansible_ssh_private_key_passphrase",
    "become_pass": "ansible_become_password",
}
_ALL = {**SSH, **SUDO}
NAMES = frozenset(name for names in _ALL.values() for name in names)


def winner(found: Mapping[str, Any], option: str) -> str | None:
    """The name whose value Ansible takes for the option; None where none is set."""
    return next((name for name in reversed(_ALL[option]) if found.get(name) is not None), None)


def chosen(found: Mapping[str, Any], option: str) -> Any:
    """The value that Ansible takes for the option; None where none is set, or what is set is empty."""
    name = winner(found, option)
    return None if name is None or found[name] == "" else found[name]


def one_name_each(found: Mapping[str, Any]) -> dict[str, Any]:
    """The variables without those that Ansible passes over, so that no reader can choose another one."""
    kept = {name: value for name, value in found.items() if name not in NAMES}
    for option in _ALL:
        name = winner(found, option)
        if name is not None:
            kept[_CANONICAL.get(option, name)] = found[name]
    return kept
