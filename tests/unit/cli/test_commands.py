"""Help, version, init and testvm: exact output of what does not need hosts."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer

from bootstrap import __version__
from bootstrap.cli.app import make_app
from bootstrap.cli.main import main
from bootstrap.testvm.components.mirror import Mirror
from bootstrap.testvm.components.parts import Progress
from bootstrap.testvm.lab import Lab, LabHost, Machines

GOLDEN = Path(__file__).parents[2] / "golden" / "cli" / "help"
LAB = Lab(
    "lab",
    (LabHost("cp1", "10.89.1.10", "running", 0, "none"), LabHost("gpu1", "10.89.1.11", "booting", 8, "a100")),
    Path("/srv/lab.ini"),
    "2026-11-22T14:00:00+00:00",
    "mirror",
    "10.89.1.0/24",
)


def command_paths(command: Any = None, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    command = command or typer.main.get_command(make_app())
    below = [
        found for name, sub in getattr(command, "commands", {}).items() for found in command_paths(sub, (*path, name))
    ]
    return [path, *below]


@pytest.mark.parametrize("path", command_paths(), ids=lambda path: "-".join(path) or "gpuctl")
def test_help(
    path: tuple[str, ...],
    golden: Callable[[Path, str], None],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    assert main([*path, "--help"]) == 0
    golden(GOLDEN / f"{'-'.join(path) or 'gpuctl'}.txt", capsys.readouterr().out)


def test_every_golden_help_is_compared() -> None:
    assert {file.stem for file in GOLDEN.glob("*.txt")} == {"-".join(path) or "gpuctl" for path in command_paths()}


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"gpuctl {__version__}\n"


def test_no_command_shows_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    assert capsys.readouterr().out.startswith("Usage: gpuctl [OPTIONS] COMMAND")
    assert main(["testvm"]) == 2
    assert capsys.readouterr().err.startswith("Usage: gpuctl testvm")


def test_usage_error_names_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["testvm", "up", "--hots", "3"]) == 2
    first, second = capsys.readouterr().err.splitlines()
    assert first.startswith("error: no such option: --hots")
    assert first.endswith("[usage]")
    assert second == "  fix:  gpuctl testvm up --help"


def test_init_writes_an_inventory_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["init"]) == 0
    assert capsys.readouterr().out == (
        "wrote lab.ini\nnext: put your hosts' addresses into it, then: gpuctl plan --inventory lab.ini\n"
    )
    assert "192.0.2.11" in Path("lab.ini").read_text()
    assert main(["init"]) == 3
    assert capsys.readouterr().err == (
        "error: lab.ini is there   [file-exists]\n  fix:  name another file, or replace it with --force\n"
    )
    assert main(["init", "--control-plane", "a=10.0.0.1", "--worker", "b,c", "--force"]) == 0
    assert capsys.readouterr().out == "wrote lab.ini\nnext: gpuctl plan --inventory lab.ini\n"
    text = Path("lab.ini").read_text()
    assert "a ansible_host=10.0.0.1" in text
    assert "\nb\nc\n" in text


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["--worker", "a"], 2),
        (["--control-plane", "a b"], 2),
        (["/nowhere/lab.ini"], 3),
        (["--control-plane", "a,a=b"], 2),
    ],
)
def test_init_refuses(words: list[str], code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["init", *words]) == code
    assert list(tmp_path.glob("*.ini")) == []


def test_testvm_up(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    asked: list[tuple[object, ...]] = []

    def up(*arguments: Any) -> Lab:
        *given, report, ports = arguments
        asked.append((*given, ports))
        report("gpu1", "booting")
        return LAB

    monkeypatch.setattr("bootstrap.testvm.lab.up", up)
    monkeypatch.setattr(time, "monotonic", lambda: 7.0)
    assert main(["testvm", "up", "--hosts", "2", "--name", "x", "--open-port", "8099"]) == 0
    captured = capsys.readouterr()
    assert asked == [("x", 2, None, "a100", "mirror", Path("x.ini"), Machines("nspawn", 0, 0), (8099,))]
    assert captured.err == "  gpu1     booting\n"
    assert captured.out == (
        "lab lab: 2 hosts in 0.0 s\n"
        "  cp1    10.89.1.10   no GPU                 running\n"
        "  gpu1   10.89.1.11   8 × a100 (simulated)   booting\n"
        "  inventory: /srv/lab.ini\n"
        "next: gpuctl bootstrap --inventory x.ini\n"
    )


def test_testvm_list(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("bootstrap.testvm.lab.list_labs", lambda: (LAB,))
    assert main(["testvm", "list", "--output", "json"]) == 0
    (lab,) = json.loads(capsys.readouterr().out)["data"]["labs"]
    assert set(lab) == {"name", "hosts", "inventory", "created", "components", "subnet", "backend", "lane"}
    assert lab["hosts"][1] == {"name": "gpu1", "address": "10.89.1.11", "state": "booting", "gpus": 8, "model": "a100"}
    monkeypatch.setattr("bootstrap.testvm.lab.list_labs", lambda: ())
    assert main(["testvm", "list"]) == 0
    assert capsys.readouterr().out == "no labs\n"


@pytest.mark.parametrize(
    ("words", "arguments"),
    [
        ([], []),
        (["--", "ls -l | wc"], ["ls -l | wc"]),
        (["ls", "-l", "a b"], ["ls -l 'a b'"]),
        (["--", "--version"], ["--version"]),
    ],
)
def test_ssh_takes_our_place(words: list[str], arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    executed: list[list[str]] = []

    def execute(_program: str, argv: list[str]) -> None:
        executed.append(argv)
        raise KeyboardInterrupt  # exec does not return

    monkeypatch.setattr("bootstrap.testvm.lab.ssh_command", lambda name, host: ["ssh", f"{name}/{host}"])
    monkeypatch.setattr(os, "execvp", execute)
    main(["testvm", "ssh", "--name", "x", "gpu1", *words])
    assert executed == [["ssh", "x/gpu1", *arguments]]


def test_ssh_in_json(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("bootstrap.testvm.lab.ssh_command", lambda _name, _host: ["sh", "-c"])
    assert main(["testvm", "ssh", "--output", "json", "gpu1", "echo hello; exit 3"]) == 0
    data = json.loads(capsys.readouterr().out)["data"]
    assert (data["stdout"], data["returncode"]) == ("hello\n", 3)
    assert main(["testvm", "ssh", "--output", "json", "gpu1"]) == 2


def test_components_build(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    def build(report: Callable[[Progress], None], *, only: tuple[str, ...], groups: tuple[str, ...]) -> Mirror:
        assert groups == ()
        report(Progress("pause", "cached"))
        report(Progress("containerd", "started"))
        report(Progress("containerd", "done", 71.2))
        return Mirror(tmp_path, "d", "f", tmp_path, {"pause:3": "sha256:1"}, {"kubelet": "1"}, not only, ())

    monkeypatch.setattr("bootstrap.testvm.components.builder.build", build)
    assert main(["testvm", "components", "build"]) == 0
    captured = capsys.readouterr()
    assert captured.err == (
        "  pause                      · unchanged\n"
        "  containerd                 ▸ building\n"
        "  containerd                 ✓ 1:11\n"
    )
    assert captured.out == "mirror: 1 package, 1 image\nnext: gpuctl testvm up\n"
    assert main(["testvm", "components", "build", "--only", "pause"]) == 0
    assert "the current one stays as it was" in capsys.readouterr().out


SLEEPS = """
import signal, sys, time
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # whoever runs this may have it ignored
import bootstrap.testvm.lab as lab
from bootstrap.cli.main import main
def wait():
    print("ready", file=sys.stderr, flush=True)
    time.sleep(30)
