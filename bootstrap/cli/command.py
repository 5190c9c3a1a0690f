"""What all commands that read an inventory have in common, beyond what each of them spells itself."""

from __future__ import annotations

from functools import cache
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

_HELP = "Ansible look-ups that may run although they do more than read, separated by commas."


class Command(TyperCommand):
    """A command; one with --inventory has --allow-lookups as well."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        names = [parameter.name for parameter in self.params]
        if any("--inventory" in parameter.opts and "-i" in parameter.opts for parameter in self.params):
            self.params.insert(names.index("inventory") + 1, _allow_lookups())


class App(typer.Typer):
    """A tree whose commands are of that kind."""

    def command(self, name: str | None = None, **kwargs: Any) -> Any:
        """As Typer's own."""
        return super().command(name, cls=Command, **kwargs)


def _remember(values: list[str] | None) -> None:
    """For the whole of this process: whichever station reads the inventory, it reads it the same way."""
    from bootstrap.inventory.user_config import allow_lookups

    allow_lookups(values or None)


def _holder(
    allow_lookups: Annotated[
        list[str] | None,
        typer.Option(
            "--allow-lookups",
            envvar="GPUCTL_ALLOW_LOOKUPS",
            help=_HELP,
            metavar="NAMES",
            callback=_remember,
            expose_value=False,
        ),
    ] = None,
) -> None:
    """Typer makes options of parameters only."""
    del allow_lookups


@cache
def _allow_lookups() -> Any:
    app = typer.Typer(add_completion=False)
    app.command()(_holder)
    return next(p for p in typer.main.get_command(app).params if p.name == "allow_lookups")
