"""gpuctl minikube up and start."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from bootstrap.cli import options
from bootstrap.cli.minikube import place
from bootstrap.cli.minikube.advice import advising
from bootstrap.cli.session import Answer, Output, Session


class Gpus(StrEnum):
    """How the node gets the machine's GPUs."""

    ALL = "all"
    CDI = "nvidia.com"
    NONE = "none"


class Runtime(StrEnum):
    """Container runtimes of the node."""

    DOCKER = "docker"
    CONTAINERD = "containerd"


def _text(name: str, words: str, metavar: str) -> typer.models.OptionInfo:
    variable = "GPUCTL_MINIKUBE_" + name.removeprefix("--").replace("-", "_").upper()
    option: typer.models.OptionInfo = typer.Option(name, envvar=variable, help=words, metavar=metavar)
    return option


def up(
    context: typer.Context,
    profile: place.Profile = "gpuctl",
    gpus: Annotated[
        Gpus | None,
        typer.Option(
            "--gpus",
            envvar="GPUCTL_MINIKUBE_GPUS",
            help="Which GPUs, and by which way of Docker's.  [default: all, where there are any]",
            show_default=False,
        ),
    ] = None,
    kubernetes_version: Annotated[
        str,
        _text("--kubernetes-version", "Version of Kubernetes.  [default: the bundle's, else minikube's]", "VERSION"),
    ] = "",
    cpus: Annotated[str, _text("--cpus", "CPUs of the node.  [default: minikube's]", "N|max|no-limit")] = "",
    memory: Annotated[str, _text("--memory", "Memory of the node.  [default: minikube's]", "SIZE")] = "",
    disk_size: Annotated[str, _text("--disk-size", "Disk of the node.  [default: minikube's]", "SIZE")] = "",
    container_runtime: Annotated[
        Runtime | None,
        typer.Option(
            "--container-runtime",
            envvar="GPUCTL_MINIKUBE_CONTAINER_RUNTIME",
            help="Container runtime of the node; GPUs need docker.  [default: docker]",
            show_default=False,
        ),
    ] = None,
    base_image: Annotated[
        str, _text("--base-image", "Image of the node.  [default: the bundle's, else minikube's]", "IMAGE")
    ] = "",
    cni: Annotated[str, _text("--cni", "Network of the pods.  [default: the bundle's, else minikube's]", "NAME")] = "",
    extra_config: Annotated[
        list[str] | None,
        typer.Option(
            "--extra-config",
            envvar="GPUCTL_MINIKUBE_EXTRA_CONFIG",
            help="Setting of a component; may be repeated.",
            metavar="COMPONENT.KEY=VALUE",
        ),
    ] = None,
    addons: Annotated[
        list[str] | None,
        typer.Option(
            "--addons",
            envvar="GPUCTL_MINIKUBE_ADDONS",
            help="Addons of minikube's, separated by commas.",
            metavar="NAMES",
        ),
    ] = None,
    launch_agent: Annotated[
        bool,
        typer.Option(
            "--launch-agent",
            envvar="GPUCTL_MINIKUBE_LAUNCH_AGENT",
            help="Run a W&B Launch agent on the machine, which brings jobs from --queue.",
        ),
    ] = False,
    queue: Annotated[
        list[str] | None,
        typer.Option(
            "--queue", "-q", envvar="GPUCTL_LAUNCH_QUEUES", help="Queue of the agent; may be repeated.", metavar="NAME"
        ),
    ] = None,
    entity: Annotated[
        str,
        typer.Option("--entity", "-e", envvar="WANDB_ENTITY", help="User or team that has the queue.", metavar="NAME"),
    ] = "",
    max_jobs: Annotated[
        int | None,
        typer.Option(
            "--max-jobs",
            "-j",
            envvar="GPUCTL_LAUNCH_MAX_JOBS",
            help="Jobs at the same time; -1 for any number.  [default: 1]",
            show_default=False,
            metavar="N",
        ),
    ] = None,
    base_url: Annotated[
        str, typer.Option("--base-url", envvar="WANDB_BASE_URL", help="Address of the W&B server.", metavar="URL")
    ] = "",
    api_key_file: Annotated[
        Path | None,
        typer.Option(
            "--api-key-file",
            envvar="GPUCTL_API_KEY_FILE",
            help="File with the W&B API key.  [default: $WANDB_API_KEY, else what `wandb login` left]",
            metavar="FILE",
        ),
    ] = None,
    nfs_export: Annotated[
        str,
        typer.Option(
            "--nfs-export",
            envvar="GPUCTL_MINIKUBE_NFS_EXPORT",
            help="Folder that the machine exports to its node, with a volume and a claim for jobs.",
            metavar="FOLDER",
        ),
    ] = "",
    force: Annotated[
        bool,
        typer.Option("--force", envvar="GPUCTL_MINIKUBE_FORCE", help="As root on this machine: do it all the same."),
    ] = False,
    docker_group: Annotated[
        bool,
        typer.Option(
            "--docker-group",
            envvar="GPUCTL_MINIKUBE_DOCKER_GROUP",
            help="Join you to the group docker, which minikube needs and which is as good as root.",
        ),
    ] = False,
    use_context: Annotated[
        bool, typer.Option("--use-context", envvar="GPUCTL_USE_CONTEXT", help="Make the profile the current context.")
    ] = False,
    inventory: place.Inventory = None,
    host: place.Host = "",
    kubeconfig: place.Kubeconfig = None,
    ask_become_pass: options.AskPassword = False,
    become_password_file: options.PasswordFile = None,
    accept_new_host_keys: options.AcceptKeys = False,
    output: options.OutputForm = Output.TEXT,
) -> int:
    """Make one machine a Kubernetes cluster with working GPUs, by minikube.

    Driver, Docker, container toolkit and minikube are installed where they are missing. Safe to run again: a profile
    that runs as asked for is left alone.
    """

    def body(session: Session) -> Answer:
        from bootstrap.minikube.model import UpRequest
        from bootstrap.minikube.options import AUTO, ProfileOptions, check_options
        from bootstrap.minikube.services import Services, with_services
        from bootstrap.minikube.up import up as run_up
        from bootstrap.ui.minikube import up_screen
        from bootstrap.ui.view import JsonView, view_for

        wanted = ProfileOptions(
            profile=profile,
            gpus=str(gpus or AUTO),
            kubernetes_version=kubernetes_version,
            container_runtime=str(container_runtime or AUTO),
            cpus=cpus,
            memory=memory,
            disk_size=disk_size,
            base_image=base_image,
            cni=cni,
            extra_config=tuple(extra_config or ()),
            addons=options.names(addons),
            force=force,
        )
        check_options(wanted)
        services = Services(
            launch_agent=launch_agent,
            queues=options.names(queue),
            entity=entity,
            max_jobs=max_jobs,
            base_url=base_url,
            api_key_file=api_key_file,
            nfs_export=nfs_export,
        )
        found = with_services(place.inventory_of(session, inventory, host), services)
        request = UpRequest(
            inventory=found,
            run=session.run,
            options=wanted,
            access=options.access(
                session, accept_keys=accept_new_host_keys, ask=ask_become_pass, password_file=become_password_file
            ),
            use_context=use_context,
            docker_group=docker_group,
            kubeconfig=options.kubeconfig_path(kubeconfig),
            as_before=inventory is None,
        )
        if output is Output.JSON:
            result = run_up(request, JsonView())
        else:
            with view_for(session.console) as view:
                result = run_up(request, view)
        return Answer(result.exit_code, up_screen(result, named), result.as_dict(), result.problems)

    named = place.named(inventory, host)
    told = advising(body, profile, named)
    return options.session_of(context).execute("minikube up", output, told, refuses_unchanged=True)


