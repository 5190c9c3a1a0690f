"""What can go wrong, in the one shape in which every part of gpuctl reports it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from bootstrap.exit_codes import ExitCode


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong, on one host (or on none: settings, this machine).

    `code` is stable and listed in docs/errors.md; `fix` is one remedy; `at` is the place: `file:line` of an
    inventory or a role; `details` is what a tool said, several lines allowed.
    """

    code: str
    message: str
    fix: str = ""
    host: str | None = None
    at: str | None = None
    details: str = ""

    def as_dict(self) -> dict[str, Any]:
        """The JSON form: all keys, always."""
        return asdict(self)


class GpuctlError(Exception):
    """Stops a command with one or more problems and the exit code that names their kind."""

    def __init__(self, exit_code: ExitCode, *problems: Problem) -> None:
        if not problems:
            raise ValueError("an error names at least one problem")
        self.exit_code = exit_code
        self.problems = problems
        super().__init__("; ".join(f"{p.host + ': ' if p.host else ''}{p.message}" for p in problems))


def settings_error(*problems: Problem) -> GpuctlError:
    """Inventory or settings are wrong (exit 3); nothing was changed."""
    return GpuctlError(ExitCode.SETTINGS, *problems)


def usage_error(message: str, fix: str = "") -> GpuctlError:
    """The command line is wrong (exit 2)."""
    return GpuctlError(ExitCode.USAGE, Problem("usage", message, fix))
