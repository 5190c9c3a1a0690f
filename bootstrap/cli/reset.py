"""gpuctl reset."""

from __future__ import annotations

from typing import Annotated

import typer

from bootstrap.cli import options
from bootstrap.cli.session import Answer, Output, Session


def reset(
    context: typer.Context,
    inventory: options.Inventory,
    limit: options.Limit = None,
    skip_unreachable: options.SkipUnreachable = False,
    yes: options.Yes = False,
    purge: Annotated[
        bool,
        typer.Option(
            "--purge",
            envvar="GPUCTL_PURGE",
            help="Also delete the folder of the NFS export, with its data, if gpuctl made it.",
        ),
    ] = False,
    kubeconfig: options.Kubeconfig = None,
    ask_become_pass: options.AskPassword = False,
    become_password_file: options.PasswordFile = None,
    accept_new_host_keys: options.AcceptKeys = False,
    output: options.OutputForm = Output.TEXT,
) -> int:
    """Undo bootstrap, and put back what was there before."""

    def body(session: Session) -> Answer:
        from bootstrap.apply.requests import ResetRequest
        from bootstrap.apply.reset import reset as run_reset
        from bootstrap.ui.screens import reset_screen
        from bootstrap.ui.view import JsonView, view_for

        request = ResetRequest(
            inventory=inventory,
            run=session.run,
            kubeconfig=options.kubeconfig_path(kubeconfig),
            access=options.access(
                session, accept_keys=accept_new_host_keys, ask=ask_become_pass, password_file=become_password_file
            ),
            limit=options.names(limit),
            skip_unreachable=skip_unreachable,
            yes=yes,
            purge=purge,
        )
        if output is Output.JSON:
            result = run_reset(request, JsonView())
        else:
            with view_for(session.console) as view:
                result = run_reset(request, view)
        return Answer(result.exit_code, reset_screen(result), result.as_dict(), result.problems)

    return options.session_of(context).execute("reset", output, body, refuses_unchanged=True)
