"""Ansible's connection variables of one host, as the probe and Ansible will both use them."""

from __future__ import annotations

import getpass
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bootstrap.errors import Problem
from bootstrap.inventory.model import Connection
from bootstrap.inventory.secret import SECRET_VARIABLES, Secret

_SSH = frozenset({"ssh", "ansible.builtin.ssh", "smart"})
_DEFAULT_PYTHON = "/usr/bin/python3"  # ansible.cfg: interpreter_python
_TRUE = frozenset({"true", "yes", "on", "1", "y", "t"})

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

    Users other than root become root unless the inventory says otherwise: all that is done on a host needs it.

    Raises:
        ValueError: the port is not a number.
    """
    user = _first(found, "ansible_user", "ansible_ssh_user")
    key = _first(found, "ansible_ssh_private_key_file", "ansible_private_key_file")
    port = _first(found, "ansible_port", "ansible_ssh_port")
    args = (_first(found, "ansible_ssh_common_args"), _first(found, "ansible_ssh_extra_args"))
    python = _first(found, "ansible_python_interpreter")
    become = found.get("ansible_become")
    return Connection(
        address=_first(found, "ansible_host", "ansible_ssh_host") or name,
        port=None if port is None else int(port),
        user=user,
        key_file=None if key is None else str(Path(key).expanduser()),
        ssh_common_args=" ".join(filter(None, args)),
        become=(user or getpass.getuser()) != "root" if become is None else str(become).lower() in _TRUE,
        become_method=_first(found, "ansible_become_method") or "sudo",
        python=python if python and not python.startswith("auto") else _DEFAULT_PYTHON,
    )


def connection_variables(found: Mapping[str, Any], connection: Connection) -> dict[str, Any]:
    """The variables to run Ansible with: the inventory's own, with what was decided above said explicitly."""
    kept = {name: Secret(value) if name in SECRET_VARIABLES else value for name, value in found.items()}
    return {**kept, "ansible_become": connection.become, "ansible_python_interpreter": connection.python}


def check_connection(host: str, found: Mapping[str, Any], origins: Mapping[str, str]) -> list[Problem]:
    """Refuse what is no ssh connection: the probe, tunnels and the lock all live on ssh."""
    problems = []
    plugin = str(found.get("ansible_connection", "ssh"))
    if plugin not in _SSH:
        message = f"ansible_connection is `{plugin}`, but hosts are reached by ssh only"
        fix = "remove it; for this machine itself, run an ssh server and name its address"
        problems.append(Problem("connection-unsupported", message, fix, host, origins.get("ansible_connection")))
    if str(found.get("ansible_become_user", "root")) != "root":
        at = origins.get("ansible_become_user")
        problems.append(Problem("connection-unsupported", "ansible_become_user is not root", "remove it", host, at))
    for name in ("ansible_port", "ansible_ssh_port"):
        text = str(found.get(name, 22))
        if not (text.isdecimal() and 0 < int(text) < 65536):
            message = f"`{name}` must be a TCP port, not {text!r}"
            problems.append(Problem("variable-invalid", message, "give its number", host, origins.get(name)))
    return problems


def _first(found: Mapping[str, Any], *names: str) -> str | None:
    """The first of these variables that is set, as text."""
    for name in names:
        if found.get(name) not in {None, ""}:
            return str(found[name])
    return None
