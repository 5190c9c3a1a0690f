"""How a running command says what it is doing: the interface that ui/ implements and everybody else calls."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Receives what happens, from any thread. None of these calls raise, block for long, or decide anything."""

    def started(self, host: str, step: str) -> None:
        """A step (a component's name) began on a host."""

    def task(self, host: str, step: str, title: str) -> None:
        """What the step does at the moment, e.g. "Install | Driver packages of branch 580"."""

    def done(self, host: str, step: str, elapsed: float) -> None:
        """The step ended well; `elapsed` in seconds."""

    def failed(self, host: str, step: str, message: str) -> None:
        """The step failed; the problem with its fix follows in the result."""

    def note(self, message: str) -> None:
        """One sentence for the person who waits."""


class Silent:
    """A Progress that says nothing: JSON output, tests."""

    def started(self, host: str, step: str) -> None:
        """Nothing."""

    def task(self, host: str, step: str, title: str) -> None:
        """Nothing."""

    def done(self, host: str, step: str, elapsed: float) -> None:
        """Nothing."""

    def failed(self, host: str, step: str, message: str) -> None:
        """Nothing."""

    def note(self, message: str) -> None:
        """Nothing."""
