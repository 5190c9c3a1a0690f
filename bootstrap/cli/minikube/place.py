"""Options that say on which machine a profile is, and of which name: the same for all verbs."""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bootstrap.errors import usage_error

# What an INI inventory, and ssh, take for one word and not for an option.
_HOST = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]*")
_USER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._@-]*")

if TYPE_CHECKING:
    from bootstrap.cli.session import Session
    from bootstrap.inventory.model import Inventory as Loaded

Inventory = Annotated[
    Path | None,
    typer.Option(
        "--inventory",
        "-i",
        envvar="GPUCTL_INVENTORY",
        help="Inventory with a group minikube.  [default: this machine]",
        metavar="PATH",
    ),
]
Host = Annotated[
    str,
    typer.Option(
        "--host",
        envvar="GPUCTL_MINIKUBE_HOST",
        help="Another machine, by ssh, without an inventory.  [default: this machine]",
        metavar="[USER@]HOST",
    ),
]
Profile = Annotated[
    str,
    typer.Option(
        "--profile", "-p", envvar="GPUCTL_MINIKUBE_PROFILE", help="Name of the profile, and of its context.",
        metavar="NAME",
    ),
]  # fmt: skip

Kubeconfig = Annotated[
    Path | None,
    typer.Option(
        "--kubeconfig",
        envvar="GPUCTL_KUBECONFIG",
        help="Kubeconfig here, for a profile on another machine.  [default: first of $KUBECONFIG, else ~/.kube/config]",
        show_default=False,
        metavar="PATH",
    ),
]


def inventory_of(session: Session, path: Path | None, host: str) -> Loaded:
    """The inventory that was named, or one that is made of the host: it lies in the run directory.

    Raises:
        GpuctlError: both were given (2), or the inventory is wrong or has no minikube host (3).
    """
    from concurrent.futures import ThreadPoolExecutor

    from bootstrap.inventory.load import load_inventory
    from bootstrap.plan.minikube_plan import require_minikube

    path = file_of(session, path, host)
    with ThreadPoolExecutor(1) as pool:
        loading = pool.submit(load_inventory, path)
        import_module("bootstrap.probe.connect")  # a tenth of a second, while another process reads the inventory
        inventory = loading.result()
    require_minikube(inventory)
    return inventory


def file_of(session: Session, path: Path | None, host: str) -> Path:
    """The inventory that was named, or one in the run directory that is made of the host, unread.

    Raises:
        GpuctlError: both were given, or the host is no name (2).
    """
    if path is not None:
        if host:
            raise usage_error("--inventory and --host exclude one another", "give one of them")
        return path
    name, variables = _given(host)
    words = " ".join(f"{variable}={value}" for variable, value in variables.items())
    made = session.run.path / "inventory.ini"
    made.write_text(f"[minikube]\n{name} {words}\n", encoding="utf-8")
    return made


def connection_of(session: Session, path: Path | None, host: str) -> Loaded:
    """As `inventory_of`, for what only asks the host: without an inventory there are no settings.

    Raises:
        GpuctlError: as `inventory_of`.
    """
    from bootstrap.inventory.load import connection_only

    if path is not None:
        return inventory_of(session, path, host)
    name, variables = _given(host)
    return connection_only(session.run.path / "inventory.ini", name, "minikube", variables)


def _given(host: str) -> tuple[str, dict[str, str]]:
    """Name and connection variables of the host that --host names, else of this machine."""
    if not host:
        return "localhost", {"ansible_connection": "local"}
    user, _, address = host.rpartition("@")
    if not _HOST.fullmatch(address) or (user and not _USER.fullmatch(user)):
        raise usage_error(f"--host {host} is not of the form [USER@]HOST", "name a host as ssh would, or an address")
    return address, {"ansible_host": address} | ({"ansible_user": user} if user else {})


def named(path: Path | None, host: str) -> list[str]:
    """The options that say where the profile is, for the next command."""
    return ["--inventory", str(path)] if path else ["--host", host] if host else []
