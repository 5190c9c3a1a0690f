"""gpuctl minikube status, stop and down."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from bootstrap.cli import options
from bootstrap.cli.minikube import place
from bootstrap.cli.minikube.advice import advising
from bootstrap.cli.session import Answer, Output, Session

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from bootstrap.access import Access
    from bootstrap.minikube.model import DownResult, MinikubeRequest
    from bootstrap.progress import Progress


def status(
    context: typer.Context,
    profile: place.Profile = "gpuctl",
    inventory: place.Inventory = None,
    host: place.Host = "",
    accept_new_host_keys: options.AcceptKeys = False,
    output: options.OutputForm = Output.TEXT,
) -> int:
    """Show a profile as it is. Exits 6 unless it runs and its node is Ready."""

    def body(session: Session) -> Answer:
        from bootstrap.minikube.down import status as ask
        from bootstrap.ui.minikube import status_screen

        access = options.access(session, accept_keys=accept_new_host_keys, ask=False, password_file=None)
        result = ask(_request(session, inventory, host, profile, access))
        return Answer(result.exit_code, status_screen(result, named), result.as_dict(), result.problems)

    named = place.named(inventory, host)
    return options.session_of(context).execute("minikube status", output, advising(body, profile, named))


def stop(
    context: typer.Context,
    profile: place.Profile = "gpuctl",
    inventory: place.Inventory = None,
    host: place.Host = "",
    ask_become_pass: options.AskPassword = False,
    become_password_file: options.PasswordFile = None,
    accept_new_host_keys: options.AcceptKeys = False,
    output: options.OutputForm = Output.TEXT,
) -> int:
    """Halt a profile; what it holds stays."""

    def body(session: Session) -> Answer:
        from bootstrap.minikube.down import stop as halt

        access = options.access(
            session, accept_keys=accept_new_host_keys, ask=ask_become_pass, password_file=become_password_file
        )
        request = _request(session, inventory, host, profile, access)
        again = [*named, *(["-K"] if ask_become_pass else [])]
        return _ended(session, output, request, halt, again)

    named = place.named(inventory, host)
    return options.session_of(context).execute("minikube stop", output, advising(body, profile, named))


def down(
    context: typer.Context,
    profile: place.Profile = "gpuctl",
    purge: Annotated[
        bool,
        typer.Option(
            "--purge",
            envvar="GPUCTL_MINIKUBE_PURGE",
            help="Take the bundle's files out of minikube's cache, too, unless another profile may need them.",
        ),
    ] = False,
    orphan: Annotated[
        bool,
        typer.Option(
            "--orphan",
            envvar="GPUCTL_MINIKUBE_ORPHAN",
            help="Delete also a container that you have no record of; it may be another user's.",
        ),
    ] = False,
    yes: options.Yes = False,
    inventory: place.Inventory = None,
    host: place.Host = "",
    kubeconfig: place.Kubeconfig = None,
    ask_become_pass: options.AskPassword = False,
    become_password_file: options.PasswordFile = None,
    accept_new_host_keys: options.AcceptKeys = False,
    output: options.OutputForm = Output.TEXT,
) -> int:
    """Delete a profile with its container, volume, network and context; nothing else is touched."""

    def body(session: Session) -> Answer:
        from bootstrap.errors import Problem
        from bootstrap.exit_codes import ExitCode
        from bootstrap.minikube.down import down as delete
        from bootstrap.ui.view import JsonView, view_for

        access = options.access(
            session, accept_keys=accept_new_host_keys, ask=ask_become_pass, password_file=become_password_file
        )
        request = replace(
            _request(session, inventory, host, profile, access),
            kubeconfig=options.kubeconfig_path(kubeconfig),
            purge=purge,
            orphan=orphan,
        )
        machine = request.inventory.hosts[0]
        where = "" if machine.connection.local else f" on {machine.name}"
        question = f"Delete profile {profile}{where} and all that runs in it. Continue?"
        if not yes:
            if output is Output.JSON:
                agreed = JsonView().confirm(question)
            else:
                with view_for(session.console) as view:
                    agreed = view.confirm(question)
            if not agreed:
                problem = Problem("not-confirmed", "not confirmed; nothing was changed", "answer yes, or give --yes")
                return Answer(ExitCode.USAGE, problems=(problem,))
        return _ended(session, output, request, delete, named)

    named = place.named(inventory, host)
    return options.session_of(context).execute("minikube down", output, advising(body, profile, named))


def _ended(
    session: Session,
    output: Output,
    request: MinikubeRequest,
    verb: Callable[[MinikubeRequest, Progress], DownResult],
    named: list[str],
) -> Answer:
    from bootstrap.ui.minikube import down_screen
    from bootstrap.ui.view import JsonView, view_for

    if output is Output.JSON:
        result = verb(request, JsonView())
    else:
        with view_for(session.console) as view:
            result = verb(request, view)
    return Answer(result.exit_code, down_screen(result, verb.__name__, named), result.as_dict(), result.problems)


def _request(session: Session, inventory: Path | None, host: str, profile: str, access: Access) -> MinikubeRequest:
    from bootstrap.minikube.model import MinikubeRequest
    from bootstrap.minikube.options import ProfileOptions, check_options

    check_options(ProfileOptions(profile=profile))
    found = place.connection_of(session, inventory, host)
    return MinikubeRequest(found, session.run, access, profile)
