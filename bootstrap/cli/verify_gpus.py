"""gpuctl verify-gpus."""

from __future__ import annotations

from typing import Annotated

import typer

from bootstrap.cli import options
from bootstrap.cli.minikube import place
from bootstrap.cli.session import Answer, Output, Session


def verify_gpus(
    context: typer.Context,
    inventory: options.Inventory,
    limit: options.Limit = None,
    profile: place.Profile = "gpuctl",
    timeout: Annotated[
        float,
        typer.Option(
            "--timeout",
            min=1,
            envvar="GPUCTL_VERIFY_TIMEOUT",
            help="Seconds that computing may take.",
            metavar="SECONDS",
        ),
    ] = 300.0,
    ask_become_pass: options.AskPassword = False,
    become_password_file: options.PasswordFile = None,
    accept_new_host_keys: options.AcceptKeys = False,
    output: options.OutputForm = Output.TEXT,
) -> int:
    """Check every GPU from the PCI bus to a pod that computes.

    Exits 6 when a GPU that should be there does not pass on every layer.
    """

    def body(session: Session) -> Answer:
        from bootstrap.minikube.verify import verify_gpus as run_verify
        from bootstrap.ui.verification import verify_screen
        from bootstrap.ui.view import JsonView, view_for
        from bootstrap.verify.requests import VerifyRequest

        request = VerifyRequest(
            inventory=inventory,
            run=session.run,
            access=options.access(
                session, accept_keys=accept_new_host_keys, ask=ask_become_pass, password_file=become_password_file
            ),
            limit=options.names(limit),
            timeout_s=timeout,
            profile=profile,
        )
        if output is Output.JSON:
            result = run_verify(request, JsonView())
        else:
            with view_for(session.console) as view:
                result = run_verify(request, view)
        return Answer(result.exit_code, verify_screen(result), result.as_dict(), result.problems)

    return options.session_of(context).execute("verify-gpus", output, body)
