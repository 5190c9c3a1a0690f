"""Where things are written, in which signs and colours, and what happens when nobody reads."""

from __future__ import annotations

import io
import os
import subprocess
import sys

import pytest

from bootstrap.redact import Redactor
from bootstrap.ui.console import QUIET, VERBOSE, Console, capabilities


class Terminal(io.StringIO):
    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


class AsciiTerminal(Terminal):
    encoding = "ascii"


def console(**options: object) -> tuple[Console, Terminal, Terminal]:
    out, err = Terminal(), Terminal()
    options.setdefault("environment", {})
    return Console(out, err, **options), out, err  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("environment", "terminal", "no_colour", "coloured"),
    [
        ({}, True, False, True),
        ({}, False, False, False),
        ({}, True, True, False),
        ({"NO_COLOR": "1"}, True, False, False),
        ({"NO_COLOR": "yes", "FORCE_COLOR": "1"}, True, False, False),
        ({"NO_COLOR": ""}, True, False, True),
        ({"FORCE_COLOR": "1"}, False, False, True),
        ({"FORCE_COLOR": "0"}, False, False, False),
        ({"TERM": "dumb"}, True, False, False),
    ],
)
def test_colour(environment: dict[str, str], terminal: bool, no_colour: bool, coloured: bool) -> None:
    stream = Terminal() if terminal else io.StringIO()
    assert capabilities(stream, environment, no_colour=no_colour).colour is coloured


def test_answers_and_talk_do_not_mix() -> None:
    shown, out, err = console(no_colour=True)
    shown.answer("answer")
    shown.say("talk")
    shown.say("detail", VERBOSE)
    assert (out.getvalue(), err.getvalue()) == ("answer\n", "talk\n")


def test_quiet_keeps_answers_and_errors() -> None:
    shown, out, err = console(no_colour=True, verbosity=QUIET)
    shown.answer("answer")
    shown.say("talk")
    shown.error("error: x")
    assert (out.getvalue(), err.getvalue()) == ("answer\n", "error: x\n")


def test_colour_changes_no_word() -> None:
    shown, out, _ = console()
    shown.answer("error: gpu1: 8 ✗   [gpu-missing]")
    assert out.getvalue() == "\x1b[31merror:\x1b[0m gpu1: 8 \x1b[31m✗\x1b[0m   \x1b[2m[gpu-missing]\x1b[0m\n"


def test_a_terminal_without_unicode_gets_ascii() -> None:
    out = AsciiTerminal()
    Console(out, Terminal(), no_colour=True, environment={}).answer("8 × A100 ✓ → é")
    assert out.getvalue() == "8 x A100 + > ?\n"


def test_hosts_cannot_steer_the_terminal_nor_print_secrets() -> None:
    redactor = Redactor()
    redactor.add("hunter2!")
    shown, _, err = console(no_colour=True, redactor=redactor)
    shown.error("error: \x1b]0;owned\x07 hunter2! abcdef.0123456789abcdef")
    assert err.getvalue() == "error:  ******** abcdef.********\n"


PRINTS_MUCH = """
from bootstrap.ui.console import Console
c = Console()
for n in range(20000):
    c.answer(f"line {n}")
c.say("went on")
"""


def run(code: str, **streams: object) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, **streams)  # type: ignore[call-overload]


def test_a_reader_that_leaves_does_not_stop_the_command() -> None:
    process = run(PRINTS_MUCH, stdout=subprocess.PIPE)
    assert process.stdout
    assert process.stderr
    process.stdout.readline()
    process.stdout.close()
    said = process.stderr.read()
    assert process.wait(30) == 0
    assert said == b"went on\n"


def test_closed_stdout_is_survived() -> None:
    done = subprocess.run(
        [
            "bash",
            "-c",
            f"exec {sys.executable} -c 'from bootstrap.ui.console import Console; Console().answer(\"x\")' >&-",
        ],
        capture_output=True,
        timeout=30,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="SKIPPED: no /dev/full")  # noqa: PTH110
def test_an_answer_that_was_lost_is_known() -> None:
    with open("/dev/full", "w", encoding="utf-8") as full:  # noqa: PTH123
        shown = Console(full, Terminal(), environment={})
        shown.answer("x")
        assert "space" in shown.lost
