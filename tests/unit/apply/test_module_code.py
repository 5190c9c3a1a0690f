"""The way of gpuctl's own modules to a host, with this machine's Python in the host's place."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator

from bootstrap.apply import module_code
from bootstrap.content import playbooks_path

MODULES = sorted(path.stem for path in (playbooks_path() / "library").glob("*.py"))


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the code lies after the unpacker has run."""
    root = tmp_path_factory.mktemp("run")
    for _ in range(2):  # the second finds the first one's work
        done = run(unpacker(root), [])
        assert done.returncode == 0, done.stderr
    assert [path.name for path in root.iterdir()] == [Path(module_code.folder()).name]
    return root / Path(module_code.folder()).name


def unpacker(root: Path) -> str:
    return module_code.unpacker().replace(module_code.PLACE, str(root))


def run(text: str, arguments: list[str]) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-I", "-S", *(arguments or ["-"])]
    return subprocess.run(argv, input=text, capture_output=True, text=True, timeout=60, check=False)


def asked(name: str, **params: Any) -> str:
    return json.dumps({"module": name, "params": params, "check_mode": True, "diff": False})


@pytest.mark.parametrize("name", MODULES)
def test_each_module_can_be_loaded_with_the_standard_library_alone(host: Path, name: str) -> None:
    program = f"import sys; sys.path.insert(0, {str(host)!r}); import library.{name} as m; m.main"
    done = run(program, [])
    assert done.returncode == 0, done.stderr


def test_a_module_answers(host: Path, tmp_path: Path) -> None:
    missing = str(tmp_path / "file")
    wanted = {"component": "c", "state": "present", "files": [{"dest": missing, "content": "x"}]}
    done = run(asked("gpuctl_files", absent=[], prune=[], trees=[], **wanted), [str(host / "start.py")])
    assert json.loads(done.stdout) == {"changed": True, "changed_files": [missing], "diff": []}


def test_a_foreseen_failure_carries_its_code(host: Path) -> None:
    """A program that is there nowhere: the message is the one line that the controller takes apart."""
    asking = asked("gpuctl_containerd_config", expect=[], code="config-invalid", fix="mend it")
    found = json.loads(run(asking, [str(host / "start.py")]).stdout)
    assert found["failed"]
    assert found["msg"].startswith("[config-invalid] containerd config dump failed")
    assert found["msg"].endswith("; fix: mend it")


def test_a_fault_of_ours_is_a_status(host: Path) -> None:
    done = run(asked("gpuctl_files"), [str(host / "start.py")])
    assert done.returncode == 1
    assert "KeyError" in done.stderr


@pytest.mark.parametrize("name", MODULES)
def test_the_documentation_is_the_argument_spec(name: str) -> None:
    options = module_code.options(name)
    checked = ArgumentSpecValidator(options).validate({"no_such_option": 1})
    assert any("no_such_option" in message for message in checked.error_messages)
    for option in options.values():
        assert option["type"] in {"str", "bool", "int", "list", "dict", "path"}
        assert ("elements" in option) == (option["type"] == "list")


def test_each_module_has_its_action() -> None:
    """Without one Ansible would send the module its own way, and find no entry point in it."""
    actions = {path.stem for path in (playbooks_path() / "action_plugins").glob("*.py")}
    assert set(MODULES) <= actions


def test_other_code_lies_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    before = module_code.folder()
    module_code.folder.cache_clear()
    monkeypatch.setattr(module_code, "files", lambda: {"start.py": "pass"})
    assert module_code.folder() != before
    module_code.folder.cache_clear()
