"""Queue configurations that come with gpuctl, with the few things filled in that differ from site to site. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from bootstrap.errors import usage_error
from bootstrap.launch.queue_file import QueueConfig
from bootstrap.launch.template_variables import USE

PRESETS = ("job", "volcano", "pytorchjob")
GANGS = frozenset({"volcano", "pytorchjob"})  # a master and workers
GPUS, WORKERS = "gpus", "workers"
DEFAULT_GPUS: Mapping[str, Any] = {"type": "integer", "default": 1, "minimum": 1, "maximum": 8}
DEFAULT_WORKERS: Mapping[str, Any] = {"type": "integer", "default": 1, "minimum": 1, "maximum": 8}
DEFAULT_MOUNT = "/root/.cache"
JOBS_NAMESPACE = "launch-jobs"  # as the role launch_agent has it
_FOLDER = Path(__file__).with_name("presets")
_NAME = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?")
_QUANTITY = re.compile(r"[0-9]+(\.[0-9]+)?(m|[kMGTPE]i?)?")
# A job's requests where a limit is one of the template variables: what must be free for it to start at all.
_LEAST_CPU, _LEAST_MEMORY = "500m", "512Mi"


@dataclass(frozen=True, slots=True)
class PresetChoices:
    """What a preset is filled with. `cpu` and `memory`: limits, quantities or one template variable such as {{cpu}}.

    `workers`: pods besides the master, for those of GANGS (None: 1 to 8). `claim`: a PersistentVolumeClaim for the
    job's cache, empty for none, mounted at `mount_path`.
    """

    gpus: Mapping[str, Any]
    workers: Mapping[str, Any] | None = None
    namespace: str = JOBS_NAMESPACE
    cpu: str = "4"
    memory: str = "16Gi"
    claim: str = ""
    mount_path: str = DEFAULT_MOUNT


def parse_claim(text: str) -> tuple[str, str]:
    """`NAME` or `NAME:PATH` as claim and mount path.

    Raises:
        GpuctlError: the name cannot be a claim's, or the path is not absolute (exit 2).
    """
    name, colon, path = text.partition(":")
    if not _NAME.fullmatch(name) or (colon and not path.startswith("/")):
        raise usage_error(f"--nfs-claim {text}: not NAME or NAME:PATH", f"write it as nfs-kubedata:{DEFAULT_MOUNT}")
    return name, path or DEFAULT_MOUNT


def render_preset(name: str, choices: PresetChoices, variables: Mapping[str, Mapping[str, Any]]) -> QueueConfig:
    """The preset of that name; `variables` are further template variables, which cpu and memory may use.

    Raises:
        GpuctlError: a choice cannot be what it should (exit 2).
    """
    for option, value in (("--cpu", choices.cpu), ("--memory", choices.memory)):
        if not (_QUANTITY.fullmatch(value) or USE.fullmatch(value)):
            raise usage_error(
                f"{option} {value}: no quantity", f"write it as 4, 500m or 16Gi, or as {{{{{option[2:]}}}}}"
            )
    if not _NAME.fullmatch(choices.namespace):
        raise usage_error(f"--namespace {choices.namespace}: no name of a namespace", "use a-z, 0-9 and -")
    from jinja2 import Environment, StrictUndefined

    environment = Environment(
        variable_start_string="[[", variable_end_string="]]", block_start_string="[%", block_end_string="%]",
        trim_blocks=True, lstrip_blocks=True, undefined=StrictUndefined, autoescape=False,  # noqa: S701 - no HTML
    )  # fmt: skip
    values = {
        "namespace": choices.namespace,
        "cpu": choices.cpu,
        "memory": choices.memory,
        "cpu_request": _request(choices.cpu, _LEAST_CPU),
        "memory_request": _request(choices.memory, _LEAST_MEMORY),
        "claim": choices.claim,
        "mount_path": choices.mount_path,
        "container": "pytorch" if name == "pytorchjob" else "main",  # the operator looks for that name
    }
    pod = environment.from_string(_text("pod")).render(values)
    filled = environment.from_string(_text(name)).render(values, pod=pod)
    workers = {WORKERS: choices.workers or DEFAULT_WORKERS} if name in GANGS else {}
    return QueueConfig(yaml.safe_load(filled), {GPUS: choices.gpus, **workers, **variables})


def _text(name: str) -> str:
    return (_FOLDER / f"{name}.yml.j2").read_text(encoding="utf-8")


def _request(limit: str, least: str) -> str:
    """Small, so that jobs share a node; never above the limit."""
    return min(limit, least, key=_amount) if _QUANTITY.fullmatch(limit) else least


def _amount(quantity: str) -> float:
    number, unit = re.fullmatch(r"([0-9.]+)(.*)", quantity).groups()  # type: ignore[union-attr]
    power = "kMGTPE".find(unit[:1]) + 1 if unit not in ("", "m") else 0
    scale = 1024.0**power if unit.endswith("i") else 1000.0**power
    return float(number) * (0.001 if unit == "m" else scale)
