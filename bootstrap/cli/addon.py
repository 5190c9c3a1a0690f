"""gpuctl addon list, add and remove."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from bootstrap.cli import options
from bootstrap.cli.session import Answer, Output, Session

if TYPE_CHECKING:
    from collections.abc import Callable

    from bootstrap.apply.view import ApplyView

Result = TypeVar("Result")
Names = Annotated[list[str], typer.Argument(help="Addons, as `gpuctl addon list` names them.", metavar="NAME...")]
KeepInventory = Annotated[
    bool,
    typer.Option(
        "--keep-inventory",
        envvar="GPUCTL_KEEP_INVENTORY",
        help="Leave the inventory as it is, and say which line it needs.",
    ),
]


def list_addons(
    context: typer.Context,
    inventory: options.Inventory,
    ask_become_pass: options.AskPassword = False,
    become_password_file: options.PasswordFile = None,
    accept_new_host_keys: options.AcceptKeys = False,
    output: options.OutputForm = Output.TEXT,
) -> int:
    """Show each addon, what it is for, and how it stands."""

    def body(session: Session) -> Answer:
        from bootstrap.apply.addon import list_addons as look
        from bootstrap.apply.addon_model import AddonRequest
        from bootstrap.ui.addon import list_screen

        access = options.access(
            session, accept_keys=accept_new_host_keys, ask=ask_become_pass, password_file=become_password_file
        )
        result = look(AddonRequest(inventory, session.run, access))
        return Answer(result.exit_code, list_screen(result, inventory), result.as_dict(), result.problems)

    return options.session_of(context).execute("addon list", output, body)


def add(
    context: typer.Context,
    names: Names,
    inventory: options.Inventory,
    keep_inventory: KeepInventory = False,
    force_conflicts: Annotated[
        bool,
        typer.Option(
            "--force-conflicts", envvar="GPUCTL_FORCE_CONFLICTS", help="Take back object fields that others changed."
        ),
    ] = False,
    ask_become_pass: options.AskPassword = False,
    become_password_file: options.PasswordFile = None,
    accept_new_host_keys: options.AcceptKeys = False,
    output: options.OutputForm = Output.TEXT,
) -> int:
    """List addons in the inventory, and install them into the cluster.

    It does what bootstrap would do for them, and nothing else.
    """

    def body(session: Session) -> Answer:
        from bootstrap.apply.addon import add as run_add
        from bootstrap.apply.addon_model import AddonRequest
        from bootstrap.ui.addon import add_screen

        request = AddonRequest(
            inventory=inventory,
            run=session.run,
            access=options.access(
                session, accept_keys=accept_new_host_keys, ask=ask_become_pass, password_file=become_password_file
            ),
            names=options.names(names),
            keep_inventory=keep_inventory,
            force_conflicts=force_conflicts,
        )
        result = _shown(session, output, lambda view: run_add(request, view))
        return Answer(result.exit_code, add_screen(result, inventory), result.as_dict(), result.problems)

    return options.session_of(context).execute("addon add", output, body, refuses_unchanged=True)


def remove(
    context: typer.Context,
    names: Names,
    inventory: options.Inventory,
    keep_inventory: KeepInventory = False,
    yes: options.Yes = False,
    ask_become_pass: options.AskPassword = False,
    become_password_file: options.PasswordFile = None,
    accept_new_host_keys: options.AcceptKeys = False,
    output: options.OutputForm = Output.TEXT,
) -> int:
    """Take addons out of the cluster and out of the inventory.

    Refused while there are jobs, volumes or other objects that need one.
    """

    def body(session: Session) -> Answer:
        from bootstrap.apply.addon import remove as run_remove
        from bootstrap.apply.addon_model import AddonRequest
        from bootstrap.ui.addon import remove_screen

        request = AddonRequest(
            inventory=inventory,
            run=session.run,
            access=options.access(
                session, accept_keys=accept_new_host_keys, ask=ask_become_pass, password_file=become_password_file
            ),
            names=options.names(names),
            keep_inventory=keep_inventory,
            yes=yes,
        )
        result = _shown(session, output, lambda view: run_remove(request, view))
        lines = remove_screen(result, request.names, inventory)
        unchanged = bool(result.in_use) and not any(outcome.changed for outcome in result.outcomes)
        return Answer(result.exit_code, lines, result.as_dict(), result.problems, unchanged)

    return options.session_of(context).execute("addon remove", output, body, refuses_unchanged=True)


def _shown(session: Session, output: Output, verb: Callable[[ApplyView], Result]) -> Result:
    from bootstrap.ui.view import JsonView, view_for

    if output is Output.JSON:
        return verb(JsonView())
    with view_for(session.console) as view:
        return verb(view)
