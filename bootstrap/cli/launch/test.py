"""gpuctl launch test."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bootstrap.cli import options
from bootstrap.cli.launch.agent import Context, KeyFile, Kubeconfig
from bootstrap.cli.session import Answer, Output, Session
from bootstrap.errors import usage_error

if TYPE_CHECKING:
    from bootstrap.launch.trial_reach import TrialRequest

Inventory = Annotated[
    Path | None,
    typer.Option(
        "--inventory",
        "-i",
        envvar="GPUCTL_INVENTORY",
        help="Inventory of the cluster, and of the agent's settings.",
        metavar="PATH",
    ),
]


def launch_test(
    context: typer.Context,
    queue: Annotated[
        str, typer.Option("--queue", "-q", envvar="GPUCTL_LAUNCH_QUEUE", help="Queue to try.", metavar="NAME")
    ],
    entity: Annotated[
        str,
        typer.Option(
            "--entity",
            "-e",
            envvar="WANDB_ENTITY",
            help="User or team that has the queue.  [default: as the inventory has it]",
            metavar="NAME",
        ),
    ] = "",
    project: Annotated[
        str,
        typer.Option(
            "--project",
            "-p",
            envvar="GPUCTL_LAUNCH_PROJECT",
            help="Project that the run is put into.  [default: gpuctl-test]",
            metavar="NAME",
        ),
    ] = "",
    gpus: Annotated[
        int | None,
        typer.Option(
            "--gpus",
            min=0,
            envvar="GPUCTL_LAUNCH_GPUS",
            help="GPUs to ask for and to see.  [default: the queue's]",
            metavar="N",
        ),
    ] = None,
    image: Annotated[
        str,
        typer.Option(
            "--image",
            envvar="GPUCTL_LAUNCH_IMAGE",
            help="Image with python3.  [default: cluster_python_image]",
            metavar="IMAGE",
        ),
    ] = "",
    timeout: Annotated[
        float,
        typer.Option(
            "--timeout",
            min=1,
            envvar="GPUCTL_LAUNCH_TIMEOUT",
            help="Seconds that all of it may take.",
            metavar="SECONDS",
        ),
    ] = 300.0,
    withdraw: Annotated[
        str,
        typer.Option(
            "--withdraw",
            envvar="GPUCTL_LAUNCH_WITHDRAW",
            help="Only take this item out of the queue again.",
            metavar="ITEM",
        ),
    ] = "",
    base_url: Annotated[
        str,
        typer.Option(
            "--base-url",
            envvar="WANDB_BASE_URL",
            help="Address of the W&B server.  [default: as the inventory has it]",
            metavar="URL",
        ),
    ] = "",
    api_key_file: KeyFile = None,
    inventory: Inventory = None,
    kubeconfig: Kubeconfig = None,
    kube_context: Context = "",
    ask_become_pass: options.AskPassword = False,
    become_password_file: options.PasswordFile = None,
    accept_new_host_keys: options.AcceptKeys = False,
    output: options.OutputForm = Output.TEXT,
) -> int:
    """Send a small job through a queue, and name the place where it stops.

    Follows it from the queue to the agent, its Job, its pod, the GPUs that it sees, and its run. Exits 6 when it does
    not come through.
    """

    def body(session: Session) -> Answer:
        from bootstrap.launch.agent_key import read_key
        from bootstrap.launch.trial_reach import TrialRequest

        if inventory is not None and (kubeconfig is not None or kube_context):
            raise usage_error("--inventory excludes --kubeconfig and --context", "give one of them")
        key = read_key(api_key_file, from_environment=inventory is None)
        session.redactor.add(key)
        request = TrialRequest(
            queue=queue,
            entity=entity,
            project=project,
            gpus=gpus,
            image=image,
            timeout_s=timeout,
            base_url=base_url,
            api_key=key,
            inventory=inventory,
            kubeconfig=kubeconfig,
            context=kube_context,
            access=options.access(
                session, accept_keys=accept_new_host_keys, ask=ask_become_pass, password_file=become_password_file
            ),
        )
        return _withdraw(session, request, withdraw) if withdraw else _try(session, request, output)

    return options.session_of(context).execute("launch test", output, body)


def _try(session: Session, request: TrialRequest, output: Output) -> Answer:
    from bootstrap.launch.trial import try_queue
    from bootstrap.launch.trial_reach import reach_cluster, resolve
    from bootstrap.launch.trial_server import server_side
    from bootstrap.ui.launch_test import trial_screen
    from bootstrap.ui.view import JsonView, view_for

    target = resolve(request)
    session.redactor.add(target.server.api_key)
    if target.server.warning:
        session.console.say(f"warning: {target.server.warning}")
    server, cluster = server_side(target), reach_cluster(target, request)
    if output is Output.JSON:
        result = try_queue(target.asked, server, cluster, JsonView())
    else:
        with view_for(session.console) as view:
            result = try_queue(target.asked, server, cluster, view)
    return Answer(result.exit_code, trial_screen(result), result.as_dict(), result.problems)


def _withdraw(session: Session, request: TrialRequest, item: str) -> Answer:
    from bootstrap.launch.trial_left import withdraw_item
    from bootstrap.launch.trial_reach import resolve
    from bootstrap.launch.trial_server import server_side
    from bootstrap.ui.launch_test import withdrawn_screen

    target = resolve(request)
    session.redactor.add(target.server.api_key)
    state = withdraw_item(server_side(target), target.asked, item)
    return Answer(lines=withdrawn_screen(target.asked.queue, item, state), data={"item": item, "state": state})
