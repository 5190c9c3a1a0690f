"""Options that say on which machine a profile is, and of which name: the same for all verbs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bootstrap.errors import usage_error

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
    from bootstrap.inventory.load import load_inventory
    from bootstrap.plan.minikube_plan import require_minikube

    if path is not None and host:
        raise usage_error("--inventory and --host exclude one another", "give one of them")
    if path is None:
        user, _, address = host.rpartition("@")
        words = f"ansible_host={address}{f' ansible_user={user}' if user else ''}" if host else ""
        name = address or "localhost"
        path = session.run.path / "inventory.ini"
        path.write_text(f"[minikube]\n{name} {words or 'ansible_connection=local'}\n", encoding="utf-8")
    inventory = load_inventory(path)
    require_minikube(inventory)
    return inventory


def named(path: Path | None, host: str) -> list[str]:
    """The options that say where the profile is, for the next command."""
    return ["--inventory", str(path)] if path else ["--host", host] if host else []
