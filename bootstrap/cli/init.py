"""gpuctl init."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from bootstrap.cli import options
from bootstrap.cli.session import Answer, Output, Session
from bootstrap.errors import GpuctlError, Problem, settings_error, usage_error
from bootstrap.exit_codes import ExitCode

# Addresses that RFC 5737 keeps for examples: a run that forgot to edit them reaches nobody.
_EXAMPLE = ("cp1=192.0.2.10",), ("gpu1=192.0.2.11", "gpu2=192.0.2.12")


def init(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(envvar="GPUCTL_INVENTORY", help="File to write.", metavar="[FILE]")] = Path(
        "lab.ini"
    ),
    control_plane: Annotated[
        list[str] | None,
        typer.Option(
            "--control-plane",
            envvar="GPUCTL_INIT_CONTROL_PLANE",
            help="Host of the control plane: a name, an address or NAME=ADDRESS; several by commas.",
            metavar="HOSTS",
        ),
    ] = None,
    worker: Annotated[
        list[str] | None,
        typer.Option("--worker", envvar="GPUCTL_INIT_WORKER", help="Worker hosts, likewise.", metavar="HOSTS"),
    ] = None,
    user: Annotated[
        str, typer.Option("--user", envvar="GPUCTL_INIT_USER", help="User to log in as.", metavar="NAME")
    ] = "root",
    cluster: Annotated[
        str,
        typer.Option("--cluster-name", envvar="GPUCTL_INIT_CLUSTER_NAME", help="Name of the cluster.", metavar="NAME"),
    ] = "lab",
    force: Annotated[bool, typer.Option("--force", envvar="GPUCTL_INIT_FORCE", help="Replace a file.")] = False,
    output: options.OutputForm = Output.TEXT,
) -> int:
    """Write a commented inventory to start from."""

    def body(_session: Session) -> Answer:
        from bootstrap.inventory.scaffold import render_scaffold

        masters, workers = options.names(control_plane), options.names(worker)
        if workers and not masters:
            raise usage_error("--worker without --control-plane", "name the control plane's host, too")
        example = not masters
        if example:
            masters, workers = _EXAMPLE
        text = render_scaffold(masters, workers, user=user, cluster=cluster, file=str(file))
        _write(file, text, force=force)
        look = shlex.join(["gpuctl", "plan", "--inventory", str(file)])
        first = "put your hosts' addresses into it, then: " if example else ""
        return Answer(lines=[f"wrote {file}", f"next: {first}{look}"], data={"file": str(file), "example": example})

    return options.session_of(context).execute("init", output, body)


def _write(file: Path, text: str, *, force: bool) -> None:
    try:
        with file.open("w" if force else "x", encoding="utf-8") as handle:
            handle.write(text)
    except FileExistsError as error:
        raise settings_error(
            Problem("file-exists", f"{file} is there", "name another file, or replace it with --force")
        ) from error
    except OSError as error:
        problem = Problem("file-not-writable", f"{file}: {error.strerror}", "name a file in a directory of yours")
        raise GpuctlError(ExitCode.SETTINGS, problem) from error
