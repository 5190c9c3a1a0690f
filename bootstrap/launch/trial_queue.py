"""The first stage of a trial: whether the queue takes the hello job, and how that is written down for it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bootstrap.errors import Problem
from bootstrap.launch.trial_cluster import GPU_RESOURCE
from bootstrap.launch.trial_model import Asked

GPUS = "gpus"  # the template variable that counts GPUs
RUN_NAME = "gpuctl-launch-test"
_HELLO = Path(__file__).with_name("hello.py")
_TEMPLATE = re.compile(r"\{\{\s*(\w+)\s*\}\}")


def check_variables(asked: Asked, variables: Mapping[str, Mapping[str, Any]]) -> tuple[Problem, ...]:
    """What in the queue's template variables stands against the job; `variables` are name → JSON schema."""
    found = []
    if asked.gpus is not None and GPUS not in variables:
        words = f"queue {asked.queue} has no template variable `gpus`: the number of GPUs is fixed in its configuration"
        fix = "leave --gpus out, or give the queue the variable: `gpuctl launch queue apply --gpus DEFAULT,MIN,MAX`"
        found.append(Problem("launch-variable-unknown", words, fix))
    elif asked.gpus is not None and (words := _out_of_bounds(asked.gpus, variables[GPUS])):
        fix = f"ask for fewer or more, or change the bounds of queue {asked.queue} with `gpuctl launch queue apply`"
        found.append(Problem("launch-variable-bounds", f"gpus={asked.gpus}: queue {asked.queue} takes {words}", fix))
    for name, schema in sorted(variables.items()):
        if "default" not in schema and not (name == GPUS and asked.gpus is not None):
            words = f"template variable `{name}` of queue {asked.queue} has no default, and the test sets only `gpus`"
            found.append(Problem("launch-variable-unset", words, f"give `{name}` a default, or set --gpus"))
    return tuple(found)


def _out_of_bounds(number: int, schema: Mapping[str, Any]) -> str:
    """The values that are taken, in words; empty when the number is one of them."""
    low, high, choices = schema.get("minimum"), schema.get("maximum"), schema.get("enum")
    if isinstance(choices, list) and number not in choices:
        return "one of " + ", ".join(str(choice) for choice in choices)
    if _below(number, low) or _below(high, number):
        return bounds(schema)
    return ""


def bounds(schema: Mapping[str, Any]) -> str:
    """The bounds of a variable in words: "1 to 8", "at least 1", "any number"."""
    low, high = schema.get("minimum"), schema.get("maximum")
    if low is not None and high is not None:
        return f"{low} to {high}"
    return f"at least {low}" if low is not None else f"at most {high}" if high is not None else "any number"


def _below(low: Any, high: Any) -> bool:
    return isinstance(low, int | float) and isinstance(high, int | float) and low < high


def wanted_gpus(asked: Asked, kubernetes: Mapping[str, Any], variables: Mapping[str, Mapping[str, Any]]) -> int | None:
    """How many GPUs the job is to see; None when only its pod can tell."""
    if asked.gpus is not None:
        return asked.gpus
    default = variables.get(GPUS, {}).get("default")
    asks_by_variable = any(found[1] == GPUS for limit in _limits(kubernetes) if (found := _TEMPLATE.fullmatch(limit)))
    return default if asks_by_variable and isinstance(default, int) else None


def _limits(node: Any) -> list[str]:
    """Every limit of GPUs in a configuration, as text."""
    if isinstance(node, Mapping):
        own = [str(node[GPU_RESOURCE])] if GPU_RESOURCE in node else []
        return own + [limit for value in node.values() for limit in _limits(value)]
    return [limit for value in node for limit in _limits(value)] if isinstance(node, list) else []


def namespace_of(kubernetes: Mapping[str, Any]) -> str:
    """Where the agent puts the Jobs of a configuration, as far as it can be told from here."""
    metadata = kubernetes.get("metadata")
    own = metadata.get("namespace") if isinstance(metadata, Mapping) else None
    return str(own or kubernetes.get("namespace") or "default")


def run_spec(asked: Asked) -> dict[str, Any]:
    """The job as the client would send it: the server fills in resource and resource_args from the queue."""
    program = ["python3", "-c", _HELLO.read_text(encoding="utf-8")]
    return {
        "overrides": {"args": [], "run_config": {}, "entry_point": program},
        "entity": asked.entity,
        "project": asked.project,
        "name": RUN_NAME,
        "docker": {"docker_image": asked.image},
        "resource": None,
        "git": {},
    }
