"""One call of gpuctl: its console, its run directory, and the one place where errors become screens and exit codes."""

from __future__ import annotations

import contextlib
import errno
import logging
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from bootstrap.errors import GpuctlError, Problem
from bootstrap.exit_codes import ExitCode
from bootstrap.redact import Redactor, redacting
from bootstrap.rundir import RunDirectory
from bootstrap.ui.console import VERBOSE, Console
from bootstrap.ui.document import as_text, envelope
from bootstrap.ui.problems import problem_lines

_REFUSALS = frozenset({ExitCode.SETTINGS, ExitCode.PREFLIGHT, ExitCode.DISRUPTION_NEEDED})
_DISK_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS})
_DENIED = frozenset({errno.EACCES, errno.EPERM})  # told of a disk only when a file is named
_UNDER_WAY = "interrupted; what was under way may be half done: the same command again goes on from there"


class Output(StrEnum):
    """The forms in which a command answers."""

    TEXT = "text"
    JSON = "json"


class Terminated(KeyboardInterrupt):
    """SIGTERM or SIGHUP, which stop a command exactly as Ctrl-C does, but for the exit code."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a command came to. `lines` are its text form, `data` its JSON form."""

    exit_code: ExitCode = ExitCode.OK
    lines: Sequence[str] = ()
    data: Mapping[str, Any] = field(default_factory=dict)
    problems: Sequence[Problem] = ()
    nothing_changed: bool = False


class _ConsoleHandler(logging.Handler):
    """At -v the log's lines are talk, too."""

    def __init__(self, console: Console) -> None:
        super().__init__()
        self._console = console

    def emit(self, record: logging.LogRecord) -> None:
        self._console.say(record.getMessage(), VERBOSE)


class Session:
    """Made by main(), configured by the global options, used by exactly one command."""

    def __init__(self) -> None:
        self.redactor = Redactor()
        self.console = Console(redactor=self.redactor)
        self.command = ""
        self.output = Output.TEXT
        self.terminated = False
        self._run: RunDirectory | None = None
        self.answered = False

    def configure(self, *, no_colour: bool, verbosity: int) -> None:
        """Take the global options."""
        self.console = Console(no_colour=no_colour, verbosity=verbosity, redactor=self.redactor)

    @property
    def run(self) -> RunDirectory:
        """The run directory, made when it is first asked for. Raises GpuctlError when it cannot be made."""
        if self._run is None:
            self._run = RunDirectory.create(self.command.replace(" ", "-") or "gpuctl", self.redactor)
            if self.console.verbosity >= VERBOSE and self.output is Output.TEXT:
                self._run.log.addHandler(_ConsoleHandler(self.console))
            self._run.log.info("gpuctl %s", self.command)
        return self._run

    def execute(
        self, command: str, output: Output, body: Callable[[Session], Answer], *, refuses_unchanged: bool = False
    ) -> int:
        """Run a command's body and show its answer, or what went wrong; returns the exit code.

        `refuses_unchanged`: an error of settings or preflight means that nothing was changed, and is told so.
        """
        self.command, self.output = command, output
        try:
            with self._stdout_guarded(), redacting(self.redactor):
                answer = body(self)
        except GpuctlError as error:
            unchanged = refuses_unchanged and error.exit_code in _REFUSALS
            answer = Answer(error.exit_code, problems=error.problems, nothing_changed=unchanged)
        except KeyboardInterrupt:
            answer = interrupted()
        except OSError as error:
            answer = _unwritable(error) if _concerns_our_disk(error) else self.bug(error)
        except (Exception, SystemExit) as error:  # noqa: BLE001 - the last line of defence: a bug is told as a bug
            answer = self.bug(error)
        return self.finish(answer)

    def finish(self, answer: Answer) -> int:
        """Show an answer and file its report; returns the exit code.

        Only the first answer is shown: one that comes while that is being written changes the exit code alone.
        """
        code = answer.exit_code
        if self.terminated and code is ExitCode.INTERRUPTED:
            code = ExitCode.TERMINATED
        if self.answered:
            if code is ExitCode.BUG:
                self.console.error("\n".join(problem_lines(answer.problems)))
            return int(code)
        log = self._run.log_path if self._run else None
        document = envelope(self.command, code, answer.data, answer.problems, log)
        self._file(document)
        if self.output is Output.JSON:
            text = as_text(document, self.redactor)
            self.answered = True
            self.console.document(text)
        else:
            self.answered = True
            for line in answer.lines:
                self.console.answer(line.replace("\n", "\n    "))  # what a host says begins no line of ours
            if answer.problems:
                lines = problem_lines(answer.problems, log, nothing_changed=answer.nothing_changed)
                self.console.error("\n".join(lines))
        if self.console.lost and code is ExitCode.OK:
            lost = Problem("stdout-lost", f"the answer could not be written: {self.console.lost}", "free space there")
            self.console.error("\n".join(problem_lines([lost], log)))
            code = ExitCode.USAGE
        return int(code)

    def _file(self, document: Mapping[str, Any]) -> None:
        if self._run is not None:
            with contextlib.suppress(OSError):  # the answer matters more than its copy
                self._run.write_json("report.json", document)
            with contextlib.suppress(OSError):  # what a full disk did not take
                self._run.close()

    @contextlib.contextmanager
    def _stdout_guarded(self) -> Iterator[None]:
        """In JSON form nothing else may reach stdout, whatever a library prints."""
        if self.output is Output.JSON:
            with contextlib.redirect_stdout(sys.stderr):
                yield
        else:
            yield

    def bug(self, error: BaseException) -> Answer:
        """The answer to an error that nothing expected; its traceback goes to the log."""
        what = f"{type(error).__name__}: {error}".splitlines()[0]
        try:
            if not self.run.log.handlers:  # closed with the report
                self._run = RunDirectory(self.run.path, self.redactor)
            self.run.log.error("bug\n%s", "".join(traceback.format_exception(error)))
            fix = "this is a bug in gpuctl: report it with the log"
        except (GpuctlError, OSError):
            self.console.error("".join(traceback.format_exception(error)))  # there is no log to keep it
            fix = "this is a bug in gpuctl: report it with the traceback above"
        return Answer(ExitCode.BUG, problems=(Problem("bug", f"internal error: {what}", fix),))


def interrupted(what: str = _UNDER_WAY) -> Answer:
    """The answer to Ctrl-C, SIGTERM and SIGHUP."""
    return Answer(ExitCode.INTERRUPTED, problems=(Problem("interrupted", what),))


def _concerns_our_disk(error: OSError) -> bool:
    return error.errno in _DISK_FULL or (error.errno in _DENIED and error.filename is not None)


def _unwritable(error: OSError) -> Answer:
    """A disk of this machine is full or denied. What became of the hosts by then is not known here."""
    where = error.filename if isinstance(error.filename, str) else "a file of this run"
    fix = "free space there or make it writable, then run the same command again: it goes on from there"
    problem = Problem("state-not-writable", f"{where} cannot be written: {error.strerror}", fix)
    return Answer(ExitCode.SETTINGS, problems=(problem,))


def home_file(*parts: str) -> Path:
    """A path below the home directory. Raises GpuctlError when there is none."""
    try:
        return Path.home().joinpath(*parts)
    except RuntimeError as error:
        problem = Problem("home-unknown", "this user has no home directory", "set HOME")
        raise GpuctlError(ExitCode.SETTINGS, problem) from error
