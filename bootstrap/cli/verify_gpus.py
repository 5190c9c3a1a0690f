"""gpuctl verify-gpus."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bootstrap.cli import options
from bootstrap.cli.minikube import place
from bootstrap.cli.minikube.advice import advising
from bootstrap.cli.session import Answer, Output, Session
from bootstrap.errors import usage_error


def verify_gpus(
    context: typer.Context,
    inventory: Annotated[
        Path | None,
        typer.Option(
            "--inventory",
            "-i",
            envvar="GPUCTL_INVENTORY",
            help="Inventory: a file or directory.  [default, with --profile: this machine]",
            metavar="PATH",
        ),
    ] = None,
    limit: options.Limit = None,
    profile: Annotated[
        str,
        typer.Option(
            "--profile",
            "-p",
            envvar="GPUCTL_MINIKUBE_PROFILE",
            help="Profile of minikube.  [default, with an inventory: gpuctl]",
            metavar="NAME",
        ),
    ] = "",
    host: place.Host = "",
    timeout: Annotated[
        float,
        typer.Option(
            "--timeout",
            min=1,
            envvar="GPUCTL_VERIFY_TIMEOUT",
            help="Seconds that computing may take.",
            metavar="SECONDS",
        ),
    ] = 300.0,
    collective: Annotated[
        bool,
        typer.Option(
            "--collective",
            envvar="GPUCTL_VERIFY_COLLECTIVE",
            help="Also add numbers up over all GPU nodes, and measure their links.",
        ),
    ] = False,
    collective_image: Annotated[
        str,
        typer.Option(
            "--collective-image",
            envvar="GPUCTL_VERIFY_COLLECTIVE_IMAGE",
            help="An image with PyTorch: adds up between the nodes' GPUs, by NCCL, and holds them meanwhile.",
            metavar="IMAGE",
        ),
    ] = "",
    require_all: Annotated[
        bool,
        typer.Option(
            "--require-all",
            envvar="GPUCTL_VERIFY_REQUIRE_ALL",
            help="Fail, too, where other pods hold GPUs, which then cannot be tried.",
        ),
    ] = False,
    skip_unreachable: options.SkipUnreachable = False,
    ask_become_pass: options.AskPassword = False,
    become_password_file: options.PasswordFile = None,
    accept_new_host_keys: options.AcceptKeys = False,
    output: options.OutputForm = Output.TEXT,
) -> int:
    """Check every GPU from the PCI bus to a pod that computes.

    Exits 6 when a GPU that should be there does not pass on every layer. One that another pod holds is noted.
    """

    def body(session: Session) -> Answer:
        from bootstrap.jobs.spec import IMAGE_RULE, is_image
        from bootstrap.minikube.options import DEFAULT_PROFILE
        from bootstrap.minikube.verify import verify_gpus as run_verify
        from bootstrap.ui.verification import verify_screen
        from bootstrap.ui.view import JsonView, view_for
        from bootstrap.verify.requests import VerifyRequest

        if inventory is None and not profile:
            raise usage_error("nothing is named to look at", "give --inventory, or the --profile of minikube here")
        if collective_image and not is_image(collective_image):
            raise usage_error(f"--collective-image {collective_image!r}: no image", IMAGE_RULE)
        request = VerifyRequest(
            inventory=place.file_of(session, inventory, host),
            run=session.run,
            access=options.access(
                session, accept_keys=accept_new_host_keys, ask=ask_become_pass, password_file=become_password_file
            ),
            limit=options.names(limit),
            timeout_s=timeout,
            profile=profile or DEFAULT_PROFILE,
            collective=collective or bool(collective_image),
            collective_image=collective_image,
            require_all=require_all,
            skip_unreachable=skip_unreachable,
        )
        if output is Output.JSON:
            result = run_verify(request, JsonView())
        else:
            with view_for(session.console) as view:
                result = run_verify(request, view)
        return Answer(result.exit_code, verify_screen(result), result.as_dict(), result.problems)

    # Advice about a profile is given where the inventory is that of a minikube host, only.
    told = advising(body, profile or "gpuctl", place.named(inventory, host))
    return options.session_of(context).execute("verify-gpus", output, told)
