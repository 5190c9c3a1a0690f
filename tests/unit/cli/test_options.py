"""Every option reaches the request, by its flag and by its environment variable; secrets only by file or prompt."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import typer

from bootstrap.apply.requests import BootstrapRequest
from bootstrap.cli import options
from bootstrap.cli.app import make_app
from bootstrap.cli.main import main
from tests.unit.ui import screen_examples as example

REQUESTS: list[Any] = []


@pytest.fixture(autouse=True)
def _stations(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep requests instead of acting on them."""
    REQUESTS.clear()

    def keeping(result: object) -> Any:
        def stand_in(request: object, _view: object) -> object:
            REQUESTS.append(request)
            return result

        return stand_in

    monkeypatch.setattr("bootstrap.apply.run.bootstrap", keeping(example.bootstrap_result()))
    monkeypatch.setattr("bootstrap.apply.run.plan", keeping(example.plan_result()))
    monkeypatch.setattr("bootstrap.minikube.verify.verify_gpus", keeping(example.verify_result()))


def requested(*words: str) -> Any:
    assert main([*words]) == 0
    return REQUESTS.pop()


FLAGS = [
    (
        "bootstrap",
        ["--limit", "gpu1,gpu2", "--limit", "cp1"],
        "GPUCTL_LIMIT",
        "gpu1,gpu2,cp1",
        "limit",
        ("gpu1", "gpu2", "cp1"),
    ),
    ("bootstrap", ["--reboot"], "GPUCTL_REBOOT", "1", "reboot", True),
    ("bootstrap", ["--skip-unreachable"], "GPUCTL_SKIP_UNREACHABLE", "1", "skip_unreachable", True),
    ("bootstrap", ["--disrupt"], "GPUCTL_DISRUPT", "true", "disrupt", True),
    ("bootstrap", ["--force-conflicts"], "GPUCTL_FORCE_CONFLICTS", "1", "force_conflicts", True),
    ("bootstrap", ["--use-context"], "GPUCTL_USE_CONTEXT", "1", "use_context", True),
    ("bootstrap", ["--kubeconfig", "/k"], "GPUCTL_KUBECONFIG", "/k", "kubeconfig", Path("/k")),
    ("bootstrap", ["--user-name", "ada"], "GPUCTL_USER_NAME", "ada", "user_name", "ada"),
    ("bootstrap", ["--renew-kubeconfig"], "GPUCTL_RENEW_KUBECONFIG", "1", "renew_kubeconfig", True),
    ("plan", ["--limit", "workers"], "GPUCTL_LIMIT", "workers", "limit", ("workers",)),
    ("verify-gpus", ["--timeout", "12.5"], "GPUCTL_VERIFY_TIMEOUT", "12.5", "timeout_s", 12.5),
]


@pytest.mark.parametrize(("command", "words", "variable", "value", "field", "wanted"), FLAGS)
def test_flag_and_variable(
    command: str,
    words: list[str],
    variable: str,
    value: str,
    field: str,
    wanted: object,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    start = (command, "--inventory", "lab.ini")
    assert getattr(requested(*start), field) != wanted, "what is asked for is not the default"
    assert getattr(requested(*start, *words), field) == wanted
    monkeypatch.setenv(variable, value)
    assert getattr(requested(*start), field) == wanted


def test_every_field_of_the_request_can_be_asked_for() -> None:
    covered = {field for command, *_, field, _ in FLAGS if command == "bootstrap"}
    assert covered | {"inventory", "run", "access"} == {field.name for field in fields(BootstrapRequest)}


def test_inventory_by_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GPUCTL_INVENTORY", "other.ini")
    assert requested("plan").inventory == Path("other.ini")


def walk(command: Any, path: str = "gpuctl") -> Iterator[tuple[str, Any]]:
    for parameter in command.params:
        yield path, parameter
    for name, below in getattr(command, "commands", {}).items():
        yield from walk(below, f"{path} {name}")


def all_parameters() -> list[tuple[str, Any]]:
    return list(walk(typer.main.get_command(make_app())))


def test_every_option_has_a_variable_and_a_sentence() -> None:
    builtin = {"help", "version", "install_completion", "show_completion"}
    lacking = [
        f"{path}: {parameter.name}"
        for path, parameter in all_parameters()
        if parameter.param_type_name == "option"
        and parameter.name not in builtin
        and not (str(parameter.envvar or "").startswith(("GPUCTL_", "WANDB_")) and parameter.help)
    ]
    assert lacking == []


def test_one_variable_means_one_thing() -> None:
    meant: dict[str, set[str]] = {}
    for _, parameter in all_parameters():
        if parameter.envvar:
            meant.setdefault(str(parameter.envvar), set()).add(parameter.name)
    shared = {name: uses for name, uses in meant.items() if len(uses) > 1}
    assert shared == {"GPUCTL_INVENTORY": {"inventory", "file"}}


def test_no_option_takes_a_secret_as_its_value() -> None:
    telling = ("password", "token", "secret")
    values = [
        f"{path} {option}"
        for path, parameter in all_parameters()
        for option in parameter.opts
        if any(word in option for word in telling) and not option.endswith("-file")
    ]
    assert values == []


def test_password_from_a_file_and_its_masking(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("hunter2!\nnot this\n")
    request = requested("bootstrap", "-i", "lab.ini", "--become-password-file", str(tmp_path / "password"))
    assert request.access.become_password == "hunter2!"
    assert "hunter2!" not in repr(request)
    assert request.run.redactor.text("hunter2!") == "********"


def test_password_from_stdin(monkeypatch: pytest.MonkeyPatch) -> None:
    import io

    monkeypatch.setattr(sys, "stdin", io.StringIO("from-stdin\n"))
    assert requested("plan", "-i", "x", "--become-password-file", "-").access.become_password == "from-stdin"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--become-password-file", "/nowhere/x"], "No such file or directory"),
        (["--become-password-file", "/dev/null"], "its first line is empty"),
        (["--ask-become-pass", "--become-password-file", "/dev/null"], "exclude one another"),
    ],
)
def test_password_that_cannot_be_had(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "-i", "lab.ini", *words]) == 2
    assert said in capsys.readouterr().err
    assert REQUESTS == []


def test_asking_needs_a_terminal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "stdin", None)
    assert main(["plan", "-i", "lab.ini", "-K"]) == 2
    assert "--ask-become-pass needs a terminal" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("environment", "wanted"), [("", "/home/u/.kube/config"), ("/a:/b", "/a"), (":/b", "/b"), ("~/c", "/home/u/c")]
)
def test_kubeconfig(environment: str, wanted: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/u")
    monkeypatch.setenv("KUBECONFIG", environment)
    assert options.kubeconfig_path(None) == Path(wanted)


def test_an_image_that_has_no_name_is_refused_before_anything_runs(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify-gpus", "-i", "lab.ini", "--collective-image", "a b"]) == 2
    assert REQUESTS == []
    err = capsys.readouterr().err
    assert "error: --collective-image 'a b': no image" in err
    assert "name one as registry/name:tag" in err


def test_names() -> None:
    assert options.names(["a,b", " c ,a", ","]) == ("a", "b", "c")
    assert options.names(None) == ()


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys\nfrom bootstrap.cli.main import main\nmain(['--help'])\n"
        "heavy = 'ansible ansible_runner kubernetes fabric paramiko yaml jinja2 rich'.split()\n"
        "sys.exit(' '.join(name for name in heavy if name in sys.modules) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
