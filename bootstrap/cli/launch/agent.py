"""gpuctl launch agent."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bootstrap.cli import options
from bootstrap.cli.session import Answer, Output, Session

OptionalInventory = Annotated[
    Path | None,
    typer.Option(
        "--inventory",
        "-i",
        envvar="GPUCTL_INVENTORY",
        help="Inventory that the agent was set up with.",
        metavar="PATH",
    ),
]
Kubeconfig = Annotated[
    Path | None,
    typer.Option(
        "--kubeconfig",
        envvar="GPUCTL_KUBECONFIG",
        help="Without an inventory: kubeconfig of an administrator.  [default: kubectl's own]",
        metavar="FILE",
    ),
]
Context = Annotated[
    str,
    typer.Option(
        "--context",
        envvar="GPUCTL_CONTEXT",
        help="Context of the kubeconfig.  [default: its current one]",
        metavar="NAME",
    ),
]
KeyFile = Annotated[
    Path | None,
    typer.Option(
        "--api-key-file",
        envvar="GPUCTL_API_KEY_FILE",
        help="File with the W&B API key.  [default: as the inventory has it, else $WANDB_API_KEY]",
        metavar="FILE",
    ),
]


def status(
    context: typer.Context,
    inventory: OptionalInventory = None,
    kubeconfig: Kubeconfig = None,
    kube_context: Context = "",
    api_key_file: KeyFile = None,
    ask_become_pass: options.AskPassword = False,
    become_password_file: options.PasswordFile = None,
    accept_new_host_keys: options.AcceptKeys = False,
    output: options.OutputForm = Output.TEXT,
) -> int:
    """See whether the Launch agent runs, polls its queues, and may do what it has to.

    Asks the cluster for each right, the host or the cluster for the agent, and the W&B server for what it knows of it.
    Exits 6 when something is wrong.
    """

    def body(session: Session) -> Answer:
        from bootstrap.launch.agent_key import read_key
        from bootstrap.launch.agent_status import StatusRequest, agent_status
        from bootstrap.ui.launch_agent import status_screen

        key = read_key(api_key_file, from_environment=inventory is None)
        session.redactor.add(key)
        access = options.access(
            session, accept_keys=accept_new_host_keys, ask=ask_become_pass, password_file=become_password_file
        )
        result = agent_status(StatusRequest(inventory, kubeconfig, kube_context, access, key))
        return Answer(result.exit_code, status_screen(result), result.as_dict(), result.problems)

    return options.session_of(context).execute("launch agent status", output, body)
