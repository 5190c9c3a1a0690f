"""gpuctl plan."""

from __future__ import annotations

from typing import Annotated

import typer

from bootstrap.cli import options
from bootstrap.cli.session import Answer, Output, Session
from bootstrap.exit_codes import ExitCode


def plan(
    context: typer.Context,
    inventory: options.Inventory,
    limit: options.Limit = None,
    skip_unreachable: options.SkipUnreachable = False,
    detailed_exitcode: Annotated[
        bool,
        typer.Option("--detailed-exitcode", envvar="GPUCTL_DETAILED_EXITCODE", help="Exit 20 when there are steps."),
    ] = False,
    ask_become_pass: options.AskPassword = False,
    become_password_file: options.PasswordFile = None,
    accept_new_host_keys: options.AcceptKeys = False,
    output: options.OutputForm = Output.TEXT,
) -> int:
    """Say what bootstrap would do and why; change nothing."""

    def body(session: Session) -> Answer:
        from bootstrap.apply.requests import PlanRequest
        from bootstrap.apply.run import plan as run_plan
        from bootstrap.ui.screens import plan_result_screen
        from bootstrap.ui.view import JsonView, PlanView

        request = PlanRequest(
            inventory=inventory,
            run=session.run,
            access=options.access(
                session, accept_keys=accept_new_host_keys, ask=ask_become_pass, password_file=become_password_file
            ),
            limit=options.names(limit),
            skip_unreachable=skip_unreachable,
        )
        if output is Output.JSON:
            result = run_plan(request, JsonView())
        else:
            with PlanView(session.console) as view:
                result = run_plan(request, view)
        changes = detailed_exitcode and not result.plan.empty and result.exit_code is ExitCode.OK
        code = ExitCode.CHANGES if changes else result.exit_code
        return Answer(code, plan_result_screen(result), result.as_dict(), result.problems)

    return options.session_of(context).execute("plan", output, body, refuses_unchanged=True)