lab.list_labs = wait
sys.exit(main(["testvm", "list", "--output", "json"]))
"""


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 143)])
def test_signals_end_a_command_with_its_document(number: signal.Signals, code: int, tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", SLEEPS],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "XDG_STATE_HOME": str(tmp_path)},
    )
    assert process.stderr
    assert process.stderr.readline() == b"ready\n"
    process.send_signal(number)
    out, err = process.communicate(timeout=30)
    assert process.returncode == code
    assert json.loads(out)["exit_code"] == code
    assert err == b""


CLEARS_UP = """
import signal, sys, time
signal.signal(signal.SIGHUP, signal.{})
import bootstrap.testvm.lab as lab
from bootstrap.cli.main import main
def wait():
    try:
        print("ready", file=sys.stderr, flush=True)
        sys.stdin.readline()
    finally:
        print("ending", file=sys.stderr, flush=True)
        sys.stdin.readline()
        print("ended", file=sys.stderr, flush=True)
    return []
lab.list_labs = wait
sys.exit(main(["testvm", "list"]))
"""


@pytest.mark.parametrize(("before", "code"), [("SIG_DFL", 143), ("SIG_IGN", 0)])
def test_a_closed_terminal_is_told_more_than_once_and_nohup_hears_nothing(
    before: str, code: int, tmp_path: Path
) -> None:
    """The kernel and the shell both say it: what is under way is ended in order all the same."""
    process = subprocess.Popen(
        [sys.executable, "-c", CLEARS_UP.format(before)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env={**os.environ, "XDG_STATE_HOME": str(tmp_path)},
    )
    assert process.stdin
    assert process.stderr
    for said in (b"ready\n", b"ending\n"):
        assert process.stderr.readline() == said
        process.send_signal(signal.SIGHUP)
        if before == "SIG_IGN":
            process.stdin.write(b"\n")
            process.stdin.flush()
    _, err = process.communicate(b"\n", timeout=30)
    assert err.startswith(b"ended\n")
    assert process.returncode == code


def test_options_of_testvm_ssh_after_the_host_are_no_command(capsys: pytest.CaptureFixture[str]) -> None:
    """Else another lab than the one that is named there would be looked for, and its making advised."""
    assert main(["testvm", "ssh", "mk1", "--name", "x", "--", "true"]) == 2
    assert "give gpuctl's options before HOST" in capsys.readouterr().err
