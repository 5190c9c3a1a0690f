"""gpuctl job run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bootstrap.cli import options
from bootstrap.cli.job import shape
from bootstrap.cli.launch.agent import Context, Kubeconfig
from bootstrap.cli.session import Answer, Output, Session
from bootstrap.errors import usage_error
from bootstrap.jobs.spec import Launcher

if TYPE_CHECKING:
    from bootstrap.jobs.ranks import Rank

Inventory = Annotated[
    Path | None,
    typer.Option("--inventory", "-i", envvar="GPUCTL_INVENTORY", help="Inventory of the cluster.", metavar="PATH"),
]
StartTimeout = Annotated[
    float,
    typer.Option(
        "--start-timeout",
        min=1,
        envvar="GPUCTL_JOB_START_TIMEOUT",
        help="Seconds that all ranks may take to begin.",
        metavar="SECONDS",
    ),
]
Timeout = Annotated[
    float,
    typer.Option(
        "--timeout",
        min=0,
        envvar="GPUCTL_JOB_TIMEOUT",
        help="Seconds that the whole job may take; 0 for no end.",
        metavar="SECONDS",
    ),
]
Keep = Annotated[
    bool, typer.Option("--keep", envvar="GPUCTL_JOB_KEEP", help="Leave the job in the cluster when it has ended.")
]


def run(
    context: typer.Context,
    command: shape.Command,
    image: shape.Image,
    launcher: shape.LauncherName = Launcher.JOB,
    nodes: shape.Nodes = 2,
    gpus: shape.Gpus = 1,
    name: shape.Name = "train",
    namespace: shape.Namespace = "default",
    queue: shape.Queue = "default",
    claim: shape.Claim = "",
    cpu: shape.Cpu = "",
    memory: shape.Memory = "",
    env: shape.Variables = None,
    file: shape.Files = None,
    runtime_class: shape.RuntimeClass = None,
    start_timeout: StartTimeout = 600.0,
    timeout: Timeout = 0.0,
    keep: Keep = False,
    inventory: Inventory = None,
    kubeconfig: Kubeconfig = None,
    kube_context: Context = "",
    ask_become_pass: options.AskPassword = False,
    become_password_file: options.PasswordFile = None,
    accept_new_host_keys: options.AcceptKeys = False,
    output: options.OutputForm = Output.TEXT,
) -> int:
    """Run a job over several nodes, and follow all its ranks.

    Says why it waits, and which rank failed first. The job is deleted when it has ended, or with Ctrl-C. Exits 6
    when a rank failed, or when not all began, or ended, in time.
    """

    def body(session: Session) -> Answer:
        from bootstrap.inventory.load import load_inventory
        from bootstrap.jobs.check import without_missing_class
        from bootstrap.jobs.run import Following, run_job
        from bootstrap.kube.reach import Whereabouts, answering_api
        from bootstrap.ui.job import log_line, run_screen
        from bootstrap.ui.view import JsonView, PlainView

        if inventory is not None and (kubeconfig is not None or kube_context):
            raise usage_error("--inventory excludes --kubeconfig and --context", "give one of them")
        known = load_inventory(inventory) if inventory else None
        spec = shape.spec_of(
            launcher=launcher,
            image=image,
            command=command,
            nodes=nodes,
            gpus=gpus,
            name=name,
            namespace=namespace,
            queue=queue,
            claim=claim,
            cpu=cpu,
            memory=memory,
            variables=env,
            files=file,
            runtime_class=shape.class_of(runtime_class, known),
        )
        access = options.access(
            session, accept_keys=accept_new_host_keys, ask=ask_become_pass, password_file=become_password_file
        )
        where = Whereabouts(known, kubeconfig, kube_context, access)

        def said(rank: Rank, line: str) -> None:
            if output is Output.TEXT:
                session.console.answer(log_line(rank, line))

        view = JsonView() if output is Output.JSON else PlainView(session.console)
        view.note("looking at the cluster")
        with answering_api(where) as cluster:
            if runtime_class is None and spec.gpus:
                wanted, spec = spec.runtime_class, without_missing_class(cluster, spec)
                if wanted != spec.runtime_class:
                    view.note(f"the cluster has no runtime class {wanted}: its pods get the nodes' own")
            result = run_job(cluster, spec, Following(start_timeout, timeout, keep, said), view)
        return Answer(result.exit_code, run_screen(result), result.as_dict(), result.problems)

    return options.session_of(context).execute("job run", output, body)
