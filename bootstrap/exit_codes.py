"""Exit codes of every gpuctl command: the one table that scripts may rely on."""

from __future__ import annotations

from enum import IntEnum, unique


@unique
class ExitCode(IntEnum):
    """What the process exit status says.

    When several apply, the one that comes first in `PRECEDENCE` wins.
    """

    OK = 0
    BUG = 1
    USAGE = 2
    SETTINGS = 3
    PREFLIGHT = 4
    STEP_FAILED = 5
    NOT_READY = 6
    PARTIAL = 7
    DISRUPTION_NEEDED = 8
    CHANGES = 20  # only `plan --detailed-exitcode`
    INTERRUPTED = 130
    TERMINATED = 143  # SIGTERM, also SIGHUP: a terminal that is closed


PRECEDENCE: tuple[ExitCode, ...] = (
    ExitCode.TERMINATED,
    ExitCode.INTERRUPTED,
    ExitCode.BUG,
    ExitCode.USAGE,
    ExitCode.SETTINGS,
    ExitCode.PREFLIGHT,
    ExitCode.STEP_FAILED,
    ExitCode.PARTIAL,
    ExitCode.NOT_READY,
    ExitCode.DISRUPTION_NEEDED,
    ExitCode.CHANGES,
    ExitCode.OK,
)


def strongest(*codes: ExitCode) -> ExitCode:
    """The code to exit with when several apply; OK for none."""
    return min(codes, key=PRECEDENCE.index, default=ExitCode.OK)
