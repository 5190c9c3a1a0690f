"""gpuctl bootstrap."""

from __future__ import annotations

import shlex
from typing import Annotated

import typer

from bootstrap.cli import options
from bootstrap.cli.session import Answer, Output, Session


def bootstrap(
    context: typer.Context,
    inventory: options.Inventory,
    limit: options.Limit = None,
    skip_unreachable: options.SkipUnreachable = False,
    reboot: Annotated[
        bool, typer.Option("--reboot", envvar="GPUCTL_REBOOT", help="Allow reboots, one host at a time, drained first.")
    ] = False,
    disrupt: Annotated[
        bool, typer.Option("--disrupt", envvar="GPUCTL_DISRUPT", help="Allow steps that end running GPU pods.")
    ] = False,
    force_conflicts: Annotated[
        bool,
        typer.Option(
            "--force-conflicts", envvar="GPUCTL_FORCE_CONFLICTS", help="Take back object fields that others changed."
        ),
    ] = False,
    use_context: Annotated[
        bool, typer.Option("--use-context", envvar="GPUCTL_USE_CONTEXT", help="Make the cluster the current context.")
    ] = False,
    kubeconfig: options.Kubeconfig = None,
    user_name: Annotated[
        str,
        typer.Option(
            "--user-name",
            envvar="GPUCTL_USER_NAME",
            help="User name in your client certificate (default: your login name).",
        ),
    ] = "",
    renew_kubeconfig: Annotated[
        bool,
        typer.Option(
            "--renew-kubeconfig",
            envvar="GPUCTL_RENEW_KUBECONFIG",
            help="Issue a new client certificate. Earlier ones cannot be revoked: they are valid until they expire.",
        ),
    ] = False,
    ask_become_pass: options.AskPassword = False,
    become_password_file: options.PasswordFile = None,
    accept_new_host_keys: options.AcceptKeys = False,
    output: options.OutputForm = Output.TEXT,
) -> int:
    """Make the hosts a Kubernetes cluster with working GPUs.

    Safe to run again: it does only what differs from what is wanted.
    """

    def body(session: Session) -> Answer:
        from bootstrap.apply.requests import BootstrapRequest
        from bootstrap.apply.run import bootstrap as run_bootstrap
        from bootstrap.ui.screens import bootstrap_screen
        from bootstrap.ui.view import JsonView, view_for

        request = BootstrapRequest(
            inventory=inventory,
            run=session.run,
            kubeconfig=options.kubeconfig_path(kubeconfig),
            access=options.access(
                session, accept_keys=accept_new_host_keys, ask=ask_become_pass, password_file=become_password_file
            ),
            limit=options.names(limit),
            skip_unreachable=skip_unreachable,
            reboot=reboot,
            disrupt=disrupt,
            force_conflicts=force_conflicts,
            use_context=use_context,
            user_name=options.certificate_user(user_name),
            renew_kubeconfig=renew_kubeconfig,
        )
        if output is Output.JSON:
            result = run_bootstrap(request, JsonView())
        else:
            with view_for(session.console) as view:
                result = run_bootstrap(request, view)
        next_command = shlex.join(["gpuctl", "verify-gpus", "--inventory", str(inventory)])
        return Answer(
            result.exit_code,
            bootstrap_screen(result, next_command),
            result.as_dict(),
            result.problems,
            result.nothing_changed,
        )

    return options.session_of(context).execute("bootstrap", output, body, refuses_unchanged=True)
