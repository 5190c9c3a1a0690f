"""What a job over several nodes is asked to be, before any launcher gives it a form. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType

from bootstrap.errors import GpuctlError, Problem
from bootstrap.exit_codes import ExitCode

MOST_NODES = 1000
MOST_GPUS = 64
# A Service's name is a label (63); the training operator makes one per pod, NAME-worker-999.
NAME_LENGTH = 63 - len("-worker-999")
IMAGE_RULE = "name one as registry/name:tag"
_NAME = re.compile(r"[a-z]([a-z0-9-]*[a-z0-9])?")
_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?")  # RFC 1123
_SUBDOMAIN = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*")
_LABEL_LENGTH, _SUBDOMAIN_LENGTH = 63, 253
_QUANTITY = re.compile(r"[0-9]+(\.[0-9]+)?(m|[kMGTPE]i?)?")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_FILE = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*")


class Launcher(StrEnum):
    """Who makes pods of the job, and tells them of one another."""

    JOB = "job"  # an Indexed Job and a headless Service: nothing needs to be installed
    VOLCANO = "volcano"
    PYTORCHJOB = "pytorchjob"
    JOBSET = "jobset"


DEFAULT_QUEUE = "default"  # Volcano makes it


@dataclass(frozen=True, slots=True)
class JobSpec:
    """A command that runs once on each of `nodes` nodes, each time with `gpus` GPUs.

    `cpu` and `memory` are limits per node, empty for none; `claim` a PersistentVolumeClaim, mounted at `mount_path`;
    `queue` one of Volcano's; `files` go into a ConfigMap, mounted at FILES; `deadline_s` ends the job, 0 for never;
    `on_nodes` (host names) get one pod each, whatever their taints; `restricted` keeps to that pod security standard.
    """

    name: str
    launcher: Launcher
    image: str
    command: tuple[str, ...]
    nodes: int = 1
    gpus: int = 1
    namespace: str = "default"
    runtime_class: str = "nvidia"
    cpu: str = ""
    memory: str = ""
    claim: str = ""
    mount_path: str = "/data"
    queue: str = DEFAULT_QUEUE
    environment: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    files: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    deadline_s: int = 0
    on_nodes: tuple[str, ...] = ()
    restricted: bool = False

    def __post_init__(self) -> None:
        problems = tuple(_problems(self))
        if problems:
            raise GpuctlError(ExitCode.USAGE, *problems)

    @property
    def processes(self) -> int:
        """How many processes torchrun starts on each node: one per GPU, one where there is none."""
        return max(self.gpus, 1)


def is_image(text: str) -> bool:
    """Whether it could name an image; what it names is the registry's matter."""
    return bool(text) and not re.search(r"\s", text)


def _problems(spec: JobSpec) -> Iterator[Problem]:
    """What of it no cluster could run; code job-invalid."""
    checks: list[tuple[bool, str, str]] = [
        *_names(spec),
        (1 <= spec.nodes <= MOST_NODES, f"{spec.nodes} nodes", f"a job has 1 to {MOST_NODES}"),
        (0 <= spec.gpus <= MOST_GPUS, f"{spec.gpus} GPUs per node", f"give 0 to {MOST_GPUS}; --nodes says how often"),
        (
            spec.queue == DEFAULT_QUEUE or spec.launcher in (Launcher.VOLCANO, Launcher.PYTORCHJOB),
            f"queue {spec.queue!r} with the launcher {spec.launcher}",
            "queues are Volcano's: take --launcher volcano, or leave --queue out",
        ),
        (is_image(spec.image), f"image {spec.image!r}", IMAGE_RULE),
        (bool(spec.command), "a job without a command", "give the command behind --"),
        *(
            (not quantity or bool(_QUANTITY.fullmatch(quantity)), f"{what} {quantity!r}", "write it as 4, 500m or 16Gi")
            for what, quantity in (("cpu", spec.cpu), ("memory", spec.memory))
        ),
        (spec.mount_path.startswith("/"), f"mount path {spec.mount_path!r}", "begin it with /"),
        *((bool(_VARIABLE.fullmatch(n)), f"variable {n!r}", "use letters, digits and _") for n in spec.environment),
        *((bool(_FILE.fullmatch(n)), f"file {n!r}", "use letters, digits, ., - and _") for n in spec.files),
    ]
    yield from (Problem("job-invalid", f"{what}: this cannot be run", fix) for holds, what, fix in checks if not holds)


def _names(spec: JobSpec) -> Iterator[tuple[bool, str, str]]:
    """Whether each name is one, what it is, and how it is written: some become part of a path of the API."""
    letter, dots = "a-z, 0-9 and -, beginning with a letter", "a-z, 0-9, - and ., beginning with a letter or digit"
    rules = (
        ("name", spec.name, _NAME, NAME_LENGTH, letter),
        ("namespace", spec.namespace, _LABEL, _LABEL_LENGTH, "a-z, 0-9 and -, beginning with a letter or digit"),
        ("queue", spec.queue, _SUBDOMAIN, _SUBDOMAIN_LENGTH, dots),
        *(("claim", name, _SUBDOMAIN, _SUBDOMAIN_LENGTH, dots) for name in [spec.claim] if name),
        *(("runtime class", name, _SUBDOMAIN, _SUBDOMAIN_LENGTH, dots) for name in [spec.runtime_class] if name),
    )
    for what, name, rule, longest, signs in rules:
        holds = bool(rule.fullmatch(name)) and len(name) <= longest
        yield holds, f"{what} {name!r}", f"use at most {longest} of {signs}"
