"""gpuctl testvm list."""

from __future__ import annotations

import typer

from bootstrap.cli import options
from bootstrap.cli.session import Answer, Output, Session


def list_labs(context: typer.Context, output: options.OutputForm = Output.TEXT) -> int:
    """Show the labs of this machine."""

    def body(_session: Session) -> Answer:
        from bootstrap.testvm import lab
        from bootstrap.ui.lab import lab_data, labs_screen

        labs = lab.list_labs()
        return Answer(lines=labs_screen(labs), data={"labs": [lab_data(each) for each in labs]})

    return options.session_of(context).execute("testvm list", output, body)
