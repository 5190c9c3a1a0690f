"""What scripts may rely on: exit codes, and one JSON document whatever happens."""

from __future__ import annotations

import contextlib
import errno
import json
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypedDict

import pytest

from bootstrap.apply.results import BootstrapResult
from bootstrap.cli import session
from bootstrap.cli.main import main
from bootstrap.errors import GpuctlError, Problem, settings_error
from bootstrap.exit_codes import ExitCode
from bootstrap.jobs.run import JobResult
from bootstrap.plan.model import Plan
from bootstrap.ui.console import Console
from bootstrap.ui.document import as_text, envelope
from tests.unit.ui import screen_examples as example


class Envelope(TypedDict):
    """The keys of the document: adding one is fine, losing one raises `version`."""

    version: int
    command: str
    status: str
    exit_code: int
    data: dict[str, Any]
    errors: list[dict[str, Any]]
    log: str | None


PROBLEM_KEYS = {"code", "message", "fix", "host", "at", "details"}
RESULT_KEYS = {
    "bootstrap": {
        "cluster_name", "hosts", "preflight", "plan", "elapsed_s", "outcomes", "readiness", "kubeconfig", "components",
        "last_applied_s",
    },
    "plan": {
        "cluster_name", "hosts", "preflight", "plan", "elapsed_s", "readiness", "components", "last_applied_s",
    },
    "verify-gpus": {"cluster_name", "nodes", "elapsed_s", "gpus_total", "gpus_passed", "gpus_taken", "collective"},
    "job run": {
        "name", "namespace", "launcher", "ranks", "elapsed_s", "kept", "deleted", "left", "tails",
    },
}  # fmt: skip

Give = Callable[..., None]


@pytest.fixture
def give(monkeypatch: pytest.MonkeyPatch) -> Give:
    """Let the stations behind a command return a result or raise an error."""

    def set_up(module: str, name: str, outcome: object) -> None:
        def stand_in(*_arguments: object, **_options: object) -> object:
            if isinstance(outcome, BaseException):
                raise outcome
            return outcome() if callable(outcome) else outcome

        monkeypatch.setattr(f"{module}.{name}", stand_in)

    return set_up


