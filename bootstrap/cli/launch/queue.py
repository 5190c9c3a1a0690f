"""gpuctl launch queue."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bootstrap.cli import options
from bootstrap.cli.launch.agent import KeyFile
from bootstrap.cli.session import Answer, Output, Session
from bootstrap.errors import Problem, usage_error
from bootstrap.exit_codes import ExitCode

if TYPE_CHECKING:
    from bootstrap.launch.queue_file import QueueConfig
    from bootstrap.launch.queues import Queues


class Preset(StrEnum):
    """Configurations that come with gpuctl."""

    JOB = "job"
    VOLCANO = "volcano"
    PYTORCHJOB = "pytorchjob"


class Priorities(StrEnum):
    """Whether jobs of a queue have priorities."""

    OFF = "off"
    ON = "on"


class Validation(StrEnum):
    """What becomes of a file with what Kubernetes would drop or refuse."""

    STRICT = "strict"
    WARN = "warn"


Name = Annotated[str, typer.Argument(help="Name of the queue.", metavar="QUEUE")]
Entity = Annotated[
    str,
    typer.Option(
        "--entity",
        "-e",
        envvar="WANDB_ENTITY",
        help="User or team that has the queue.  [default: as the inventory has it]",
        metavar="NAME",
    ),
]
BaseUrl = Annotated[
    str,
    typer.Option(
        "--base-url",
        envvar="WANDB_BASE_URL",
        help="Address of the W&B server.  [default: as the inventory has it, else W&B's]",
        metavar="URL",
    ),
]
Inventory = Annotated[
    Path | None,
    typer.Option(
        "--inventory",
        "-i",
        envvar="GPUCTL_INVENTORY",
        help="Inventory whose agent's server, entity, key and CA are meant.",
        metavar="PATH",
    ),
]


def apply(
    context: typer.Context,
    name: Name,
    file: Annotated[
        Path | None, typer.Argument(help="Configuration, YAML or JSON.", metavar="[FILE]", show_default=False)
    ] = None,
    preset: Annotated[
        Preset | None,
        typer.Option("--preset", envvar="GPUCTL_QUEUE_PRESET", help="Instead of FILE: one that comes with gpuctl."),
    ] = None,
    gpus: Annotated[
        str | None,
        typer.Option(
            "--gpus",
            envvar="GPUCTL_QUEUE_GPUS",
            help="GPUs of a job of the preset.  [default: 1,1,8]",
            metavar="DEFAULT,MIN,MAX",
        ),
    ] = None,
    workers: Annotated[
        str | None,
        typer.Option(
            "--workers",
            envvar="GPUCTL_QUEUE_WORKERS",
            help="Pods besides the master, where the preset has any.  [default: 1,1,8]",
            metavar="DEFAULT,MIN,MAX",
        ),
    ] = None,
    cpu: Annotated[
        str | None,
        typer.Option(
            "--cpu", envvar="GPUCTL_QUEUE_CPU", help="CPU limit of the preset.  [default: 4]", metavar="QUANTITY"
        ),
    ] = None,
    memory: Annotated[
        str | None,
        typer.Option(
            "--memory",
            envvar="GPUCTL_QUEUE_MEMORY",
            help="Memory limit of the preset.  [default: 16Gi]",
            metavar="QUANTITY",
        ),
    ] = None,
    namespace: Annotated[
        str | None,
        typer.Option(
            "--namespace",
            "-n",
            envvar="GPUCTL_QUEUE_NAMESPACE",
            help="Namespace of the preset's jobs.  [default: the queue's, launch-jobs in a new one]",
            metavar="NAME",
        ),
    ] = None,
    nfs_claim: Annotated[
        str | None,
        typer.Option(
            "--nfs-claim",
            envvar="GPUCTL_QUEUE_NFS_CLAIM",
            help="Claim that holds the jobs' cache.  [path: /root/.cache]",
            metavar="NAME[:PATH]",
        ),
    ] = None,
    var: Annotated[
        list[str] | None,
        typer.Option(
            "--var",
            envvar="GPUCTL_QUEUE_VAR",
            help="Another template variable.",
            metavar="NAME=DEFAULT,MIN,MAX|NAME=A|B",
        ),
    ] = None,
    priorities: Annotated[
        Priorities | None,
        typer.Option(
            "--priorities",
            envvar="GPUCTL_QUEUE_PRIORITIES",
            help="Whether jobs have priorities.  [default: as they are, off in a new queue]",
        ),
    ] = None,
    validate: Annotated[
        Validation,
        typer.Option(
            "--validate",
            envvar="GPUCTL_QUEUE_VALIDATE",
            help="Refuse what Kubernetes would drop or refuse, or warn of it: for fields of a newer release.",
        ),
    ] = Validation.STRICT,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", envvar="GPUCTL_DRY_RUN", help="Check, and show what would be sent.")
    ] = False,
    entity: Entity = "",
    base_url: BaseUrl = "",
    api_key_file: KeyFile = None,
    inventory: Inventory = None,
    output: options.OutputForm = Output.TEXT,
) -> int:
    """Make a queue, or change it to what a file or a preset says.

    What the agent would refuse once a job is there is refused here. A queue that is as it should be stays untouched.
    """

    def body(session: Session) -> Answer:
        from bootstrap.launch.queue_apply import apply_queue
        from bootstrap.launch.queue_rules import Caution
        from bootstrap.ui.launch_queue import applied_screen

        chosen = {"--gpus": gpus, "--workers": workers, "--cpu": cpu, "--memory": memory, "--namespace": namespace}
        chosen["--nfs-claim"] = nfs_claim
        config = _config(file, preset, {key: value for key, value in chosen.items() if value is not None}, var or [])
        queues, warning = _queues(session, entity, base_url, api_key_file, inventory)
        cautions = (Caution(warning),) if warning else ()
        level = str(priorities) if priorities else None
        stays = preset is not None and namespace is None
        strict = validate is Validation.STRICT
        done = apply_queue(queues, name, config, level, cautions, dry_run=dry_run, namespace_stays=stays, strict=strict)
        return Answer(lines=applied_screen(done), data=done.as_dict())

    return options.session_of(context).execute("launch queue apply", output, body, refuses_unchanged=True)


def show(
    context: typer.Context,
    name: Name,
    entity: Entity = "",
    base_url: BaseUrl = "",
    api_key_file: KeyFile = None,
    inventory: Inventory = None,
    output: options.OutputForm = Output.TEXT,
) -> int:
    """Show a queue, in the form that apply takes."""

    def body(session: Session) -> Answer:
        from bootstrap.ui.launch_queue import queue_screen

        queues = _queues(session, entity, base_url, api_key_file, inventory)[0]
        found = queues.require(name)
        return Answer(lines=queue_screen(queues.entity, found), data={"queue": found.as_dict()})

    return options.session_of(context).execute("launch queue show", output, body)


def list_queues(
    context: typer.Context,
    entity: Entity = "",
    base_url: BaseUrl = "",
    api_key_file: KeyFile = None,
    inventory: Inventory = None,
    output: options.OutputForm = Output.TEXT,
) -> int:
    """Show the queues of an entity, and how many jobs wait and run in each."""

    def body(session: Session) -> Answer:
        from bootstrap.jsonform import plain
        from bootstrap.ui.launch_queue import queues_screen

        queues = _queues(session, entity, base_url, api_key_file, inventory)[0]
        found = queues.lines()
        return Answer(lines=queues_screen(queues.entity, found), data={"queues": plain(found)})

    return options.session_of(context).execute("launch queue list", output, body)


def delete(
    context: typer.Context,
    name: Name,
    yes: options.Yes = False,
    entity: Entity = "",
    base_url: BaseUrl = "",
    api_key_file: KeyFile = None,
    inventory: Inventory = None,
    output: options.OutputForm = Output.TEXT,
) -> int:
    """Delete a queue, and what waits in it."""

    def body(session: Session) -> Answer:
        queues = _queues(session, entity, base_url, api_key_file, inventory)[0]
        found = queues.require(name)
        question = f"Delete queue {queues.entity}/{name} and all jobs that wait in it. Continue?"
        if not yes and not _confirmed(session, question, output):
            problem = Problem("not-confirmed", "not confirmed; nothing was changed", "answer yes, or give --yes")
            return Answer(ExitCode.USAGE, problems=(problem,))
        queues.delete(found)
        return Answer(lines=[f"queue {queues.entity}/{name} deleted"], data={"deleted": name})

    return options.session_of(context).execute("launch queue delete", output, body, refuses_unchanged=True)


def _confirmed(session: Session, question: str, output: Output) -> bool:
    from bootstrap.ui.view import JsonView, view_for

    if output is Output.JSON:
        return bool(JsonView().confirm(question))
    with view_for(session.console) as view:
        return bool(view.confirm(question))


def _config(file: Path | None, preset: Preset | None, chosen: dict[str, str], var: list[str]) -> QueueConfig:
    from bootstrap.launch import queue_preset, template_variables
    from bootstrap.launch.queue_apply import read_config

    if (file is None) == (preset is None):
        raise usage_error(
            "give a FILE or --preset, one of them", "such as: gpuctl launch queue apply gpus --preset job"
        )
    if preset is None:
        if chosen or var:
            raise usage_error(f"{next(iter(chosen), '--var')} is for --preset", "write it into the file")
        assert file is not None  # noqa: S101 - one of them is given
        return read_config(file)
    variables = dict(template_variables.from_option("--var", each) for each in var)
    fields: dict[str, Any] = {key[2:]: chosen[key] for key in ("--cpu", "--memory", "--namespace") if key in chosen}
    if "--nfs-claim" in chosen:
        fields["claim"], fields["mount_path"] = queue_preset.parse_claim(chosen["--nfs-claim"])
    if "--workers" in chosen:
        if str(preset) not in queue_preset.GANGS:
            raise usage_error(f"--workers: jobs of preset {preset} have one pod", "leave it out")
        fields["workers"] = template_variables.numbers("--workers", chosen["--workers"])
    wanted = template_variables.numbers("--gpus", chosen["--gpus"]) if "--gpus" in chosen else queue_preset.DEFAULT_GPUS
    return queue_preset.render_preset(str(preset), queue_preset.PresetChoices(gpus=wanted, **fields), variables)


def _queues(
    session: Session, entity: str, base_url: str, key_file: Path | None, path: Path | None
) -> tuple[Queues, str]:
    """The queues of the entity, and what to warn of."""
    from bootstrap.inventory.load import load_inventory
    from bootstrap.launch.agent_key import read_key
    from bootstrap.launch.queues import Queues
    from bootstrap.launch.server_access import ServerOptions, server_access

    key = read_key(key_file, from_environment=path is None)
    session.redactor.add(key)
    found = server_access(ServerOptions(entity, base_url, key), load_inventory(path) if path is not None else None)
    session.redactor.add(found.api_key)
    return Queues(found.server, found.entity), found.warning
