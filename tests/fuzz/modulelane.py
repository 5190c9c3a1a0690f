"""Ansible with the project's action plugins over hosts whose Python answers whatever it was told to.

Each answer is a host's: its interpreter is a program that prints the answer in place of the module's result. The
playbook then does with the result what roles do: keep it, show it, decide by it, put it into a text.
"""

from __future__ import annotations

import json
import stat
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from bootstrap.apply import execute as executing
from bootstrap.apply.execute import Execution, execute, private_directory
from bootstrap.content import content_root
from bootstrap.progress import Silent
from bootstrap.rundir import RunDirectory
from tests.fuzz.controller import Bait

CONTROL = "control"
_HOST_PYTHON = """#!{python} -IS
import sys
sys.stdin.read()
sys.stdout.write(open({answer!r}, encoding="utf-8").read() + "\\n")
"""
_TASKS: list[dict[str, Any]] = [
    {
        "name": "containerd : Service | Ask the host",
        "gpuctl_service": {"component": "containerd", "name": ["containerd.service"]},
        "register": "found",
    },
    {
        "name": "Keep, and decide by it",
        "ansible.builtin.set_fact": {
            "kept": "{{ [found.text | default(found.msg) | default(''), found.list | default([])] | join(' ') }}"
        },
        "when": "found.changed | default(false) is defined",
    },
    {
        "name": "Put into a text",
        "ansible.builtin.debug": {"msg": "{{ found }} {{ kept }} {{ lookup('vars', 'kept') }}"},
    },
]
_AFTER: list[dict[str, Any]] = [
    {"name": "What is set now", "ansible.builtin.debug": {"msg": "bait is {{ bait | default('unset') }}"}}
]


def answers(bait: Bait) -> Mapping[str, str]:
    """By name: what the host prints."""
    texts = bait.texts()
    pipe, other, shell = texts["look-up pipe"], texts["other delimiters"], texts["shell"]
    escapes = texts["control characters and advice"]
    evil = {"ansible_connection": "local", "ansible_python_interpreter": f"touch {bait.marker};", "bait": pipe}
    delegated = {"ansible_host": "192.0.2.1", "ansible_shell_executable": f"touch {bait.marker}"}
    said = {
        "facts": {"changed": False, "ansible_facts": evil, "msg": pipe},
        "facts of another type": {"changed": False, "ansible_facts": pipe, "msg": "x", "warnings": [{"x": pipe}, 7]},
        "new hosts": {
            "changed": True,
            "add_host": {"host_name": "newhost", "groups": ["all"], "host_vars": evil},
            "add_group": "newgroup",
        },
        "keys of Ansible": {
            "changed": pipe,
            "invocation": {"module_args": {"x": pipe}},
            "_ansible_delegated_vars": delegated,
            "_ansible_no_log": False,
            "_ansible_item_label": pipe,
            "_ansible_verbose_always": True,
            "results": [{"changed": pipe, "_ansible_item_label": pipe}, 7],
            "skip_reason": pipe,
            "diff": {"before": pipe, "after": other},
        },
        "tags of Ansible": {
            "text": {"__ansible_type": "TrustedAsTemplate", "value": pipe},
            "msg": {"__ansible_unsafe": pipe},
            "list": [{"__ansible_vault": pipe}, pipe],
        },
        "templates": {"changed": False, "text": pipe, "msg": texts["statement"], "list": [pipe, {pipe: pipe}]},
        "other delimiters": {"changed": False, "text": other, "msg": other, "list": [other]},
        "failure in templates": {"failed": True, "msg": f"[{pipe}] {pipe}; fix: {shell}", "exception": pipe},
        "warnings": {
            "changed": False,
            "warnings": 7,
            "deprecations": [{"msg": pipe, "version": {}, "date": pipe}, 7],
            "text": escapes,
        },
        "codes and control characters": {"failed": True, "msg": f"[os-unsupported] {escapes}; fix: {escapes}"},
    }
    flood = "x" * 3_000_000 + pipe
    return {
        **{name: json.dumps(document) for name, document in said.items() if name != "warnings"},
        "warnings": json.dumps(said["warnings"] | {"stdout": flood}),
        CONTROL: json.dumps({"changed": False}),
    }


def run_playbook(folder: Path, bait: Bait, monkeypatch: pytest.MonkeyPatch) -> tuple[Execution, str, list[str]]:
    """Run it over all answers, and a control host whose task does run a look-up of this playbook's own.

    Returns:
        The execution, what the run directory has of it, and the hosts in the order of `answers`.
    """
    content, hosts = _content(folder / "content", bait), {}
    for number, (name, text) in enumerate(answers(bait).items()):
        answer, python = folder / f"answer-{number}", folder / f"python-{number}"
        answer.write_text(text, encoding="utf-8")
        python.write_text(_HOST_PYTHON.format(python=sys.executable, answer=str(answer)), encoding="utf-8")
        python.chmod(stat.S_IRWXU)
        hosts[CONTROL if name == CONTROL else f"h{number}"] = {
            "ansible_connection": "local",
            "ansible_python_interpreter": str(python),
        }
    inventory = folder / "hosts.yml"
    inventory.write_text(yaml.safe_dump({"all": {"hosts": hosts}}), encoding="utf-8")
    monkeypatch.setattr(executing, "content_root", lambda: content)
    run = RunDirectory.create("bootstrap", root=folder / "runs")
    with private_directory() as private:
        done = execute("hostile.yml", private, inventory, private / "stop", run, Silent(), len(hosts))
    kept = "".join(path.read_text(encoding="utf-8") for path in sorted(run.path.iterdir()) if path.is_file())
    return done, kept, list(hosts)


def _content(folder: Path, bait: Bait) -> Path:
    """The project's content, with a playbook of the test's in place of its own."""
    root = content_root()
    (folder / "playbooks").mkdir(parents=True)
    for name in ("action_plugins", "library"):
        (folder / "playbooks" / name).symlink_to(root / "playbooks" / name)
    (folder / "roles").symlink_to(root / "roles")
    (folder / "ansible.cfg").write_text((root / "ansible.cfg").read_text(encoding="utf-8"), encoding="utf-8")
    own = "{{ lookup('pipe', 'touch " + f"{bait.marker}-{CONTROL}" + "') }}"
    plays = [
        {"hosts": "all", "gather_facts": False, "tasks": _TASKS},
        {"hosts": "all", "gather_facts": False, "tasks": _AFTER},
        {
            "hosts": CONTROL,
            "gather_facts": False,
            "tasks": [{"name": "Control", "ansible.builtin.debug": {"msg": own}}],
        },
    ]
    (folder / "playbooks" / "hostile.yml").write_text(yaml.safe_dump(plays), encoding="utf-8")
    return folder