def call(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    code = main(words)
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def document(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[Envelope, str]:
    code, out, err = call(capsys, *words)
    parsed: Envelope = json.loads(out)
    assert set(parsed) == set(Envelope.__annotations__)
    assert parsed["version"] == 1
    assert parsed["exit_code"] == code
    assert all(set(problem) == PROBLEM_KEYS for problem in parsed["errors"])
    assert json.dumps(parsed, indent=2, sort_keys=True) == out.rstrip("\n"), "sorted, so that two runs can be compared"
    return parsed, err


BOOTSTRAP = ("bootstrap", "--inventory", "lab.ini")
RUN = "bootstrap.apply.run"


@pytest.mark.parametrize("code", [c for c in ExitCode if c not in {ExitCode.BUG, ExitCode.CHANGES}])
def test_exit_code_of_an_error_is_that_of_the_process(
    code: ExitCode, give: Give, capsys: pytest.CaptureFixture[str]
) -> None:
    give(RUN, "bootstrap", GpuctlError(code, Problem("some-code", "what happened", "what helps", "gpu1")))
    seen, out, err = call(capsys, *BOOTSTRAP)
    assert (seen, out) == (code, "")
    assert err.startswith("error: gpu1: what happened   [some-code]\n  fix:  what helps\n")
    assert err.splitlines()[-1].startswith("  log:  ")
    unchanged = code in {ExitCode.SETTINGS, ExitCode.PREFLIGHT, ExitCode.DISRUPTION_NEEDED}
    assert ("1 error; nothing was changed" in err) is unchanged


@pytest.mark.parametrize(
    ("code", "status"),
    [
        (ExitCode.OK, "ok"),
        (ExitCode.PARTIAL, "partial"),
        (ExitCode.STEP_FAILED, "failed"),
        (ExitCode.NOT_READY, "failed"),
    ],
)
def test_status(code: ExitCode, status: str, give: Give, capsys: pytest.CaptureFixture[str]) -> None:
    give(RUN, "bootstrap", example.bootstrap_result(exit_code=code))
    said, err = document(capsys, *BOOTSTRAP, "--output", "json")
    assert said["status"] == status
    assert said["command"] == "bootstrap"
    assert err == ""


@pytest.mark.parametrize(
    ("command", "module", "name", "result"),
    [
        ("bootstrap", RUN, "bootstrap", example.bootstrap_result()),
        ("plan", RUN, "plan", example.plan_result()),
        ("verify-gpus", "bootstrap.minikube.verify", "verify_gpus", example.verify_result()),
    ],
)
def test_keys_of_the_data(
    command: str, module: str, name: str, result: object, give: Give, capsys: pytest.CaptureFixture[str]
) -> None:
    give(module, name, result)
    said, _ = document(capsys, command, "--inventory", "lab.ini", "--output", "json")
    assert set(said["data"]) == RESULT_KEYS[command]


def test_keys_of_a_jobs_data(give: Give, capsys: pytest.CaptureFixture[str]) -> None:
    give("bootstrap.kube.reach", "answering_api", contextlib.nullcontext())
    give("bootstrap.jobs.run", "run_job", JobResult(ExitCode.OK, "train", "default", "job", (), 1.0, deleted=True))
    words = ("job", "run", "--image", "python", "--runtime-class", "", "--output", "json", "--", "true")
    said, _ = document(capsys, *words)
    assert set(said["data"]) == RESULT_KEYS["job run"]


def test_simulated_gpus_are_marked_in_the_document(give: Give, capsys: pytest.CaptureFixture[str]) -> None:
    give(RUN, "bootstrap", example.bootstrap_result())
    said, _ = document(capsys, *BOOTSTRAP, "--output", "json")
    assert [host["simulated"] for host in said["data"]["hosts"]] == [False, True, True]


@pytest.mark.parametrize(
    ("words", "command", "message"),
    [
        (("plan", "--output", "json"), "plan", "missing option '--inventory' / '-i' (env var: 'GPUCTL_INVENTORY')"),
        (("plan", "--output=json", "--nope"), "plan", "no such option: --nope"),
        (("--output", "json", "plan"), "", "no such option: --output"),
        (("plann", "--output", "json"), "", "no such command 'plann'. Did you mean 'plan'?"),
        (("testvm", "upp", "--output", "json"), "testvm", "no such command 'upp'. Did you mean 'up'?"),
        (
            ("testvm", "up", "--hosts", "x", "--output", "json"),
            "testvm up",
            "invalid value for '--hosts' (env var: 'GPUCTL_TESTVM_HOSTS'): ",
        ),
    ],
)
def test_usage_errors_speak_json(
    words: tuple[str, ...], command: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    said, err = document(capsys, *words)
    assert (said["exit_code"], said["status"], said["command"], err) == (2, "failed", command, "")
    (problem,) = said["errors"]
    assert problem["code"] == "usage"
    assert message in problem["message"]


def test_json_may_be_asked_for_by_the_environment(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("GPUCTL_OUTPUT", "json")
    assert document(capsys, "plan", "--nope")[0]["exit_code"] == 2


def test_settings_errors_speak_json(give: Give, capsys: pytest.CaptureFixture[str]) -> None:
    give(
        RUN, "plan", settings_error(Problem("variable-unknown", "unknown", at="lab.ini:3"), Problem("b", "c", host="h"))
    )
    said, err = document(capsys, "plan", "-i", "lab.ini", "--output", "json")
    assert [problem["code"] for problem in said["errors"]] == ["variable-unknown", "b"]
    assert said["exit_code"] == 3
    assert said["log"]
    assert err == ""


def test_ctrl_c_speaks_json(give: Give, capsys: pytest.CaptureFixture[str]) -> None:
    give(RUN, "bootstrap", KeyboardInterrupt())
    said, _ = document(capsys, *BOOTSTRAP, "--output", "json")
    assert (said["exit_code"], said["errors"][0]["code"]) == (130, "interrupted")


def test_what_libraries_print_does_not_spoil_the_document(give: Give, capsys: pytest.CaptureFixture[str]) -> None:
    def noisy() -> BootstrapResult:
        print("noise")  # noqa: T201 - that is the point
        return example.bootstrap_result()

    give(RUN, "bootstrap", noisy)
    said, err = document(capsys, *BOOTSTRAP, "--output", "json")
    assert said["status"] == "ok"
    assert err == "noise\n"


@pytest.mark.parametrize("bug", [KeyError("x"), SystemExit(3), RecursionError("deep")])
def test_a_bug_is_told_in_one_line_and_kept_in_the_log(
    bug: BaseException, give: Give, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    give(RUN, "bootstrap", bug)
    code, out, err = call(capsys, *BOOTSTRAP)
    assert (code, out) == (1, "")
    assert err.startswith(f"error: internal error: {type(bug).__name__}: ")
    assert "Traceback" not in err
    (log,) = (tmp_path / "state").rglob("log")
    assert "Traceback" in log.read_text()


def test_a_bug_without_a_place_for_the_log_shows_its_traceback(
    give: Give, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    give("bootstrap.testvm.lab", "list_labs", KeyError("x"))
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file"))
    code, _, err = call(capsys, "testvm", "list")
    assert code == 1
    assert "Traceback" in err
    assert "report it with the traceback above" in err


def test_report_is_filed(give: Give, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    give(RUN, "bootstrap", example.failed_result())
    code, out, err = call(capsys, *BOOTSTRAP)
    (report,) = (tmp_path / "state").rglob("report.json")
    filed = json.loads(report.read_text())
    assert code == filed["exit_code"] == 7
    assert filed["errors"][0]["code"] == "headers-missing"
    assert "gpu1   failed at nvidia_driver" in out
    assert "error: gpu1: step nvidia_driver failed" in err
    assert report.parent.name in err


def test_detailed_exit_code_of_plan(give: Give, capsys: pytest.CaptureFixture[str]) -> None:
    for plan, code in ((example.DRIFT, 20), (Plan(()), 0)):
        give(RUN, "plan", example.plan_result(plan))
        assert call(capsys, "plan", "-i", "lab.ini", "--detailed-exitcode")[0] == code
        assert call(capsys, "plan", "-i", "lab.ini")[0] == 0


def test_plan_with_changes_is_no_failure_in_json(give: Give, capsys: pytest.CaptureFixture[str]) -> None:
    give(RUN, "plan", example.plan_result())
    said, _ = document(capsys, "plan", "-i", "lab.ini", "--detailed-exitcode", "--output", "json")
    assert (said["status"], said["exit_code"]) == ("ok", 20)


def test_verify_that_is_short_exits_6(give: Give, capsys: pytest.CaptureFixture[str]) -> None:
    give("bootstrap.minikube.verify", "verify_gpus", example.verify_result(lost=True))
    code, out, _ = call(capsys, "verify-gpus", "-i", "lab.ini")
    assert code == 6
    assert out.splitlines()[-1] == "15 of 16 GPUs (simulated) passed in 11 s"


def test_answers_on_stdout_talk_on_stderr(give: Give, capsys: pytest.CaptureFixture[str]) -> None:
    give(RUN, "bootstrap", example.bootstrap_result())
    code, out, err = call(capsys, *BOOTSTRAP)
    assert (code, err) == (0, "")
    assert out.splitlines()[-1] == "next: gpuctl verify-gpus --inventory lab.ini"


def test_logging_of_others_stays_out_of_the_streams(give: Give, capsys: pytest.CaptureFixture[str]) -> None:
    def loud() -> BootstrapResult:
        logging.getLogger("paramiko").error("boo")
        return example.bootstrap_result()

    give(RUN, "bootstrap", loud)
    _, err = document(capsys, *BOOTSTRAP, "--output", "json")
    assert "boo" not in err


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS])
def test_a_full_disk_of_our_own_is_no_bug(number: int, give: Give, capsys: pytest.CaptureFixture[str]) -> None:
    give(RUN, "bootstrap", OSError(number, os.strerror(number)))
    code, _, err = call(capsys, *BOOTSTRAP)
    assert (code, "Traceback" in err, "nothing was changed" in err) == (3, False, False)
    assert "[state-not-writable]" in err


@pytest.mark.parametrize(("name", "code"), [("/run/gpuctl/x", 3), (None, 1)])
def test_denied_is_told_of_a_file_only(
    name: str | None, code: int, give: Give, capsys: pytest.CaptureFixture[str]
) -> None:
    give(RUN, "bootstrap", OSError(errno.EACCES, "Permission denied", name))
    assert call(capsys, *BOOTSTRAP)[0] == code


@pytest.mark.parametrize("stop", [KeyboardInterrupt, ValueError])
def test_whatever_happens_while_an_answer_is_written_there_is_one_document(
    stop: type[BaseException], give: Give, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write = Console.document

    def write_and_stop(console: Console, text: str) -> None:
        write(console, text)
        raise stop

    monkeypatch.setattr(Console, "document", write_and_stop)
    give(RUN, "bootstrap", example.bootstrap_result())
    code, out, err = call(capsys, *BOOTSTRAP, "--output", "json")
    assert code == (130 if stop is KeyboardInterrupt else 1)
    assert json.loads(out)["status"] == "ok"
    assert "Traceback" not in err


def test_an_answer_that_cannot_be_made_is_told_as_a_bug(
    give: Give, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    give(RUN, "bootstrap", example.bootstrap_result())
    make, calls = as_text, []

    def fail_once(*arguments: Any) -> str:
        calls.append(arguments)
        if len(calls) == 1:
            raise TypeError("not JSON")
        return make(*arguments)

    monkeypatch.setattr(session, "as_text", fail_once)
    said, err = document(capsys, *BOOTSTRAP, "--output", "json")
    assert (said["exit_code"], said["errors"][0]["code"], err) == (1, "bug", "")
    (log,) = (tmp_path / "state").rglob("log")
    assert "not JSON" in log.read_text()


def test_nothing_that_can_be_shown_is_no_traceback_either(
    give: Give, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> str:
        raise TypeError("not JSON")

    give(RUN, "bootstrap", example.bootstrap_result())
    monkeypatch.setattr(session, "as_text", broken)
    assert call(capsys, *BOOTSTRAP, "--output", "json") == (
        1, "", "error: internal error: TypeError: not JSON   [bug]\n",
    )  # fmt: skip


def test_an_interrupt_before_the_answer_is_written_does_not_claim_that_nothing_was_done(
    give: Give, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    make, calls = envelope, []

    def stop_once(*arguments: Any) -> dict[str, Any]:
        calls.append(arguments)
        if len(calls) == 1:
            raise KeyboardInterrupt
        return make(*arguments)

    give(RUN, "bootstrap", example.bootstrap_result())
    monkeypatch.setattr(session, "envelope", stop_once)
    said, _ = document(capsys, *BOOTSTRAP, "--output", "json")
    assert said["exit_code"] == 130
    assert "may be half done" in said["errors"][0]["message"]
