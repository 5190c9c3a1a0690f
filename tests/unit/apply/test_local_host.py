"""Ansible on this machine itself: our modules arrive as on any host, and nothing of Ansible's own reaches them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from bootstrap.apply.ansible_child import _ours
from bootstrap.apply.execute import _environment
from bootstrap.apply.host_action import HostAction
from bootstrap.apply.run_inventory import write_run_inventory
from bootstrap.content import content_root
from bootstrap.inventory.connection import connection_variables, read_connection
from bootstrap.inventory.model import Host, Inventory
from bootstrap.probe.local import SYSTEM_PATH

_PLUGIN = """
from bootstrap.apply import module_code
module_code.PLACE = {place!r}
from bootstrap.apply.host_action import HostAction as ActionModule
"""
_PLAYBOOK = """
- hosts: all
  gather_facts: false
  environment:
    GPUCTL_RUN: r1
  tasks:
    - gpuctl_probe:
      register: first
    - gpuctl_probe:
      register: second
    - ansible.builtin.copy:
        dest: "{{ out }}"
        content: "{{ [first.facts.hostname, second.facts.hostname] | to_json }}"
"""


_SUDO = """#!/bin/sh
while :; do case $1 in -p) prompt=$2; shift 2;; -u) shift 2;; -*) shift;; *) break;; esac; done
printf %s "$prompt" >&2
IFS= read -r given
[ "$given" = right ] || { echo "Sorry, try again." >&2; exit 1; }
echo x >> {log}
exec "$@"
"""


@pytest.mark.parametrize("become", [False, True])
def test_modules_arrive_on_this_machine_once(tmp_path: Path, become: bool) -> None:
    place, private, out = tmp_path / "place", tmp_path / "private", tmp_path / "out.json"
    private.mkdir()
    (tmp_path / "plugins").mkdir()
    (tmp_path / "plugins" / "gpuctl_probe.py").write_text(_PLUGIN.format(place=str(place)))
    (tmp_path / "play.yml").write_text(_PLAYBOOK)
    sudo, log = tmp_path / "sudo", tmp_path / "log"
    sudo.write_text(_SUDO.replace("{log}", str(log)))
    sudo.chmod(0o755)
    found = {
        "ansible_connection": "local",
        "ansible_become": become,
        "ansible_become_exe": str(sudo),
        "ansible_user": "eve",
        "ansible_port": "1",
    }
    connection = read_connection("box", found)
    host = Host("box", frozenset(), connection, {}, connection_vars=connection_variables(found, connection))
    inventory = Inventory(tmp_path / "lab.ini", (host,))
    nowhere = tmp_path / "stop"
    write_run_inventory(
        tmp_path / "run.yml",
        inventory,
        {"box": {"out": str(out)}},
        (),
        seed="box",
        run_id="r1",
        stop_file=nowhere,
        extra={},
        become_password="right" if become else None,
    )
    environment = _environment(content_root(), private) | {
        "ANSIBLE_ACTION_PLUGINS": str(tmp_path / "plugins"),
        "ANSIBLE_BECOME_ALLOW_SAME_USER": "1",  # root, too, may run the tests
    }
    done = subprocess.run(
        ["ansible-playbook", "-i", str(tmp_path / "run.yml"), str(tmp_path / "play.yml")],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        stdin=subprocess.DEVNULL,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads(out.read_text()) == [os.uname().nodename] * 2
    assert [path.name.partition("-")[0] for path in place.iterdir()] == ["modules"]
    assert log.exists() == become


def test_what_ansible_sets_for_itself_stays_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ANSIBLE_CONFIG", "PYTHONPATH", "AWX_ISOLATED_DATA_DIR"):
        monkeypatch.setenv(name, "ours")
    action = HostAction.__new__(HostAction)
    action._connection = SimpleNamespace(transport="local")
    command = f"{action._clean()}env"
    env = {**os.environ, "GPUCTL_RUN": "r1", "PATH": f"/nowhere:{os.environ['PATH']}"}
    said = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=True, env=env).stdout
    found = dict(line.partition("=")[::2] for line in said.splitlines())

    assert found["PATH"] == SYSTEM_PATH
    assert found["GPUCTL_RUN"] == "r1"
    assert "ours" not in found.values()
    action._connection = SimpleNamespace(transport="ssh")
    assert action._clean() == ""


def test_a_module_on_this_machine_is_not_ansibles_to_end() -> None:
    wait = [sys.executable, "-c", "input()"]
    with (
        subprocess.Popen(wait, stdin=subprocess.PIPE, env={**os.environ, "GPUCTL_RUN": "r1"}) as module,
        subprocess.Popen(wait, stdin=subprocess.PIPE, env={"PATH": os.environ["PATH"]}) as worker,
    ):
        assert _ours({module.pid, worker.pid}) == {worker.pid}
        for process in (module, worker):
            process.communicate(b"\n")
    assert _ours({module.pid}) == set()
