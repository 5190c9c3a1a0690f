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
    hosts: Annotated[
        int | None,
        typer.Option("--hosts", envvar="GPUCTL_TESTVM_HOSTS", help="Number of hosts.  [default: 3; minikube: 1]"),
    ] = None,
    gpus: Annotated[
        int | None,
        typer.Option(
            "--gpus",
            envvar="GPUCTL_TESTVM_GPUS",
            help="Simulated GPUs per worker (or on a lone host).  [default: 8; qemu: none]",
        ),
    ] = None,
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
    backend: Annotated[
        str,
        typer.Option(
            "--backend",
            envvar="GPUCTL_TESTVM_BACKEND",
            help="nspawn: containers; qemu: virtual machines (kernel NFS, swap; no GPUs).",
            metavar="KIND",
        ),
    ] = "nspawn",
    memory: Annotated[
        int,
        typer.Option(
            "--memory",
            envvar="GPUCTL_TESTVM_MEMORY",
            help="MiB per virtual machine.  [default: 640]",
            show_default=False,
            metavar="MIB",
        ),
    ] = 0,
    cpus: Annotated[
        int,
        typer.Option(
            "--cpus", envvar="GPUCTL_TESTVM_CPUS", help="CPUs per virtual machine.  [default: 1]", show_default=False
        ),
    ] = 0,
    lane: Annotated[
        str,
        typer.Option(
            "--lane",
            envvar="GPUCTL_TESTVM_LANE",
            help="What the hosts are for: kubeadm (a cluster), minikube (one host).",
            metavar="LANE",
        ),
    ] = "kubeadm",
    open_port: Annotated[
        list[int] | None,
        typer.Option(
            "--open-port",
            envvar="GPUCTL_TESTVM_OPEN_PORT",
            help="TCP port of this machine that the hosts may reach, beside the mirror's; repeatable.",
            metavar="PORT",
            min=1,
            max=65535,
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
        report = lines_of_hosts(session.console, session.run.log)
        machines = lab.Machines(backend, memory, cpus, lane)
        made = lab.up(name, hosts, gpus, gpu_model, components, file, machines, report, tuple(open_port or ()))
        verb = ["minikube", "up"] if lane == "minikube" else ["bootstrap"]
        next_command = shlex.join(["gpuctl", *verb, "--inventory", str(file)])
        lines = [*lab_screen(made, time.monotonic() - begun), f"next: {next_command}"]
        return Answer(lines=lines, data=lab_data(made))

    return options.session_of(context).execute("testvm up", output, body)
