"""The tree of commands."""

from __future__ import annotations

from typing import Annotated

import typer

import bootstrap as package
from bootstrap.cli import addon, options
from bootstrap.cli.bootstrap import bootstrap
from bootstrap.cli.command import App
from bootstrap.cli.init import init
from bootstrap.cli.job import render as job_render
from bootstrap.cli.job import run as job_run
from bootstrap.cli.launch import agent as launch_agent
from bootstrap.cli.launch import queue as launch_queue
from bootstrap.cli.launch.test import launch_test
from bootstrap.cli.minikube import down as minikube_down
from bootstrap.cli.minikube import up as minikube_up
from bootstrap.cli.plan import plan
from bootstrap.cli.reset import reset
from bootstrap.cli.testvm import components, down, listing, reboot, ssh, up
from bootstrap.cli.upgrade import upgrade
from bootstrap.cli.verify_gpus import verify_gpus


def root(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Show the version and exit.", is_eager=True)] = False,
    no_color: Annotated[bool, typer.Option("--no-color", envvar="GPUCTL_NO_COLOR", help="Plain text.")] = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", envvar="GPUCTL_QUIET", help="Answers and errors only.")
    ] = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", envvar="GPUCTL_VERBOSE", help="Show the log, too.")
    ] = False,
) -> None:
    """Make Linux machines with NVIDIA GPUs a Kubernetes cluster, and prove it."""
    session = options.session_of(context)
    session.configure(no_colour=no_color, verbosity=int(verbose) - int(quiet))
    if version:
        session.console.answer(f"gpuctl {package.__version__}")
        raise typer.Exit
    if context.invoked_subcommand is None:
        session.console.answer(context.get_help())
        raise typer.Exit


def make_app() -> typer.Typer:
    """Build the tree. Help is plain text: the same everywhere, and quick."""
    common = {
        "rich_markup_mode": None,
        "pretty_exceptions_enable": False,
        "context_settings": {"max_content_width": 100},
    }
    app = App(name="gpuctl", **common)  # type: ignore[arg-type]
    app.callback(invoke_without_command=True)(root)
    for name, command in (
        ("init", init),
        ("bootstrap", bootstrap),
        ("plan", plan),
        ("verify-gpus", verify_gpus),
        ("reset", reset),
        ("upgrade", upgrade),
    ):
        app.command(name)(command)
    job = App(no_args_is_help=True, add_completion=False, **common)  # type: ignore[arg-type]
    job.command("render")(job_render.render)
    job.command("run")(job_run.run)
    app.add_typer(job, name="job", help="Training over several nodes.")
    addons = App(no_args_is_help=True, add_completion=False, **common)  # type: ignore[arg-type]
    addons.command("list")(addon.list_addons)
    addons.command("add")(addon.add)
    addons.command("remove")(addon.remove)
    app.add_typer(addons, name="addon", help="Optional parts of the cluster.")
    launch = App(no_args_is_help=True, add_completion=False, **common)  # type: ignore[arg-type]
    agent = App(no_args_is_help=True, add_completion=False, **common)  # type: ignore[arg-type]
    agent.command("status")(launch_agent.status)
    launch.add_typer(agent, name="agent", help="The agent that brings jobs from queues into the cluster.")
    queue = App(no_args_is_help=True, add_completion=False, **common)  # type: ignore[arg-type]
    queue.command("apply")(launch_queue.apply)
    queue.command("show")(launch_queue.show)
    queue.command("list")(launch_queue.list_queues)
    queue.command("delete")(launch_queue.delete)
    launch.add_typer(queue, name="queue", help="Queues that agents take jobs from.")
    launch.command("test")(launch_test)
    app.add_typer(launch, name="launch", help="W&B Launch: jobs that come from queues.")
    minikube = App(no_args_is_help=True, add_completion=False, **common)  # type: ignore[arg-type]
    minikube.command("up")(minikube_up.up)
    minikube.command("status")(minikube_down.status)
    minikube.command("stop")(minikube_down.stop)
    minikube.command("start")(minikube_up.start)
    minikube.command("down")(minikube_down.down)
    app.add_typer(minikube, name="minikube", help="A cluster of one node on one machine.")
    testvm = App(no_args_is_help=True, add_completion=False, **common)  # type: ignore[arg-type]
    testvm.command("up")(up.up)
    testvm.command("list")(listing.list_labs)
    testvm.command("ssh", context_settings={"allow_interspersed_args": False})(ssh.ssh)
    testvm.command("reboot")(reboot.reboot)
    testvm.command("down")(down.down)
    parts = App(no_args_is_help=True, add_completion=False, **common)  # type: ignore[arg-type]
    parts.command("build")(components.build)
    parts.command("list")(components.show)
    parts.command("trim")(components.trim)
    testvm.add_typer(parts, name="components", help="Packages and images that test hosts install from.")
    app.add_typer(testvm, name="testvm", help="Test hosts with simulated GPUs on this machine.")
    return app
