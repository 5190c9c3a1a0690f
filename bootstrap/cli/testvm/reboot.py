"""gpuctl testvm reboot."""

from __future__ import annotations

from typing import Annotated

import typer

from bootstrap.cli import options
from bootstrap.cli.session import Answer, Output, Session


def reboot(
    context: typer.Context,
    host: Annotated[str, typer.Argument(help="Host of the lab.", metavar="HOST")],
    name: options.LabName = "lab",
    output: options.OutputForm = Output.TEXT,
) -> int:
    """Reboot a test host and wait until it takes ssh again."""

    def body(session: Session) -> Answer:
        from bootstrap.testvm import lab
        from bootstrap.ui.lab import lines_of_hosts
        from bootstrap.ui.layout import brief

        seconds = lab.reboot(name, host, lines_of_hosts(session.console, session.run.log))
        return Answer(lines=[f"{host} is back after {brief(seconds)}"], data={"host": host, "elapsed_s": seconds})

    return options.session_of(context).execute("testvm reboot", output, body)
