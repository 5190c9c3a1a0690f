"""Progress: plain lines, the block on a terminal, and what is held back."""

from __future__ import annotations

import io
import os
import pty
import re
import subprocess
import sys

import pytest

from bootstrap.errors import GpuctlError
from bootstrap.exit_codes import ExitCode
from bootstrap.plan.model import Plan
from bootstrap.ui.console import QUIET, Console
from bootstrap.ui.view import Block, JsonView, PlainView, PlanView, view_for
from tests.unit.ui import screen_examples as example


def plain(kind: type[PlainView] = PlainView, **options: int) -> tuple[PlainView, io.StringIO]:
    err = io.StringIO()
    return kind(Console(io.StringIO(), err, environment={}, **options)), err  # type: ignore[arg-type]


def test_a_change_is_a_line_with_the_time() -> None:
    view, err = plain()
    view.started("gpu1", "containerd")
    view.task("gpu1", "containerd", "Install | Packages\nof containerd")
    view.done("gpu1", "containerd", 12.4)
    view.failed("cp1", "kubeadm", "no space")
    stamps, said = zip(*(line.split(" ", 1) for line in err.getvalue().splitlines()), strict=True)
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", stamp) for stamp in stamps)
    assert said == (
        "gpu1: containerd: started",
        "gpu1: containerd: Install | Packages of containerd",
        "gpu1: containerd: done in 0:12",
        "cp1: kubeadm: failed: no space",
    )


def test_quiet_shows_no_progress() -> None:
    view, err = plain(verbosity=QUIET)
    view.started("gpu1", "containerd")
    view.note("x")
    assert err.getvalue() == ""


def test_what_was_seen_is_only_told_when_something_will_be_done() -> None:
    for plan, told in ((Plan(()), False), (example.FRESH, True)):
        view, err = plain()
        view.probed(example.HOSTS, 0.4)
        view.checked(example.FINDINGS)
        assert err.getvalue() == ""
        view.planned(plan)
        assert ("probed 3 hosts" in err.getvalue()) is told
        assert ("plan: 15 steps" in err.getvalue()) is told


def test_what_was_seen_is_told_when_the_run_is_refused() -> None:
    view, err = plain()
    view.probed(example.HOSTS, 0.4)
    view.__exit__(RuntimeError, RuntimeError(), None)
    assert "probed 3 hosts" in err.getvalue()


def test_plan_view_leaves_the_plan_to_the_answer() -> None:
    view, err = plain(PlanView)
    view.probed(example.HOSTS, 0.4)
    view.planned(example.DRIFT)
    assert err.getvalue() == ""
    view.planned(example.FRESH)
    assert "probed 3 hosts" in err.getvalue()
    assert "15 steps" not in err.getvalue()


def test_block_has_a_line_per_host_and_stops_the_clock_of_what_ended() -> None:
    block = Block()
    block.started("gpu1", "kube_host", 100.0)
    block.started("cp1", "kubeadm", 100.0)
    block.task("cp1", "kubeadm", "Init | Wait for the API server", 110.0)
    block.ended("gpu1", "kube_host", "✓ 0:12", 112.0)
    assert block.lines(141.0, 80) == [
        "  host   step        elapsed   now",
        "  cp1    kubeadm        0:41   ▸ Init | Wait for the API server",
        "  gpu1   kube_host      0:12   ✓ 0:12",
    ]
    assert block.lines(141.0, 30)[1] == "  cp1    kubeadm        0:41 …"


def test_a_task_of_a_step_that_was_not_announced_starts_it() -> None:
    block = Block()
    block.task("cp1", "flannel", "Apply", 5.0)
    assert "flannel" in block.lines(6.0, 80)[1]


def test_questions_need_a_terminal() -> None:
    for view in (plain()[0], JsonView()):
        with pytest.raises(GpuctlError) as caught:
            view.confirm("Reset 3 hosts?")
        assert caught.value.exit_code is ExitCode.USAGE
        assert "--yes" in caught.value.problems[0].fix


def test_pipe_gets_plain_lines() -> None:
    assert isinstance(view_for(Console(io.StringIO(), io.StringIO(), environment={})), PlainView)


SHOWS = """
from bootstrap.ui.console import Console
from bootstrap.ui.view import view_for
with view_for(Console()) as view:
    print(type(view).__name__)
    view.started("gpu1", "containerd")
    view.note("a note")
    view.done("gpu1", "containerd", 3)
    if __import__("os").environ.get("ASK"):
        print(view.confirm("Sure?"))
"""


def on_terminal(keys: bytes = b"", **environment: str) -> tuple[str, str]:
    """Run SHOWS with stdin and stderr on a terminal; (stdout, what the terminal received)."""
    ours, theirs = pty.openpty()
    os.write(ours, keys)
    done = subprocess.Popen(
        [sys.executable, "-c", SHOWS],
        stdin=theirs,
        stderr=theirs,
        stdout=subprocess.PIPE,
        env={"PATH": os.environ["PATH"], "LANG": "C.UTF-8", "TERM": "xterm", **environment},
    )
    os.close(theirs)
    received = b""
    while True:
        try:
            chunk = os.read(ours, 65536)
        except OSError:  # the other side was closed
            break
        if not chunk:
            break
        received += chunk
    out, _ = done.communicate(timeout=30)
    os.close(ours)
    assert done.returncode == 0
    return out.decode(), received.decode()


def test_terminal_gets_a_block_that_redraws() -> None:
    out, received = on_terminal()
    assert out == "LiveView\n"
    assert "\x1b[1A" in received, "the block is drawn over itself"
    assert "a note" in received
    assert received.rstrip().endswith("0:03\x1b[0m") or "✓" in received
    assert received.count("\x1b[?25l") == received.count("\x1b[?25h") == 1, "the cursor comes back"


def test_dumb_terminal_gets_plain_lines() -> None:
    out, received = on_terminal(TERM="dumb")
    assert out == "PlainView\n"
    assert "\x1b" not in received


@pytest.mark.parametrize(("keys", "answer"), [(b"y\n", "True"), (b"\n", "False"), (b"n\n", "False")])
def test_answer_to_a_question(keys: bytes, answer: str) -> None:
    out, received = on_terminal(keys, ASK="1")
    assert out.splitlines()[-1] == answer
    assert "Sure? [y/N]" in received
