"""gpuctl upgrade: the name that refusals point to; it says honestly what this release can do."""

from __future__ import annotations

from typing import Annotated

import typer

from bootstrap.cli import options
from bootstrap.cli.session import Answer, Output, Session
from bootstrap.errors import GpuctlError, Problem
from bootstrap.exit_codes import ExitCode


def upgrade(
    context: typer.Context,
    component: Annotated[str, typer.Argument(help="What to upgrade, e.g. kubernetes.", metavar="COMPONENT")],
    inventory: options.Inventory,
    output: options.OutputForm = Output.TEXT,
) -> int:
    """Upgrade what is installed. Not in this release: says what to do instead."""

    def body(_session: Session) -> Answer:
        message = f"this release cannot upgrade {component} on a running cluster"
        fix = f"leave its version in {inventory} as installed; or `gpuctl reset`, set the version, and bootstrap anew"
        raise GpuctlError(ExitCode.USAGE, Problem("upgrade-unavailable", message, fix))

    return options.session_of(context).execute("upgrade", output, body, refuses_unchanged=True)
