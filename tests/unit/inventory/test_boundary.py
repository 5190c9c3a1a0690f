"""What an inventory cannot make the controller do: run programs, read for ever, take names for options or paths."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bootstrap.errors import GpuctlError, Problem
from bootstrap.exit_codes import ExitCode
from bootstrap.inventory.bounds import MOST_HOSTS, host_count
from bootstrap.inventory.load import inventory_of, load_inventory
from bootstrap.inventory.names import local_python_complaint, name_complaint, user_complaint

GOOD = "[control_plane]\ncp1 ansible_host=192.0.2.1\n"


def refused(path: Path) -> tuple[Problem, ...]:
    with pytest.raises(GpuctlError) as caught:
        load_inventory(path)
    assert caught.value.exit_code is ExitCode.SETTINGS
    assert all(problem.fix for problem in caught.value.problems)
    return caught.value.problems


@pytest.mark.parametrize(
    "name",
    ["-oProxyCommand=x", "a b", "a\tb", "a\x1b[2J", "a/b", "..", "a..b", "a\\b", "$(x)", "`x`",
     "a;b", "{{x}}", "a" * 256, "a\u202eb", "a\nb"],
)  # fmt: skip
def test_names_that_programs_act_upon(name: str) -> None:
    assert name_complaint(name)


@pytest.mark.parametrize(
    "name", ["gpu1", "gpu-1.lab.example", "_x", "192.0.2.1", "fe80::1%eth0", "ubuntu@192.0.2.1", "größe"]
)
def test_names_that_are_names(name: str) -> None:
    assert name_complaint(name) == ""
    assert user_complaint(name) == ""


@pytest.mark.parametrize("variable", ["ansible_host", "ansible_ssh_host", "ansible_user", "ansible_ssh_user"])
def test_a_leading_dash_is_refused(variable: str, tmp_path: Path) -> None:
    path = tmp_path / "lab.ini"
    path.write_text(f"[control_plane]\ncp1 {variable}=-oProxyCommand=true\n")
    (problem,) = refused(path)
    assert (problem.code, problem.host, problem.at) == ("host-name-invalid", "cp1", f"{path}:2")


def test_a_host_whose_name_is_an_option_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "lab.yml"
    path.write_text('control_plane: {hosts: {"-oProxyCommand=true": {ansible_host: 192.0.2.1}, "a/../b": {}}}\n')
    assert [problem.code for problem in refused(path)] == ["host-name-invalid"] * 2


def _script(folder: Path) -> None:
    (folder / "maas.py").write_text("#!/usr/bin/env python3\nprint('{}')\n")
    (folder / "maas.py").chmod(0o755)


def _plugin(folder: Path) -> None:
    (folder / "c.yml").write_text(
        "plugin: ansible.builtin.constructed\nstrict: true\ncompose: {x: \"lookup('pipe','x')\"}\n"
    )


def _json_plugin(folder: Path) -> None:
    (folder / "c.json").write_text('{"plugin": "constructed"}')


@pytest.mark.parametrize(("make", "word"), [(_script, "script"), (_plugin, "plugin"), (_json_plugin, "plugin")])
def test_scripts_and_plugins_are_refused_in_folders_too(
    make: Callable[[Path], None], word: str, tmp_path: Path
) -> None:
    (tmp_path / "01.ini").write_text(GOOD)
    make(tmp_path)
    (problem,) = refused(tmp_path)
    assert problem.code == "inventory-invalid"
    assert word in problem.message
    assert "ansible-inventory -i" in problem.fix


def test_code_beside_an_inventory_does_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mark = tmp_path / "mark"
    code = f"open({str(mark)!r}, 'w').close()\n"
    plugin = code + "class FilterModule:\n    def filters(self):\n        return {'own': str}\n"
    for folder in (
        "filter_plugins",
        "vars_plugins",
        "lookup_plugins",
        "callback_plugins",
        "library",
        "inventory_plugins",
        "plugins",
    ):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "own.py").write_text(plugin)
    (tmp_path / "bootstrap.py").write_text(code)
    (tmp_path / "sitecustomize.py").write_text(code)
    config = "".join(f"{kind}_plugins = ./{kind}_plugins\n" for kind in ("filter", "vars", "lookup", "callback"))
    (tmp_path / "ansible.cfg").write_text(f"[defaults]\n{config}library = ./library\n")
    (tmp_path / "lab.ini").write_text(GOOD + "[all:vars]\nother={{ 1 | own }}\ncluster_name={{ 'x' | own }}\n")
    monkeypatch.chdir(tmp_path)
    (problem,) = refused(Path("lab.ini"))
    assert problem.code == "variable-invalid"
    assert not mark.exists()


def test_a_python_beside_an_inventory_does_not_run_here(tmp_path: Path) -> None:
    python = tmp_path / "python3"
    python.write_text("#!/bin/sh\n")
    python.chmod(0o755)
    (tmp_path / "lab.ini").write_text(
        f"[control_plane]\nbox ansible_connection=local ansible_python_interpreter={python}\n"
    )
    tmp_path.chmod(0o777)
    (problem,) = refused(tmp_path / "lab.ini")
    assert problem.code == "connection-unsupported"
    assert local_python_complaint("/usr/bin/python3") == ""
    assert local_python_complaint("/usr/bin/env")
    assert local_python_complaint("python3")


@pytest.mark.parametrize(
    ("pattern", "count"), [("gpu1", 1), ("gpu[1:3]", 3), ("gpu[01:10:3]", 3), ("r[a:c]n[1:2]", 6), ("gpu[:9]", 10)]
)
def test_hosts_are_counted_before_they_are_made(pattern: str, count: int) -> None:
    assert count <= host_count(pattern) <= count * 30


_DOUBLED = [f"{c}: &{c} [{','.join([f'*{p}'] * 10)}]" for p, c in zip("abcdefgh", "bcdefghi", strict=True)]
_BOMB = "\n".join(["a: &a [x,x,x,x,x,x,x,x,x,x]", *_DOUBLED])
ENDLESS = [
        ("lab.ini", "[control_plane]\ncp[1:999999999]\n"),
        ("lab.ini", "[control_plane]\ncp[1:9999]x[1:9999]\n"),
        ("lab.yml", "control_plane: {hosts: {'cp[0:" + "9" * 5000 + "]': {}}}\n"),
    ("lab.yml", _BOMB),
        ("lab.yml", "control_plane: {hosts: {cp1: {x: &x [*x]}}}\n"),
            ("lab.ini", "[control_plane]\ncp1\n[all:vars]\ncluster_name={{ 10 ** 9999 }}\n"),
        ("lab.ini", "[control_plane]\ncp1\n[all:vars]\ncluster_name={{ cluster_name }}\n"),
        ("lab.yml", "control_plane: {hosts: {cp1: {cluster_addons: " + "[" * 400 + "]" * 400 + "}}}\n"),
        ("lab.yml", "control_plane: {hosts: {cp1: {ansible_port: " + "9" * 5000 + "}}}\n"),
        ("lab.yml", "control_plane: {hosts: {cp1: {ansible_ssh_common_args: [-o, ProxyJump=bastion]}}}\n"),
        ("lab.yml", "control_plane: {hosts: {cp1: {ansible_user: {a: b}, ansible_host: [192.0.2.1]}}}\n"),
        ("lab.yml", "control_plane: {hosts: {cp1: {}}}\nworkers: {hosts: [gpu1, gpu2]}\n"),
        ("lab.ini", "[control_plane]\ncp1 ansible_ssh_private_key_file=~nobody-there/x ansible_port=\uff12\uff12\n"),
]  # fmt: skip


def test_what_would_take_for_ever_or_break_is_refused(
    resolve_many: Callable[[dict[str, dict[str, str]]], dict[str, Any]],
) -> None:
    start = time.monotonic()
    answers = resolve_many({str(number): {name: text} for number, (name, text) in enumerate(ENDLESS)})
    assert time.monotonic() - start < 60
    for number, (path, answer) in answers.items():
        with pytest.raises(GpuctlError) as caught:
            inventory_of(answer, path)
        assert caught.value.exit_code is ExitCode.SETTINGS, ENDLESS[int(number)]


def test_a_value_that_takes_all_memory_is_refused(tmp_path: Path) -> None:
    (tmp_path / "lab.ini").write_text("[control_plane]\ncp1\n[all:vars]\ncluster_name={{ 'x' * 10 ** 10 }}\n")
    assert refused(tmp_path / "lab.ini")


def test_a_pipe_or_a_loop_in_a_folder_ends(tmp_path: Path) -> None:
    (tmp_path / "01.ini").write_text(GOOD)
    os.mkfifo(tmp_path / "02.ini")
    (tmp_path / "loop").symlink_to(tmp_path)
    (tmp_path / "host_vars").mkdir()
    os.mkfifo(tmp_path / "host_vars" / "cp1")
    found = refused(tmp_path)
    assert {problem.code for problem in found} == {"inventory-invalid"}
    assert any("regular file" in problem.message for problem in found)
    assert len(found) < 100
    assert MOST_HOSTS >= 5000
