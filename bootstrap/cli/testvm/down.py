"""gpuctl testvm down."""

from __future__ import annotations

from typing import Annotated

import typer

from bootstrap.cli import options
from bootstrap.cli.session import Answer, Output, Session


def down(
    context: typer.Context,
    name: options.LabName = "lab",
    everything: Annotated[bool, typer.Option("--all", envvar="GPUCTL_TESTVM_ALL", help="Every lab.")] = False,
    output: options.OutputForm = Output.TEXT,
) -> int:
    """Take a lab down; nothing of it stays, nor the context of its cluster in your kubeconfig.

    The context of a minikube profile goes with `gpuctl minikube down`, before.
    """

    def body(session: Session) -> Answer:
        from bootstrap.kube.kubeconfig import remove
        from bootstrap.testvm import lab
        from bootstrap.ui.lab import lines_of_hosts

        networks = {each.name: each.subnet for each in lab.list_labs()}
        gone = lab.down(None if everything else name, lines_of_hosts(session.console, session.run.log))
        for each in gone:  # their clusters are gone as well: their contexts lead nowhere
            if each in networks:
                remove(options.kubeconfig_path(None), each, networks[each])
        nothing = "there is no lab" if everything else f"there is no lab {name}"
        lines = [f"lab {each} is gone" for each in gone] or [nothing]
        return Answer(lines=lines, data={"labs": list(gone)})

    return options.session_of(context).execute("testvm down", output, body)
