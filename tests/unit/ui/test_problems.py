"""Errors: host and what, remedy, place, what was seen, log last."""

from __future__ import annotations

from pathlib import Path

import pytest

from bootstrap.errors import GpuctlError, Problem
from bootstrap.exit_codes import ExitCode
from bootstrap.ui.problems import error_lines, home_relative, problem_lines


def test_whole_anatomy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    error = GpuctlError(
        ExitCode.SETTINGS,
        Problem("identity-duplicate", "machine-id is the same as gpu1's", "make a new one", "gpu2"),
        Problem("variable-unknown", "unknown variable `kubeadm_kubernets_version`", at="lab.ini:14"),
    )
    assert error_lines(error, tmp_path / "runs" / "log", nothing_changed=True) == [
        "error: gpu2: machine-id is the same as gpu1's   [identity-duplicate]",
        "  fix:  make a new one",
        "error: lab.ini:14: unknown variable `kubeadm_kubernets_version`   [variable-unknown]",
        "2 errors; nothing was changed",
        "  log:  ~/runs/log",
    ]


def test_same_problem_on_several_hosts_is_told_once() -> None:
    problems = [Problem("disk-low", "disk is full", "free 5 GiB", host) for host in ("gpu1", "gpu2", "gpu1")]
    assert problem_lines(problems)[0] == "error: gpu1, gpu2: disk is full   [disk-low]"
    assert problem_lines(problems)[2] == "3 errors"


def test_place_details_and_state() -> None:
    problem = Problem("x-y", "m", "f1\nf2", "gpu1", "roles/a/tasks/check.yml:22 (Check | A)", "one\ntwo\n")
    assert problem_lines([problem], state="gpu2 done") == [
        "error: gpu1: m   [x-y]",
        "  fix:  f1",
        "        f2",
        "  at:   roles/a/tasks/check.yml:22 (Check | A)",
        "  gpu1 says:",
        "        one",
        "        two",
        "  state: gpu2 done",
    ]


def test_long_output_of_a_tool_is_cut_at_the_front() -> None:
    lines = problem_lines([Problem("c", "m", details="\n".join(f"line {n}" for n in range(40)))])
    assert lines[1] == "  seen: (28 lines before these in the log)"
    assert lines[-1] == "        line 39"
    assert len(lines) == 1 + 1 + 12


def test_one_error_without_more_has_no_count() -> None:
    assert problem_lines([Problem("c", "m")]) == ["error: m   [c]"]
    assert problem_lines([Problem("c", "m")], nothing_changed=True)[-1] == "1 error; nothing was changed"


def test_path_outside_home_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/somebody")
    assert home_relative(Path("/var/log/x")) == "/var/log/x"
