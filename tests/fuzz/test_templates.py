"""Texts that are templates to Ansible, wherever an inventory or a host can put one: none is executed here."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from bootstrap.apply.run_inventory import write_run_inventory
from bootstrap.content import playbooks_path, roles_path
from bootstrap.inventory.load import child_environment
from bootstrap.inventory.schema import components, variables
from tests.fuzz.share import cases
from tests.fuzz.templates import RENDERED, TEXTS, Outcome, arguments, shaped
from tests.unit.factories import inventory

_PARTS = 2
_ALL = list(range(len(TEXTS)))
# Tasks in the forms that roles have; what fails (a text is no list, the host has no Python) is passed over.
_PLAY: dict[str, Any] = {"hosts": "all", "gather_facts": False, "ignore_errors": True}


def tried(texts: list[int], stride: int, folder: Path, *, trusted: bool = False) -> Outcome:
    order = {"texts": texts, "stride": stride, "folder": str(folder), "trusted": trusted}
    done = subprocess.run(
        [sys.executable, "-m", "tests.fuzz.templates"],
        input=json.dumps(order), capture_output=True, text=True, check=False, env=child_environment(), timeout=3600,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    found: Outcome = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("part", range(_PARTS))
def test_no_text_of_an_argument_is_a_template(part: int, tmp_path: Path, figure: Callable[[str], None]) -> None:
    full = cases(40) == 40
    texts = [number for number in _ALL if number % _PARTS == part][:: 1 if full else 4]
    found = tried(texts, 4 if full else len(arguments()), tmp_path)
    assert found["executed"] == []
    assert found["values"] == len(texts) * len(arguments())
    assert found["renderings"] > len(texts)
    figure(
        f"templates, part {part + 1} of {_PARTS}: {len(arguments())} arguments x {len(texts)} texts in values, lists "
        f"and keys, {found['renderings']} renderings of roles: 0 executed"
    )


def test_without_the_marks_they_would_be(tmp_path: Path, figure: Callable[[str], None]) -> None:
    texts = _ALL if cases(40) == 40 else _ALL[:2]
    found = tried(texts, 10**6, tmp_path, trusted=True)
    executed = {line.partition(":")[0] for line in found["executed"]}
    assert len(executed) > len(texts) * 0.8
    figure(f"templates: {len(executed)} of {len(texts)} texts are executed once the marks are taken off")


def _said(text: str) -> dict[str, Any]:
    return {"ansible.builtin.debug": {"msg": text}}


def _tasks(folder: Path) -> list[dict[str, Any]]:
    names = sorted(v.name for v in arguments() if v.type == "str")[:: 1 if cases(40) == 40 else 12]
    roles = [c.name for c in components()][:: 1 if cases(40) == 40 else 6]
    templates = [str(path) for role in roles for path in sorted((roles_path() / role / "templates").glob("*.j2"))]
    handed = {"handed": "{{ cluster_os }}", "more": "{{ kube_host_sysctls }}"}
    return [
        *({"gpuctl_receipt": {"component": role, "state": "begun"}} for role in roles),
        {"gpuctl_packages": {"components": roles}},
        *({"gpuctl_files": {"component": "x", "files": [{"dest": str(folder / "no"), "src": p}]}} for p in templates),
        *({"ansible.builtin.debug": {"msg": "x"}, "when": name} for name in names),
        *({"ansible.builtin.assert": {"that": [name]}} for name in names),
        {"ansible.builtin.include_vars": {"file": "{{ cluster_os }}.yml"}},
        {**_said("{{ item.key }} {{ item.value }}"), "loop": "{{ kube_host_sysctls | dict2items }}"},
        {**_said("{{ found }}"), "vars": {"found": "{{ hostvars[inventory_hostname]['cluster_os'] }}"}},
        {"ansible.builtin.set_fact": {"a_fact": "{{ launch_agent_queues }}"}},
        {"ansible.builtin.debug": {"msg": "{{ a_fact }}"}},
        {"gpuctl_arguments": {"decision": {"hosts": {"h0": handed}}}},
        {"ansible.builtin.debug": {"msg": "{{ handed }} {{ more }} {{ (more | dict2items | first).key }}"}},
    ]  # fmt: skip


def test_nor_in_a_real_run_of_ansible(tmp_path: Path, figure: Callable[[str], None]) -> None:
    """With gpuctl's action plugins, over the local connection, to a host whose Python is /bin/false."""
    mark, host = tmp_path / "mark", {"ansible_connection": "local", "ansible_python_interpreter": "/bin/false"}
    texts = [text.replace("MARK", str(mark)) for text in TEXTS]
    base = inventory({"h0": "192.0.2.1"}, {})
    values = {v.name: shaped(v, texts[n % len(texts)]) for n, v in enumerate(variables().values())}
    settings = {**base.hosts[0].settings, **{v.name: values[v.name] for v in arguments()}}
    object.__setattr__(base.hosts[0], "connection_vars", host)
    write_run_inventory(
        tmp_path / "run.yml", base, {"h0": settings}, (), seed="h0", run_id=texts[0], stop_file=tmp_path, extra={},
    )  # fmt: skip
    tasks = _tasks(tmp_path)
    (tmp_path / "play.yml").write_text(yaml.safe_dump([{**_PLAY, "tasks": tasks}]))
    done = subprocess.run(
        [str(Path(sys.executable).with_name("ansible-playbook")), "-vvv", "-i", "run.yml", "play.yml"], cwd=tmp_path,
        capture_output=True, text=True, check=False, timeout=600,
        env={**child_environment(), "ANSIBLE_ACTION_PLUGINS": str(playbooks_path() / "action_plugins")},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    assert f"ok={len(tasks)}" in done.stdout, done.stdout[-400:]
    assert RENDERED not in done.stdout + done.stderr
    assert not mark.exists()
    figure(f"templates in a real run of ansible-playbook: {len(tasks)} tasks, 0 executed")
