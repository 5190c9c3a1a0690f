"""Ansible's connection variables of one host, as the probe and Ansible will both use them."""

from __future__ import annotations

import getpass
import os
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from bootstrap.errors import Problem
from bootstrap.inventory.model import Connection
from bootstrap.inventory.names import local_python_complaint
from bootstrap.inventory.secret import SECRET_VARIABLES, Secret
from bootstrap.inventory.spellings import NAMES, SUDO, chosen, one_name_each, winner

_SSH = frozenset({"ssh", "ansible.builtin.ssh", "smart"})
_LOCAL = frozenset({"local", "ansible.builtin.local"})
_SUDO = frozenset({"sudo", "ansible.builtin.sudo", "ansible.legacy.sudo"})
_DEFAULT_PYTHON = "/usr/bin/python3"  # ansible.cfg: interpreter_python
# Arguments of ssh that say as whom: -l, alone or after flags without a value, and the option User.
_USER = re.compile(r"(?:^|\s)-(?:[46AaCfGgKkMNnqsTtVvXxYy]*l|o\s*['\"]?\s*(?i:user)\s*[=\s])")
_TRUE = frozenset({"true", "yes", "on", "1", "y", "t"})

# What Ansible does not follow where a host is this machine; ansible_host is kept as its address among the others.
SSH_ONLY = (
    frozenset(
        {
            "ansible_control_path",
            "ansible_control_path_dir",
            "ansible_ssh_args",
            "ansible_ssh_common_args",
            "ansible_ssh_executable",
            "ansible_ssh_extra_args",
            "ansible_ssh_retries",
            "ansible_ssh_timeout",
        }
    )
    | NAMES
) - frozenset({"ansible_host", "ansible_pipelining", *(name for names in SUDO.values() for name in names)})

# Names that a typo is compared with: what inventories of ssh hosts use, from the documentation of Ansible's ssh
# connection and sudo become plugins.
KNOWN_CONNECTION_VARIABLES = (
    frozenset(
        {
            "ansible_become",
            "ansible_become_method",
            "ansible_connection",
            "ansible_control_path",
            "ansible_control_path_dir",
            "ansible_python_interpreter",
            "ansible_remote_tmp",
            "ansible_ssh_args",
            "ansible_ssh_common_args",
            "ansible_ssh_executable",
            "ansible_ssh_extra_args",
            "ansible_ssh_retries",
            "ansible_ssh_timeout",
            "ansible_timeout",
        }
    )
    | NAMES
    | SECRET_VARIABLES
)


def read_connection(name: str, found: Mapping[str, Any]) -> Connection:
    """How to reach the host.

    Users other than root become root unless the inventory says otherwise: all that is done on a host needs it. On this
    machine (ansible_connection=local) we are who we are: like Ansible, we pass over what is said for ssh.

    Raises:
        ValueError: the port is not a number.
    """
    python = _text(found.get("ansible_python_interpreter"))
    shared: dict[str, Any] = {
        "become_method": _text(found.get("ansible_become_method")) or "sudo",
        "become_exe": _text(chosen(found, "become_exe")) or "sudo",
        "python": python if python and not python.startswith("auto") else _DEFAULT_PYTHON,
    }
    become = found.get("ansible_become")
    address = _text(chosen(found, "host")) or name
    if is_local(found):
        become = os.geteuid() != 0 if become is None else _is_true(become)
        return Connection(address=address, become=become, local=True, **shared)
    key, port = _text(chosen(found, "private_key_file")), _text(chosen(found, "port"))
    args = [_text(found.get(f"ansible_ssh_{kind}_args")) for kind in ("common", "extra")]
    login, _, address = address.rpartition("@")  # ssh takes USER@HOST; a user that is given by itself comes first
    if any(_USER.search(text) for text in (*args, _text(found.get("ansible_ssh_args"))) if text):
        login = ""  # so does one among its arguments, wherever they stand
    user = _text(chosen(found, "remote_user")) or login or None
    return Connection(
        address=address,
        port=None if port is None else _port(port),
        user=user,
        key_file=None if key is None else os.path.expanduser(key),  # noqa: PTH111 - it never raises
        ssh_args=_text(found.get("ansible_ssh_args")) or "",
        ssh_common_args=" ".join(filter(None, args)),
        become=(user or getpass.getuser()) != "root" if become is None else _is_true(become),
        **shared,
    )


def _is_true(value: Any) -> bool:
    return str(value).lower() in _TRUE


