"""Tasks that are handed secrets, or hand them over, keep them out of Ansible's output."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from bootstrap.content import content_root, playbooks_path, roles_path

CANARY = "c0ffee11c0ffee22c0ffee33c0ffee44c0ffee55"


def tasks() -> Iterator[tuple[str, dict[str, Any]]]:
    """Each task of all roles and playbooks, with its file."""
    for path in sorted((*roles_path().glob("*/tasks/*.yml"), *playbooks_path().glob("*.yml"))):
        todo = list(yaml.safe_load(path.read_text(encoding="utf-8")) or [])
        while todo:
            task = todo.pop()
            todo += [inner for key in ("tasks", "block", "rescue", "always") for inner in task.get(key) or ()]
            yield f"{path.parent.parent.name}/{path.name}: {task.get('name')}", task


def hands_over_secrets(task: dict[str, Any]) -> bool:
    """By what the modules' documentation says of their answers, and by what files hold."""
    join, account = "gpuctl_join_material", "gpuctl_account_kubeconfig"
    if join in task:
        return (task[join] or {}).get("state") != "absent"
    if account in task:
        return not task[account].get("wait_only")
    return any(
        word in json.dumps(task.get("gpuctl_files") or {}) for word in ("secret_files", "kubeconfig }}", "join.yaml")
    )


def test_tasks_with_secrets_have_no_log() -> None:
    found = [(name, task.get("no_log")) for name, task in tasks() if hands_over_secrets(task)]
    assert len(found) >= 5
    assert [name for name, no_log in found if no_log is not True] == []


@pytest.mark.parametrize("verbosity", ["-v", "-vvv"])
def test_arguments_that_a_host_is_given_are_not_printed(verbosity: str, tmp_path: Path) -> None:
    """By the action plugin that hands them out under plain ansible-playbook, in a run of Ansible's own."""
    decision = {"hosts": {"localhost": {"launch_agent_api_key": CANARY, "kubeadm_version": "1.34.2"}}}
    (tmp_path / "decision.json").write_text(json.dumps(decision))
    play = [
        {
            "hosts": "localhost",
            "connection": "local",
            "gather_facts": False,
            "vars": {"decided": "{{ lookup('file', '%s') | from_json }}" % (tmp_path / "decision.json")},
            "tasks": [
                {"name": "Hand out", "gpuctl_arguments": {"decision": "{{ decided }}"}},
                {"name": "See", "ansible.builtin.assert": {"that": ["launch_agent_api_key | length == 40"]}},
            ],
        }
    ]
    (tmp_path / "play.yml").write_text(yaml.safe_dump(play))
    (tmp_path / "hosts.ini").write_text("localhost ansible_connection=local\n")
    program = Path(sys.executable).with_name("ansible-playbook")
    done = subprocess.run(
        [program, "-i", str(tmp_path / "hosts.ini"), verbosity, str(tmp_path / "play.yml")],
        env={
            **{name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")},
            "ANSIBLE_CONFIG": str(content_root() / "ansible.cfg"),
            "ANSIBLE_ACTION_PLUGINS": str(playbooks_path() / "action_plugins"),
            "ANSIBLE_LIBRARY": str(playbooks_path() / "library"),
            "ANSIBLE_HOME": str(tmp_path / "home"),
        },
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    assert "no_log" in done.stdout
    assert CANARY not in done.stdout + done.stderr