def start(
    context: typer.Context,
    profile: place.Profile = "gpuctl",
    inventory: place.Inventory = None,
    host: place.Host = "",
    kubeconfig: place.Kubeconfig = None,
    ask_become_pass: options.AskPassword = False,
    become_password_file: options.PasswordFile = None,
    accept_new_host_keys: options.AcceptKeys = False,
    output: options.OutputForm = Output.TEXT,
) -> int:
    """Start a profile that was stopped, as it was made."""

    def body(session: Session) -> Answer:
        from bootstrap.minikube.model import MinikubeRequest
        from bootstrap.minikube.options import ProfileOptions, check_options
        from bootstrap.minikube.up import start as run_start
        from bootstrap.ui.minikube import up_screen
        from bootstrap.ui.view import JsonView, view_for

        check_options(ProfileOptions(profile=profile))
        found = place.inventory_of(session, inventory, host)
        access = options.access(
            session, accept_keys=accept_new_host_keys, ask=ask_become_pass, password_file=become_password_file
        )
        path = options.kubeconfig_path(kubeconfig)
        request = MinikubeRequest(found, session.run, access, profile, path, bare=inventory is None)
        if output is Output.JSON:
            result = run_start(request, JsonView())
        else:
            with view_for(session.console) as view:
                result = run_start(request, view)
        return Answer(result.exit_code, up_screen(result, named), result.as_dict(), result.problems)

    named = place.named(inventory, host)
    told = advising(body, profile, named)
    return options.session_of(context).execute("minikube start", output, told, refuses_unchanged=True)