def _port(text: str) -> int:
    if not _is_port(text):
        raise ValueError("no TCP port")
    return int(text)


def connection_variables(found: Mapping[str, Any], connection: Connection) -> dict[str, Any]:
    """The variables to run Ansible with: the inventory's own, with what was decided above said explicitly."""
    one = one_name_each(found)
    kept = {name: Secret(value) if name in SECRET_VARIABLES else value for name, value in one.items()}
    if connection.local:
        kept = {name: value for name, value in kept.items() if name not in SSH_ONLY}
    else:
        kept[winner(found, "host") or "ansible_host"] = connection.address
        if connection.user is not None:
            kept[winner(found, "remote_user") or "ansible_user"] = connection.user
    return {**kept, "ansible_become": connection.become, "ansible_python_interpreter": connection.python}


def check_connection(host: str, found: Mapping[str, Any], origins: Mapping[str, str]) -> list[Problem]:
    """Refuse what is neither ssh nor this machine: the probe, tunnels and the lock know these two ways only."""
    problems = _shapes(host, found, origins)
    plugin = str(found.get("ansible_connection", "ssh"))
    if plugin not in _SSH | _LOCAL:
        message = f"ansible_connection is `{plugin}`, but hosts are reached by ssh, or are this machine (local)"
        fix = "remove it, or say ansible_connection=local for the machine on which gpuctl runs"
        problems.append(Problem("connection-unsupported", message, fix, host, origins.get("ansible_connection")))
    problems += _become_problems(host, found, origins)
    for name in ("ansible_port", "ansible_ssh_port") if plugin not in _LOCAL else ():
        text = "22" if found.get(name) is None else str(found[name])
        if not _is_port(text):
            message = f"`{name}` must be a TCP port, not {text[:80]!r}"
            problems.append(Problem("variable-invalid", message, "give its number", host, origins.get(name)))
    problems += _ssh_argument_problems(host, found, origins) if plugin not in _LOCAL else []
    python = _text(found.get("ansible_python_interpreter")) or _DEFAULT_PYTHON
    if plugin in _LOCAL:
        complaint = "" if python.startswith("auto") else local_python_complaint(python)
        if complaint:
            at = origins.get("ansible_python_interpreter")
            fix = f"remove it; {_DEFAULT_PYTHON} is the one that is used then"
            message = f"`ansible_python_interpreter` {complaint}"
            problems.append(Problem("connection-unsupported", message, fix, host, at))
    return problems


def _become_problems(host: str, found: Mapping[str, Any], origins: Mapping[str, str]) -> list[Problem]:
    """What keeps Ansible from becoming root by sudo, which is how gpuctl's own commands become root."""
    problems = []
    user = winner(found, "become_user")
    if user is not None and str(found[user]) != "root":
        problems.append(Problem("connection-unsupported", f"{user} is not root", "remove it", host, origins.get(user)))
    becomes, method = found.get("ansible_become"), str(found.get("ansible_become_method") or "sudo")
    named = str(chosen(found, "host") or host).rpartition("@")[0]
    login = _local_login() if is_local(found) else str(chosen(found, "remote_user") or named)
    unneeded = login == "root" if becomes is None else not _is_true(becomes)
    if method not in _SUDO and not unneeded:
        message = f"ansible_become_method is `{method[:80]}`, but gpuctl becomes root by sudo"
        fix = "remove it and let the user run sudo, or log in as root (ansible_user=root)"
        at = origins.get("ansible_become_method")
        problems.append(Problem("connection-unsupported", message, fix, host, at))
    return problems


def _local_login() -> str:
    """Root, or nobody in particular: as whom commands run on this machine."""
    return "root" if os.geteuid() == 0 else ""


def _ssh_argument_problems(host: str, found: Mapping[str, Any], origins: Mapping[str, str]) -> list[Problem]:
    """Texts that are to be split into words, and cannot be: Ansible would stop at them in the middle of a run."""
    problems = []
    for name in ("ansible_ssh_args", "ansible_ssh_common_args", "ansible_ssh_extra_args", "ansible_python_interpreter"):
        try:
            shlex.split(_text(found.get(name)) or "")
        except ValueError as error:
            message = f"`{name}` cannot be split into words: {error}"
            fix = "write both quotation marks"
            problems.append(Problem("variable-invalid", message, fix, host, origins.get(name)))
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


def _text(value: Any) -> str | None:
    """The value as text; None where there is none, or no single one."""
    return str(value) if isinstance(value, str | int | float) and value != "" else None
