"""Read an inventory: Ansible resolves it in a child process, this side refuses everything that is wrong with it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from bootstrap.content import ansible_config
from bootstrap.errors import Problem, settings_error
from bootstrap.inventory.connection import connection_variables, read_connection
from bootstrap.inventory.model import Host, Inventory
from bootstrap.inventory.schema import variables
from bootstrap.inventory.secret_values import secrets_in
from bootstrap.inventory.sources import refuse_sources
from bootstrap.inventory.user_config import allowed_lookups
from bootstrap.inventory.validate import notes_of, problems_of
from bootstrap.inventory.vault import request as vault_request
from bootstrap.redact import register

_DEADLINE_S = 60.0  # resolving takes about 0.5 s; only a lookup that waits for something takes longer
_PACKAGE_PARENT = Path(__file__).resolve().parents[2]


LAB_MARK = "# Made by `gpuctl testvm up` for lab "  # how the inventory of a lab begins


def load_inventory(path: Path) -> Inventory:
    """The inventory at `path`: an INI or YAML file in Ansible's format, or a directory of them.

    Takes about half a second. Values are those that Ansible would use, of the types that the roles' specs name, with
    the roles' defaults filled in. Places (`origins`, `Problem.at`) are `file:line`, relative to the working directory
    where the file is below it.

    Raises:
        GpuctlError: exit 3, with every problem that was found in it.
    """
    refuse_sources(path)
    return inventory_of(_resolve(path), path)


def inventory_of(answer: Mapping[str, Any], path: Path) -> Inventory:
    """The inventory that the resolving child's answer describes.

    Raises:
        GpuctlError: exit 3, with every problem that was found in it.
    """
    problems = problems_of(answer, path)
    if problems:
        raise settings_error(*(_with_short_place(problem) for problem in problems))
    hosts = tuple(_host(raw) for raw in answer["hosts"])
    inventory = Inventory(path, hosts, _is_lab(path), tuple(map(_with_short_place, notes_of(answer))))
    register(*secrets_in(inventory))
    return inventory


def connection_only(path: Path, name: str, group: str, variables: Mapping[str, str]) -> Inventory:
    """An inventory of one host of which nothing is given but how to reach it; its settings are empty.

    For what only asks the host. `variables` are Ansible's, without templates: Ansible itself need not be loaded.
    """
    connection = read_connection(name, variables)
    host = Host(
        name,
        frozenset({"all", group}),
        connection,
        {},
        connection_vars=connection_variables(variables, connection),
    )
    return Inventory(path, (host,))


def _is_lab(path: Path) -> bool:
    with suppress(OSError):
        return path.is_file() and path.open("rb").read(len(LAB_MARK)) == LAB_MARK.encode()
    return False


def _host(raw: Mapping[str, Any]) -> Host:
    connection = read_connection(raw["name"], raw["connection"])
    return Host(
        name=raw["name"],
        groups=frozenset(raw["groups"]),
        connection=connection,
        settings=raw["settings"],
        explicit=frozenset(name for name in raw["variables"] if name in variables()),
        origins={name: short_place(at) for name, at in raw["origins"].items()},
        connection_vars=connection_variables(raw["connection"], connection),
    )


def _resolve(path: Path) -> dict[str, Any]:
    """What the child process found. RuntimeError when it broke: a fault of gpuctl."""
    callers = {name: value for name, value in os.environ.items() if name.startswith("ANSIBLE_")}
    asked = {
        "path": str(path.absolute()),
        "allowed": sorted(allowed_lookups()),
        "environment": callers,
        "vault": vault_request(),
    }
    answer: dict[str, Any] = json.loads(_ask_child(json.dumps(asked), path))
    for host in answer["hosts"]:
        host["settings"] = {**answer["fixed"], **host["settings"]}
    return answer


def _ask_child(asked: str, path: Path) -> str:
    argv = [sys.executable, "-P", "-m", "bootstrap.inventory.resolve_child"]
    try:
        done = subprocess.run(
            argv,
            input=asked,
            capture_output=True,
            text=True,
            encoding="utf-8",
            env=child_environment(),
            timeout=_DEADLINE_S,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        message = f"{path}: its variables were not resolved within {_DEADLINE_S:.0f} s"
        fix = "look for a lookup in it that waits for something"
        raise settings_error(Problem("inventory-invalid", message, fix)) from error
    if done.returncode != 0:
        if done.returncode < 0:
            message = f"{path}: reading it was ended by signal {-done.returncode}"
            raise settings_error(Problem("inventory-invalid", message, "free memory, or look for what takes it in it"))
        raise RuntimeError(f"the inventory could not be resolved (status {done.returncode}):\n{done.stderr}")
    return done.stdout


def child_environment() -> dict[str, str]:
    """The caller's environment, but none of the settings of the caller's own Ansible: look-ups are told these apart."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")}
    search = [str(_PACKAGE_PARENT), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {
        **kept,
        "ANSIBLE_CONFIG": str(ansible_config()),
        "ANSIBLE_DUPLICATE_YAML_DICT_KEY": "ignore",  # the scan tells a mistake from an overridden merge key
        "ANSIBLE_LOCAL_TEMP": tempfile.gettempdir(),  # its own default needs a writable home
        "PYTHONPATH": os.pathsep.join(search),
        "PYTHONUTF8": "1",
    }


def short_place(place: str) -> str:
    """`file:line` with the file relative to the working directory, where it is below it."""
    file, colon, line = place.rpartition(":")
    path = Path(file if colon and line.isdecimal() else place)
    with suppress(ValueError):
        path = path.relative_to(Path.cwd())
    return f"{path}:{line}" if colon and line.isdecimal() else str(path)


def _with_short_place(problem: Problem) -> Problem:
    if problem.at is None:
        return problem
    return Problem(problem.code, problem.message, problem.fix, problem.host, short_place(problem.at), problem.details)
