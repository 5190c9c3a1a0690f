"""Which of several names of one connection setting counts: Ansible's own table, and its own ssh as judge."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from bootstrap.content import ansible_config
from bootstrap.inventory.connection import check_connection, connection_variables, read_connection
from bootstrap.inventory.spellings import SSH, SUDO, chosen

_DOCUMENTED = """
import json
from ansible import constants
from ansible.plugins.loader import become_loader, connection_loader
for loader, name in ((connection_loader, "ssh"), (become_loader, "sudo")):
    loader.get(name, class_only=True)
def names(kind, plugin):
    options = constants.config.get_configuration_definitions(kind, plugin)
    found = {option: [entry["name"] for entry in spec.get("vars") or []] for option, spec in options.items()}
    return {option: [name for name in some if name.startswith("ansible_")] for option, some in found.items()}
print(json.dumps([names("connection", "ssh"), names("become", "sudo")]))
"""


def test_the_table_is_that_of_ansibles_plugins() -> None:
    environment = {**os.environ, "ANSIBLE_CONFIG": str(ansible_config())}
    done = subprocess.run(
        [sys.executable, "-c", _DOCUMENTED], capture_output=True, text=True, check=True, env=environment
    )
    ssh, sudo = json.loads(done.stdout)
    assert {option: list(names) for option, names in SSH.items()} == {o: n for o, n in ssh.items() if len(n) > 1}
    assert {option: list(names) for option, names in SUDO.items()} == {o: n for o, n in sudo.items() if len(n) > 1}


def test_the_last_name_that_is_set_counts() -> None:
    found = {
        "ansible_host": "192.0.2.10",
        "ansible_ssh_host": "192.0.2.99",
        "ansible_ssh_user": None,
        "ansible_user": "x",
    }
    assert chosen(found, "host") == "192.0.2.99"
    assert chosen(found, "remote_user") == "x"
    connection = read_connection("cp1", {**found, "ansible_port": 22, "ansible_ssh_port": 2222})
    assert (connection.address, connection.user, connection.port) == ("192.0.2.99", "x", 2222)


def test_ansible_is_given_one_name_for_each_setting() -> None:
    found = {
        "ansible_host": "192.0.2.10",
        "ansible_ssh_host": "192.0.2.99",
        "ansible_password": "a",
        "ansible_ssh_pass": "b",
        "ansible_sudo_pass": "c",
        "ansible_become_pass": "d",
        "ansible_private_key_file": "/k1",
        "ansible_ssh_private_key_file": "/k2",
    }
    given = connection_variables(found, read_connection("cp1", found))
    assert given == {
        "ansible_ssh_host": "192.0.2.99",
        "ansible_password": "b",
        "ansible_become_password": "c",
        "ansible_ssh_private_key_file": "/k2",
        "ansible_become": given["ansible_become"],
        "ansible_python_interpreter": "/usr/bin/python3",
    }


@pytest.mark.parametrize(
    ("name", "found", "user", "address"),
    [
        ("ubuntu@192.0.2.10", {}, "ubuntu", "192.0.2.10"),
        ("cp1", {"ansible_host": "ubuntu@192.0.2.10"}, "ubuntu", "192.0.2.10"),
        ("ubuntu@192.0.2.10", {"ansible_user": "root"}, "root", "192.0.2.10"),
        ("ubuntu@cp1", {"ansible_host": "192.0.2.10"}, None, "192.0.2.10"),
        ("a@b@192.0.2.10", {}, "a@b", "192.0.2.10"),
    ],
)
def test_a_user_before_the_address(name: str, found: dict[str, str], user: str | None, address: str) -> None:
    connection = read_connection(name, found)
    assert (connection.user, connection.address) == (user, address)
    given = connection_variables(found, connection)
    assert (given.get("ansible_user"), given["ansible_host"]) == (user, address)


def test_the_arguments_of_ssh_stand_in_ansibles_order() -> None:
    found = {
        "ansible_ssh_args": "-F ssh.cfg -o 'ProxyCommand=nc %h %p'",
        "ansible_ssh_common_args": "-o ProxyJump=bastion",
        "ansible_ssh_extra_args": "-v",
        "ansible_port": "2222",
        "ansible_user": "deploy",
        "ansible_private_key_file": "/keys/a b",
    }
    assert read_connection("cp1", found).ssh_words() == (
        *("-F", "ssh.cfg", "-o", "ProxyCommand=nc %h %p"),
        *("-o", "Port=2222", "-o", 'IdentityFile="/keys/a b"', "-o", "User=deploy"),
        *("-o", "ProxyJump=bastion", "-v"),
    )


def test_a_python_and_a_sudo_of_several_words() -> None:
    connection = read_connection(
        "cp1", {"ansible_python_interpreter": "/usr/bin/env python3", "ansible_become_exe": "/usr/local/bin/sudo"}
    )
    assert connection.python_words == ("/usr/bin/env", "python3")
    assert connection.become_words == ("/usr/local/bin/sudo",)


@pytest.mark.parametrize(
    ("found", "words"),
    [
        ({"ansible_become_method": "su"}, "ansible_become_method is `su`"),
        ({"ansible_become_method": "community.general.doas", "ansible_user": "a"}, "doas"),
        ({"ansible_sudo_user": "admin"}, "ansible_sudo_user is not root"),
        ({"ansible_ssh_args": "-o 'ProxyCommand=nc"}, "cannot be split into words"),
        ({"ansible_python_interpreter": "'/usr/bin/python3"}, "cannot be split into words"),
    ],
)
def test_what_the_probe_cannot_do_as_ansible_does_it(found: dict[str, str], words: str) -> None:
    (problem,) = check_connection("cp1", found, {})
    assert words in problem.message
    assert problem.fix


@pytest.mark.parametrize(
    "found",
    [
        {"ansible_become_method": "sudo"},
        {"ansible_become_method": "ansible.builtin.sudo"},
        {"ansible_become_method": "su", "ansible_user": "root"},
        {"ansible_become_method": "doas", "ansible_become": False, "ansible_user": "root"},
        {"ansible_become": "yes", "ansible_user": "deploy"},
    ],
)
def test_root_by_sudo_or_at_once(found: dict[str, object]) -> None:
    assert check_connection("cp1", found, {}) == []


@pytest.mark.parametrize(
    ("name", "arguments", "user"),
    [
        ("ansible_ssh_common_args", "-o User=late", None),
        ("ansible_ssh_extra_args", "-oUser=late", None),
        ("ansible_ssh_args", "-C -l early", None),
        ("ansible_ssh_args", "-vl early", None),
        ("ansible_ssh_common_args", "-o UserKnownHostsFile=/known -o ProxyJump=hop", "admin"),
        ("ansible_ssh_common_args", "-o 'ProxyCommand=ssh -W %h:%p hop' -F label.cfg", "admin"),
    ],
)
def test_a_user_among_the_arguments_comes_before_that_of_the_name(name: str, arguments: str, user: str | None) -> None:
    connection = read_connection("admin@192.0.2.5", {name: arguments})
    assert (connection.user, connection.address) == (user, "192.0.2.5")
    given = read_connection("admin@192.0.2.5", {name: arguments, "ansible_user": "deploy"})
    assert given.user == "deploy"
