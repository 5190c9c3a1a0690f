"""Ansible's connection variables of one host, as the probe and Ansible will both use them."""

from __future__ import annotations

import getpass
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from bootstrap.errors import Problem
from bootstrap.inventory.model import Connection
from bootstrap.inventory.names import local_python_complaint
from bootstrap.inventory.secret import SECRET_VARIABLES, Secret

_SSH = frozenset({"ssh", "ansible.builtin.ssh", "smart"})
_LOCAL = frozenset({"local", "ansible.builtin.local"})
_DEFAULT_PYTHON = "/usr/bin/python3"  # ansible.cfg: interpreter_python
_TRUE = frozenset({"true", "yes", "on", "1", "y", "t"})

# What Ansible does not follow where a host is this machine; ansible_host is kept as its address among the others.
SSH_ONLY = frozenset(
    {
        "ansible_host_key_checking",
        "ansible_password",
        "ansible_port",
        "ansible_private_key_file",
        "ansible_ssh_args",
        "ansible_ssh_common_args",
        "ansible_ssh_executable",
        "ansible_ssh_extra_args",
        "ansible_ssh_pass",
        "ansible_ssh_password",
        "ansible_ssh_pipelining",
        "ansible_ssh_port",
        "ansible_ssh_private_key_file",
        "ansible_ssh_private_key_passphrase",
        "ansible_ssh_retries",
        "ansible_ssh_timeout",
        "ansible_ssh_user",
        "ansible_user",
    }
)

# Names that a typo is compared with: what inventories of ssh hosts use, from the documentation of Ansible's ssh
# connection and sudo become plugins.
KNOWN_CONNECTION_VARIABLES = frozenset(
    {
        "ansible_become",
        "ansible_become_exe",
        "ansible_become_flags",
        "ansible_become_method",
        "ansible_become_user",
        "ansible_connection",
        "ansible_host",
        "ansible_host_key_checking",
        "ansible_pipelining",
        "ansible_port",
        "ansible_private_key_file",
        "ansible_python_interpreter",
        "ansible_remote_tmp",
        "ansible_ssh_args",
        "ansible_ssh_common_args",
        "ansible_ssh_executable",
        "ansible_ssh_extra_args",
        "ansible_ssh_host",
        "ansible_ssh_pipelining",
        "ansible_ssh_port",
        "ansible_ssh_private_key_file",
        "ansible_ssh_retries",
        "ansible_ssh_timeout",
        "ansible_ssh_user",
        "ansible_timeout",
        "ansible_user",
        *SECRET_VARIABLES,
    }
)


def read_connection(name: str, found: Mapping[str, Any]) -> Connection:
    """How to reach the host.

    Users other than root become root unless the inventory says otherwise: all that is done on a host needs it. On this
    machine (ansible_connection=local) we are who we are: like Ansible, we pass over what is said for ssh.

    Raises:
        ValueError: the port is not a number.
    """
    user = _first(found, "ansible_user", "ansible_ssh_user")
    key = _first(found, "ansible_ssh_private_key_file", "ansible_private_key_file")
    port = _first(found, "ansible_port", "ansible_ssh_port")
    args = (_first(found, "ansible_ssh_common_args"), _first(found, "ansible_ssh_extra_args"))
    python = _first(found, "ansible_python_interpreter")
    become = found.get("ansible_become")
    if is_local(found):
        return Connection(
            address=_first(found, "ansible_host", "ansible_ssh_host") or name,
            become=os.geteuid() != 0 if become is None else str(become).lower() in _TRUE,
            become_method=_first(found, "ansible_become_method") or "sudo",
            python=python if python and not python.startswith("auto") else _DEFAULT_PYTHON,
            local=True,
        )
    return Connection(
        address=_first(found, "ansible_host", "ansible_ssh_host") or name,
        port=None if port is None else _port(port),
        user=user,
        key_file=None if key is None else os.path.expanduser(key),  # noqa: PTH111 - it never raises
        ssh_common_args=" ".join(filter(None, args)),
        become=(user or getpass.getuser()) != "root" if become is None else str(become).lower() in _TRUE,
        become_method=_first(found, "ansible_become_method") or "sudo",
        python=python if python and not python.startswith("auto") else _DEFAULT_PYTHON,
    )


