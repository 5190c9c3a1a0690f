"""What a job is, as options: the same for `gpuctl job render` and `gpuctl job run`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bootstrap.errors import usage_error
from bootstrap.jobs.spec import MOST_GPUS, MOST_NODES, Launcher

if TYPE_CHECKING:
    from bootstrap.inventory.model import Inventory
    from bootstrap.jobs.spec import JobSpec

Command = Annotated[
    list[str],
    typer.Argument(help="What runs once on each node, behind --.", metavar="-- COMMAND...", show_default=False),
]
Image = Annotated[
    str, typer.Option("--image", envvar="GPUCTL_JOB_IMAGE", help="Image that the command runs in.", metavar="IMAGE")
]
LauncherName = Annotated[
    Launcher,
    typer.Option("--launcher", envvar="GPUCTL_JOB_LAUNCHER", help="Who makes the pods: all but job are addons."),
]
Nodes = Annotated[
    int,
    typer.Option("--nodes", min=1, max=MOST_NODES, envvar="GPUCTL_JOB_NODES", help="Pods, one rank each.", metavar="N"),
]
Gpus = Annotated[
    int,
    typer.Option("--gpus", min=0, max=MOST_GPUS, envvar="GPUCTL_JOB_GPUS", help="GPUs of each pod.", metavar="M"),
]
Name = Annotated[str, typer.Option("--name", envvar="GPUCTL_JOB_NAME", help="Name of the job.", metavar="NAME")]
Namespace = Annotated[
    str,
    typer.Option("--namespace", "-n", envvar="GPUCTL_JOB_NAMESPACE", help="Namespace of the job.", metavar="NAME"),
]
Queue = Annotated[str, typer.Option("--queue", envvar="GPUCTL_JOB_QUEUE", help="Queue of Volcano's.", metavar="NAME")]
Claim = Annotated[
    str,
    typer.Option(
        "--claim",
        envvar="GPUCTL_JOB_CLAIM",
        help="PersistentVolumeClaim to mount, and where.  [default path: /data]",
        metavar="NAME[:PATH]",
    ),
]
Cpu = Annotated[
    str, typer.Option("--cpu", envvar="GPUCTL_JOB_CPU", help="Limit of processors of each pod.", metavar="QUANTITY")
]
Memory = Annotated[
    str, typer.Option("--memory", envvar="GPUCTL_JOB_MEMORY", help="Limit of memory of each pod.", metavar="QUANTITY")
]
Variables = Annotated[
    list[str] | None,
    typer.Option(
        "--env",
        envvar="GPUCTL_JOB_ENV",
        help="Variable for the command, without =V with gpuctl's own value of it; may be given again.",
        metavar="K[=V]",
    ),
]
Files = Annotated[
    list[Path] | None,
    typer.Option(
        "--file",
        envvar="GPUCTL_JOB_FILE",
        help="File to put into /opt/gpuctl of each pod; may be given again.",
        metavar="FILE",
    ),
]
RuntimeClass = Annotated[
    str | None,
    typer.Option(
        "--runtime-class",
        envvar="GPUCTL_JOB_RUNTIME_CLASS",
        help="Runtime class of pods with GPUs; empty for the node's own.  [default: the inventory's, or nvidia]",
        metavar="NAME",
    ),
]
DEFAULT_RUNTIME_CLASS = "nvidia"  # as nvidia_device_plugin_runtime_class has it
MOST_FILE_BYTES = 900_000  # all objects of etcd's are below 1.5 MiB, and a ConfigMap below 1 MiB


def variables_of(given: Sequence[str] | None) -> dict[str, str]:
    """`K=V` as a mapping, `K` with the value that gpuctl itself has: a token need not stand in the command line.

    Raises:
        GpuctlError: one has no name, or no value (exit 2).
    """
    found = {}
    for text in given or ():
        name, equals, value = text.partition("=")
        if not name:
            raise usage_error(f"--env {text}: no variable", "write it as NAME=VALUE, or NAME")
        if not equals and name not in os.environ:
            raise usage_error(f"--env {name}: gpuctl itself has no such variable", f"export it, or write {name}=VALUE")
        found[name] = value if equals else os.environ[name]
    return found


def files_of(given: Sequence[Path] | None) -> dict[str, str]:
    """Names and texts of the files.

    Raises:
        GpuctlError: one cannot be read, is no text, or they are too large for a ConfigMap (exit 2).
    """
    found: dict[str, str] = {}
    for path in given or ():
        if path.name in found:
            raise usage_error(f"--file {path}: there are two of that name", "give one of them another name")
        try:
            found[path.name] = path.read_text(encoding="utf-8")
        except OSError as error:
            raise usage_error(f"--file {path}: {error.strerror}", "name a file that can be read") from error
        except UnicodeDecodeError as error:
            raise usage_error(f"--file {path}: it is no text", "put it into the image, or on a volume") from error
    if sum(len(text.encode()) for text in found.values()) > MOST_FILE_BYTES:
        raise usage_error("--file: these are more than 900 kB together", "put them into the image, or on a volume")
    return found


def claim_of(text: str) -> tuple[str, str]:
    """`NAME` or `NAME:PATH` as claim and mount path; empty for none.

    Raises:
        GpuctlError: it has a colon, and not both (exit 2).
    """
    name, colon, path = text.partition(":")
    if colon and not (name and path):
        raise usage_error(f"--claim {text}: not NAME or NAME:PATH", "write it as nfs-kubedata:/data")
    return name, path or "/data"


def class_of(given: str | None, inventory: Inventory | None) -> str:
    """The runtime class: the option's, else the inventory's, else the usual one."""
    if given is not None:
        return given
    settings = inventory.hosts[0].settings if inventory else {}
    return str(settings.get("nvidia_device_plugin_runtime_class", DEFAULT_RUNTIME_CLASS))


def spec_of(
    *,
    launcher: Launcher,
    image: str,
    command: Sequence[str],
    nodes: int,
    gpus: int,
    name: str,
    namespace: str,
    queue: str,
    claim: str,
    cpu: str,
    memory: str,
    variables: Sequence[str] | None,
    files: Sequence[Path] | None,
    runtime_class: str | None,
) -> JobSpec:
    """The job that the options describe.

    Raises:
        GpuctlError: no cluster could run it (exit 2).
    """
    from bootstrap.jobs.spec import JobSpec

    claim_name, mount_path = claim_of(claim)
    return JobSpec(
        name=name,
        launcher=launcher,
        image=image,
        command=tuple(command),
        nodes=nodes,
        gpus=gpus,
        namespace=namespace,
        runtime_class=DEFAULT_RUNTIME_CLASS if runtime_class is None else runtime_class,
        cpu=cpu,
        memory=memory,
        claim=claim_name,
        mount_path=mount_path,
        queue=queue,
        environment=variables_of(variables),
        files=files_of(files),
    )
