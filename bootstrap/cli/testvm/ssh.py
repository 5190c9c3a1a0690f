"""gpuctl testvm ssh."""

from __future__ import annotations

import os
import shlex
import subprocess
from typing import Annotated

import typer

from bootstrap.cli import options
from bootstrap.cli.session import Answer, Output, Session
from bootstrap.errors import usage_error


def ssh(
    context: typer.Context,
    host: Annotated[str, typer.Argument(help="Host of the lab.", metavar="HOST")],
    command: Annotated[
        list[str] | None, typer.Argument(help="What to run; a shell without it.", metavar="COMMAND")
    ] = None,
    name: options.LabName = "lab",
    output: options.OutputForm = Output.TEXT,
) -> int:
    """Log in to a test host, or run a command there, as root. Options come before HOST.

    Exits as the command does.
    """

    def body(_session: Session) -> Answer:
        from bootstrap.testvm import lab

        remote = _remote(command or [])
        argv = [*lab.ssh_command(name, host), *remote]
        if output is Output.TEXT:
            os.execvp(argv[0], argv)  # noqa: S606 - ssh takes our place: its terminal, its signals, its exit status
        if not remote:
            raise usage_error("--output json needs a command to run", "add it after --")
        done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, check=False)
        said = {"stdout": done.stdout.decode(errors="replace"), "stderr": done.stderr.decode(errors="replace")}
        return Answer(data={"host": host, "returncode": done.returncode, **said})

    return options.session_of(context).execute("testvm ssh", output, body)


def _remote(command: list[str]) -> list[str]:
    """One word is a command line for the host's shell, several are the words of one command; a leading -- goes."""
    if command[:1] != ["--"] and command and command[0].startswith("-"):
        raise usage_error(f"{command[0]} comes after HOST", "give gpuctl's options before HOST, and -- before COMMAND")
    command = command[1:] if command[:1] == ["--"] else command
    return command if len(command) < 2 else [shlex.join(command)]