def _port(text: str) -> int:
    if not _is_port(text):
        raise ValueError("no TCP port")
    return int(text)


def connection_variables(found: Mapping[str, Any], connection: Connection) -> dict[str, Any]:
    """The variables to run Ansible with: the inventory's own, with what was decided above said explicitly."""
    kept = {name: Secret(value) if name in SECRET_VARIABLES else value for name, value in found.items()}
    if connection.local:
        kept = {name: value for name, value in kept.items() if name not in SSH_ONLY}
    return {**kept, "ansible_become": connection.become, "ansible_python_interpreter": connection.python}


def check_connection(host: str, found: Mapping[str, Any], origins: Mapping[str, str]) -> list[Problem]:
    """Refuse what is neither ssh nor this machine: the probe, tunnels and the lock know these two ways only."""
    problems = _shapes(host, found, origins)
    plugin = str(found.get("ansible_connection", "ssh"))
    if plugin not in _SSH | _LOCAL:
        message = f"ansible_connection is `{plugin}`, but hosts are reached by ssh, or are this machine (local)"
        fix = "remove it, or say ansible_connection=local for the machine on which gpuctl runs"
        problems.append(Problem("connection-unsupported", message, fix, host, origins.get("ansible_connection")))
    if str(found.get("ansible_become_user", "root")) != "root":
        at = origins.get("ansible_become_user")
        problems.append(Problem("connection-unsupported", "ansible_become_user is not root", "remove it", host, at))
    for name in ("ansible_port", "ansible_ssh_port") if plugin not in _LOCAL else ():
        text = str(found.get(name, 22))
        if not _is_port(text):
            message = f"`{name}` must be a TCP port, not {text[:80]!r}"
            problems.append(Problem("variable-invalid", message, "give its number", host, origins.get(name)))
    if plugin in _LOCAL:
        python = _first(found, "ansible_python_interpreter") or _DEFAULT_PYTHON
        complaint = "" if python.startswith("auto") else local_python_complaint(python)
        if complaint:
            at = origins.get("ansible_python_interpreter")
            fix = f"remove it; {_DEFAULT_PYTHON} is the one that is used then"
            message = f"`ansible_python_interpreter` {complaint}"
            problems.append(Problem("connection-unsupported", message, fix, host, at))
    return problems


def _is_port(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 5 and 0 < int(text) < 65536


def _shapes(host: str, found: Mapping[str, Any], origins: Mapping[str, str]) -> list[Problem]:
    """Connection variables that are no single value, or hold a control character."""
    problems = []
    for name in sorted(KNOWN_CONNECTION_VARIABLES & set(found)):
        value, complaint = found[name], ""
        if value is not None and not isinstance(value, str | int | float):
            complaint = f"must be one value, not a {type(value).__name__}"
        elif any(ord(character) < 32 or ord(character) == 127 for character in str(value)):
            complaint = "holds a control character"
        if complaint:
            fix = "write it as text, in quotes" if "one value" in complaint else "take it out"
            problems.append(Problem("variable-invalid", f"`{name}` {complaint}", fix, host, origins.get(name)))
    return problems


def check_local_hosts(hosts: Sequence[Mapping[str, Any]]) -> Iterator[Problem]:
    """Refuse a second host that is this machine; hosts are as the resolving child answers them."""
    local = [host for host in hosts if is_local(host["connection"])]
    for host in local[1:]:
        message = f"it and {local[0]['name']} both have ansible_connection=local: they are one machine"
        fix = "list this machine once; a host can be in several groups"
        at = host["origins"].get("ansible_connection")
        yield Problem("connection-local-twice", message, fix, host["name"], at)


def is_local(found: Mapping[str, Any]) -> bool:
    """Whether these connection variables say that the host is this machine."""
    return str(found.get("ansible_connection")) in _LOCAL


def _first(found: Mapping[str, Any], *names: str) -> str | None:
    """The first of these variables that is set, as text."""
    values = (found.get(name) for name in names)
    return next((str(value) for value in values if isinstance(value, str | int | float) and value != ""), None)
