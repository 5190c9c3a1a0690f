"""Hosts with ansible_connection=local: what is read, and what is passed over as Ansible passes over it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootstrap.inventory.connection import (
    KNOWN_CONNECTION_VARIABLES,
    SSH_ONLY,
    check_connection,
    check_local_hosts,
    connection_variables,
    read_connection,
)
from bootstrap.inventory.load import load_inventory
from bootstrap.inventory.model import Inventory


def load(tmp_path: Path, line: str, more: str = "") -> Inventory:
    path = tmp_path / "lab.ini"
    path.write_text(f"[control_plane]\n{line}\n{more}")
    return load_inventory(path)


@pytest.mark.parametrize("plugin", ["local", "ansible.builtin.local"])
def test_this_machine_is_a_host(tmp_path: Path, plugin: str) -> None:
    (host,) = load(tmp_path, f"localhost ansible_connection={plugin}").hosts

    assert host.connection.local
    assert (host.connection.address, host.connection.from_here) == ("localhost", "127.0.0.1")
    assert host.connection.become == (os.geteuid() != 0)
    assert host.connection.python == "/usr/bin/python3"
    assert dict(host.connection_vars or {}) == {
        "ansible_connection": plugin,
        "ansible_become": os.geteuid() != 0,
        "ansible_python_interpreter": "/usr/bin/python3",
    }


def test_what_is_said_for_ssh_is_passed_over(tmp_path: Path) -> None:
    inventory = load(
        tmp_path,
        "box ansible_connection=local ansible_port=none ansible_host=192.0.2.5",
        "[workers]\ngpu1 ansible_host=192.0.2.11\n[all:vars]\nansible_user=root\nansible_become_password=s3cret\n"
        "ansible_ssh_private_key_file=~/.ssh/lab\nansible_python_interpreter=/usr/bin/python3.12\n",
    )
    box, gpu1 = inventory.hosts

    assert (box.connection.address, box.connection.from_here) == ("192.0.2.5", "127.0.0.1")
    assert (box.connection.user, box.connection.port, box.connection.key_file) == (None, None, None)
    assert box.connection.python == "/usr/bin/python3.12"
    assert box.connection.become == (os.geteuid() != 0)
    assert not SSH_ONLY & set(box.connection_vars or {})
    assert (box.connection_vars or {})["ansible_become_password"] == "s3cret"
    assert (gpu1.connection.local, gpu1.connection.user, gpu1.connection.from_here) == (False, "root", "192.0.2.11")
    assert (gpu1.connection_vars or {})["ansible_user"] == "root"


# Those without a rule of their own for this machine.
_RULED = {
    "ansible_become",
    "ansible_become_method",
    "ansible_become_user",
    "ansible_connection",
    "ansible_python_interpreter",
    "ansible_sudo_user",
}
names = st.sampled_from(sorted(KNOWN_CONNECTION_VARIABLES - _RULED))


@given(st.dictionaries(names, st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=12)))
def test_nothing_said_beside_it_makes_it_another_machine(others: dict[str, str]) -> None:
    found = {**others, "ansible_connection": "local"}
    connection = read_connection("box", found)

    assert connection.local
    assert connection.from_here == "127.0.0.1"
    assert check_connection("box", found, {}) == []
    kept = connection_variables(found, connection)
    assert kept["ansible_connection"] == "local"
    assert not SSH_ONLY & set(kept)


@given(st.lists(st.sampled_from(["local", "ansible.builtin.local", "ssh", "smart", None]), max_size=6))
def test_at_most_one_host_is_this_machine(plugins: list[str | None]) -> None:
    hosts = [
        {"name": f"h{number}", "connection": {"ansible_connection": plugin} if plugin else {}, "origins": {}}
        for number, plugin in enumerate(plugins)
    ]
    local = [host["name"] for host in hosts if "local" in str(host["connection"])]
    problems = list(check_local_hosts(hosts))

    assert [problem.host for problem in problems] == local[1:]
    assert {problem.code for problem in problems} <= {"connection-local-twice"}
