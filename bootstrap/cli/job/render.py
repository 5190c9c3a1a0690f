"""gpuctl job render."""

from __future__ import annotations

import typer

from bootstrap.cli import options
from bootstrap.cli.job import shape
from bootstrap.cli.session import Answer, Output, Session
from bootstrap.jobs.spec import Launcher


def render(
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
    output: options.OutputForm = Output.TEXT,
) -> int:
    """Write the Kubernetes objects of a job over several nodes, for kubectl apply."""

    def body(_session: Session) -> Answer:
        from bootstrap.jobs.render import render as render_job
        from bootstrap.ui.job import manifest_lines

        objects = render_job(
            shape.spec_of(
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
                runtime_class=runtime_class,
            )
        )
        return Answer(lines=manifest_lines(objects), data={"objects": objects})

    return options.session_of(context).execute("job render", output, body)
