"""The console: answers to stdout, talk to stderr, in what the terminal can show. Nothing else in gpuctl prints."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TextIO

from bootstrap.redact import Redactor
from bootstrap.ui.layout import ascii_only

QUIET, NORMAL, VERBOSE = -1, 0, 1
_SGR = {"red": "31", "green": "32", "yellow": "33", "bold": "1", "dim": "2"}
_PAINTED = (
    (re.compile(r"✓"), "green"),
    (re.compile(r"✗"), "red"),
    (re.compile(r"^error:"), "red"),
    (re.compile(r"^warning:"), "yellow"),
    (re.compile(r"(?<=^  )(?:(?:fix|at|seen|state|log):|[^ ].* says?:$)"), "bold"),
    (re.compile(r"\[[a-z0-9]+(?:-[a-z0-9]+)+\]$"), "dim"),
)


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What one stream can show."""

    terminal: bool
    colour: bool
    unicode: bool


def capabilities(stream: TextIO | None, environment: Mapping[str, str], *, no_colour: bool = False) -> Capabilities:
    """Decide for one stream: colour by --no-color, NO_COLOR, FORCE_COLOR (not empty, not 0), then by the terminal."""
    dumb = environment.get("TERM") == "dumb"
    terminal = stream is not None and _is_terminal(stream) and not dumb
    if no_colour or environment.get("NO_COLOR"):
        colour = False
    elif environment.get("FORCE_COLOR", "0") not in {"", "0"}:
        colour = True
    else:
        colour = terminal
    return Capabilities(terminal, colour, stream is not None and _speaks_unicode(stream))


def _is_terminal(stream: TextIO) -> bool:
    try:
        return stream.isatty()
    except ValueError:  # closed
        return False


def _speaks_unicode(stream: TextIO) -> bool:
    try:
        "✓✗·▸×→…".encode(stream.encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True


class Console:
    """Writes lines to the two streams; survives streams that are closed or whose reader has gone."""

    def __init__(
        self,
        stdout: TextIO | None = None,
        stderr: TextIO | None = None,
        *,
        no_colour: bool = False,
        verbosity: int = NORMAL,
        environment: Mapping[str, str] | None = None,
        redactor: Redactor | None = None,
    ) -> None:
        environment = os.environ if environment is None else environment
        self.stdout = stdout if stdout is not None else sys.stdout
        self.stderr = stderr if stderr is not None else sys.stderr
        self.out = capabilities(self.stdout, environment, no_colour=no_colour)
        self.err = capabilities(self.stderr, environment, no_colour=no_colour)
        self.verbosity = verbosity
        self.redactor = redactor or Redactor()
        self.lost = ""  # why an answer did not reach stdout, unless its reader had enough
        self._lock = threading.RLock()

    @property
    def columns(self) -> int:
        """Width of the terminal, 80 where there is none."""
        return shutil.get_terminal_size((80, 24)).columns

    def answer(self, text: str = "") -> None:
        """What was asked for: lines for stdout."""
        self._write(self.stdout, self.adapt(text, self.out) + "\n")

    def document(self, text: str) -> None:
        """A machine's answer: stdout as it is, redacted by who made it."""
        self._write(self.stdout, text + "\n")

    def say(self, text: str = "", level: int = NORMAL) -> None:
        """Talk: lines for stderr, at -v only when `level` is VERBOSE, never at -q."""
        if self.verbosity >= level:
            self._write(self.stderr, self.adapt(text, self.err) + "\n")

    def error(self, text: str) -> None:
        """What went wrong: lines for stderr, also at -q."""
        self._write(self.stderr, self.adapt(text, self.err) + "\n")

    def adapt(self, text: str, stream: Capabilities) -> str:
        """The text as the stream can show it: without secrets and control characters, in its signs and colours."""
        text = self.redactor.text(text)
        if stream.colour:
            text = "\n".join(map(paint, text.split("\n")))
        return text if stream.unicode else _fold(text)

    def _write(self, stream: TextIO | None, text: str) -> None:
        if stream is None:  # started with the descriptor closed
            return
        with self._lock:
            try:
                stream.write(text)
                stream.flush()
            except BrokenPipeError:
                _silence(stream)  # the reader has what it wanted (head, grep -q): the command itself goes on
            except UnicodeEncodeError:
                stream.write(ascii_only(text))
                stream.flush()
            except (ValueError, OSError) as error:  # closed, or the disk behind a redirection is full
                if stream is self.stdout:
                    self.lost = str(error)
                _silence(stream)


def paint(line: str) -> str:
    """The line with our signs and labels in colour; what a sentence says never depends on it."""
    for pattern, colour in _PAINTED:
        line = pattern.sub(lambda match, sgr=_SGR[colour]: f"\x1b[{sgr}m{match[0]}\x1b[0m", line)  # type: ignore[misc]
    return line


def _fold(text: str) -> str:
    return "\x1b".join(ascii_only(part) for part in text.split("\x1b"))


def _silence(stream: TextIO) -> None:
    """Point the stream's descriptor at /dev/null, so that the interpreter's last flush says nothing either."""
    with contextlib.suppress(OSError, ValueError):
        devnull = os.open(os.devnull, os.O_WRONLY)
        os.dup2(devnull, stream.fileno())
        os.close(devnull)
