"""The entry point: parses, runs one command, and returns its exit code. No traceback leaves it."""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
import signal
import sys
import threading
from collections.abc import Sequence
from types import FrameType

import typer
from typer.exceptions import Abort, TyperException

from bootstrap.cli.app import make_app
from bootstrap.cli.session import Answer, Output, Session, Terminated, interrupted
from bootstrap.errors import Problem
from bootstrap.exit_codes import ExitCode


def main(argv: Sequence[str] | None = None) -> int:
    """Run gpuctl with these arguments (by default those of the process); returns the exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    os.umask(os.umask(0o022) | 0o022)  # what gpuctl writes is nobody else's to change
    code = _run(words)
    if argv is None and any(thread.daemon for thread in threading.enumerate()):
        _leave(code)
    return code


def _run(words: list[str]) -> int:
    session = Session()
    logging.raiseExceptions = False  # a log line that a full disk does not take is lost, without a traceback
    _end_on_signals(session)
    try:
        try:
            return _call(session, words)
        except (KeyboardInterrupt, Abort):
            return session.finish(_interrupted(session, words))
        except Exception as error:  # noqa: BLE001 - the last line of defence, for an answer that cannot be told
            return _last_resort(session, error)
    except KeyboardInterrupt:  # once more, while that was told
        return int(ExitCode.TERMINATED if session.terminated else ExitCode.INTERRUPTED)


def _leave(code: int) -> None:
    """End now. A thread that still waits for a host would be torn down in its middle, and abort the process.

    What has to be done at the end is done: the Kubernetes client removes its files with keys then.
    """
    atexit._run_exitfuncs()  # noqa: SLF001 - there is no public name for it
    with contextlib.suppress(OSError, ValueError):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)


def _call(session: Session, words: list[str]) -> int:
    """Parse and run one command."""
    try:
        code = make_app()(args=words, prog_name="gpuctl", standalone_mode=False, obj=session)
    except TyperException as error:
        return _usage(session, words, error)
    if code == ExitCode.INTERRUPTED and not session.answered:  # typer turns Ctrl-C that we did not see into its code
        return session.finish(_interrupted(session, words))
    return int(code or 0)


def _last_resort(session: Session, error: Exception) -> int:
    """An answer that could not be shown is a bug, told in the form that was asked for, else in one line."""
    answer = session.bug(error)
    try:
        return session.finish(answer)
    except Exception:  # noqa: BLE001 - whatever it is: no traceback leaves the process
        session.console.error(f"error: {answer.problems[0].message}   [bug]")
        return int(ExitCode.BUG)


def _end_on_signals(session: Session) -> None:
    """SIGTERM and SIGHUP stop a command as Ctrl-C does: what is under way is ended in order."""

    def stop(number: int, _frame: FrameType | None) -> None:
        if number == signal.SIGHUP and session.terminated:
            return  # both the kernel and the shell say that a terminal was closed
        session.terminated = True
        raise Terminated

    signal.signal(signal.SIGTERM, stop)
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # as nohup has it
        signal.signal(signal.SIGHUP, stop)


def _usage(session: Session, words: list[str], error: TyperException) -> int:
    """The command line is wrong: told like every other error, in the form that was asked for."""
    context: typer.Context | None = getattr(error, "ctx", None)
    path = context.command_path if context else "gpuctl"
    _prepare(session, words)
    session.command = path.partition(" ")[2]
    message = error.format_message().rstrip(".")
    if message.startswith("Usage:"):  # a group without a command: its help is all there is to say
        if session.output is Output.JSON:
            message = "a command is missing"
        else:
            session.console.error(message)
            return int(ExitCode.USAGE)
    problem = Problem("usage", message[:1].lower() + message[1:], f"{path} --help")
    return session.finish(Answer(ExitCode.USAGE, problems=(problem,)))


def _interrupted(session: Session, words: list[str]) -> Answer:
    if session.command:  # a command had begun
        return interrupted()
    _prepare(session, words)
    return interrupted("interrupted before anything was done")


def _prepare(session: Session, words: list[str]) -> None:
    """Before options are parsed: take from the words, as well as can be told, in which form to speak."""
    session.output = Output.JSON if _wants_json(words) else Output.TEXT
    session.configure(no_colour="--no-color" in words, verbosity=0)


def _wants_json(words: list[str]) -> bool:
    asked = os.environ.get("GPUCTL_OUTPUT", "")
    for number, word in enumerate(words):
        if word == "--":
            break
        if word.startswith("--output="):
            asked = word.partition("=")[2]
        elif word == "--output" and number + 1 < len(words):
            asked = words[number + 1]
    return asked == "json"


if __name__ == "__main__":
    sys.exit(main())
