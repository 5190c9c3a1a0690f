"""gpuctl testvm up."""

from __future__ import annotations

import shlex
import time
from pathlib import Path
from typing import Annotated

import typer

from bootstrap.cli import options
from bootstrap.cli.session import Answer, Output, Session


def up(
    context: typer.Context,
    hosts: Annotated[int, typer.Option("--hosts", envvar="GPUCTL_TESTVM_HOSTS", help="Number of hosts.")] = 3,
    gpus: Annotated[
        int, typer.Option("--gpus", envvar="GPUCTL_TESTVM_GPUS", help="Simulated GPUs per worker (or on a lone host).")
    ] = 8,
    gpu_model: Annotated[
        str,
        typer.Option("--gpu-model", envvar="GPUCTL_TESTVM_GPU_MODEL", help="a100, h100, t4 or none.", metavar="MODEL"),
    ] = "a100",
    name: options.LabName = "lab",
    components: Annotated[
        str,
        typer.Option(
            "--components",
            envvar="GPUCTL_TESTVM_COMPONENTS",
            help="mirror: what `components build` made; official: the upstream addresses.",
            metavar="SOURCE",
        ),
    ] = "mirror",
    inventory: Annotated[
        Path | None,
        typer.Option(
            "--inventory", envvar="GPUCTL_TESTVM_INVENTORY", help="File to write.  [default: NAME.ini]", metavar="FILE"
        ),
    ] = None,
    output: options.OutputForm = Output.TEXT,
) -> int:
    """Start test hosts with simulated GPUs; write their inventory.

    Run again, it completes what is missing, or confirms what is there.
    """

    def body(session: Session) -> Answer:
        from bootstrap.testvm import lab
        from bootstrap.ui.lab import lab_data, lab_screen, lines_of_hosts

        begun = time.monotonic()
        file = inventory or Path(f"{name}.ini")
        made = lab.up(name, hosts, gpus, gpu_model, components, file, lines_of_hosts(session.console, session.run.log))
        next_command = shlex.join(["gpuctl", "bootstrap", "--inventory", str(file)])
        lines = [*lab_screen(made, time.monotonic() - begun), f"next: {next_command}"]
        return Answer(lines=lines, data=lab_data(made))

    return options.session_of(context).execute("testvm up", output, body)
