"""gpuctl testvm components."""

from __future__ import annotations

from typing import Annotated

import typer

from bootstrap.cli import options
from bootstrap.cli.session import Answer, Output, Session
from bootstrap.errors import GpuctlError, Problem
from bootstrap.exit_codes import ExitCode

Only = Annotated[
    list[str] | None,
    typer.Option(
        "--only", envvar="GPUCTL_COMPONENTS_ONLY", help="Build just these, separated by commas.", metavar="COMPONENTS"
    ),
]
With = Annotated[
    list[str] | None,
    typer.Option(
        "--with",
        envvar="GPUCTL_COMPONENTS_WITH",
        help="Build these optional parts, too: minikube (hosts of that lane), batch (Volcano and others), torch.",
        metavar="PARTS",
    ),
]


def build(
    context: typer.Context, only: Only = None, groups: With = None, output: options.OutputForm = Output.TEXT
) -> int:
    """Build the mirror of packages and images from source.

    What did not change comes from the cache.
    """

    def body(session: Session) -> Answer:
        from bootstrap.testvm.components import builder
        from bootstrap.ui.components import build_screen, lines_of_components, mirror_data

        report = lines_of_components(session.console, session.run.log)
        made = builder.build(report, only=options.names(only), groups=options.names(groups))
        return Answer(lines=build_screen(made), data=mirror_data(made))

    return options.session_of(context).execute("testvm components build", output, body)


def show(context: typer.Context, output: options.OutputForm = Output.TEXT) -> int:
    """Show what the mirror holds."""

    def body(_session: Session) -> Answer:
        from bootstrap.testvm.components.mirror import current
        from bootstrap.ui.components import mirror_data, mirror_screen

        mirror = current()
        if mirror is None:
            problem = Problem("mirror-missing", "no mirror is built", "gpuctl testvm components build")
            raise GpuctlError(ExitCode.NOT_READY, problem)
        return Answer(lines=mirror_screen(mirror), data=mirror_data(mirror))

    return options.session_of(context).execute("testvm components list", output, body)


def trim(
    context: typer.Context,
    go_caches: Annotated[
        bool,
        typer.Option(
            "--go-caches",
            envvar="GPUCTL_COMPONENTS_GO_CACHES",
            help="Also empty this user's Go build and module caches.",
        ),
    ] = False,
    output: options.OutputForm = Output.TEXT,
) -> int:
    """Remove what the current mirror does not need."""

    def body(_session: Session) -> Answer:
        from bootstrap.testvm.components import mirror
        from bootstrap.ui.layout import size

        freed = mirror.trim(go_caches=go_caches)
        return Answer(lines=[f"freed {size(freed)}"], data={"freed_bytes": freed})

    return options.session_of(context).execute("testvm components trim", output, body)
