"""What all commands that read an inventory have in common, beyond what each of them spells itself."""

from __future__ import annotations

from functools import cache
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

_LOOKUPS = "Ansible look-ups that may run although they do more than read, separated by commas."
_VAULT_FILE = "File with a password of Ansible Vault, or a program that prints it; may be given several times."


class Command(TyperCommand):
    """A command; one with --inventory has the options of reading one as well."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        names = [parameter.name for parameter in self.params]
        if any("--inventory" in parameter.opts and "-i" in parameter.opts for parameter in self.params):
            after = names.index("inventory") + 1
            self.params[after:after] = _reading()


class App(typer.Typer):
    """A tree whose commands are of that kind."""

    def command(self, name: str | None = None, **kwargs: Any) -> Any:
        """As Typer's own."""
        return super().command(name, cls=Command, **kwargs)


def _remember(values: list[str] | None) -> None:
    """For the whole of this process: whichever station reads the inventory, it reads it the same way."""
    from bootstrap.inventory.user_config import allow_lookups

    allow_lookups(values or None)


def _remember_files(values: list[str] | None) -> None:
    from dataclasses import replace

    from bootstrap.inventory import vault

    vault.remember(replace(vault.given(), files=tuple(values or ())))


def _remember_asking(value: bool) -> None:
    from dataclasses import replace

    from bootstrap.inventory import vault

    vault.remember(replace(vault.given(), ask=_ask if value else None))


def _ask() -> str:
    """Ask when the inventory is read, once. Raises GpuctlError (usage) without a terminal."""
    import getpass
    import sys

    from bootstrap.errors import usage_error

    if not (sys.stdin is not None and sys.stdin.isatty()):
        raise usage_error("--ask-vault-pass needs a terminal", "give the password with --vault-password-file")
    return getpass.getpass("Vault password: ")


def _holder(
    allow_lookups: Annotated[
        list[str] | None,
        typer.Option(
            "--allow-lookups",
            envvar="GPUCTL_ALLOW_LOOKUPS",
            help=_LOOKUPS,
            metavar="NAMES",
            callback=_remember,
            expose_value=False,
        ),
    ] = None,
    vault_password_file: Annotated[
        list[str] | None,
        typer.Option(
            "--vault-password-file",
            envvar="GPUCTL_VAULT_PASSWORD_FILE",
            help=_VAULT_FILE,
            metavar="FILE",
            callback=_remember_files,
            expose_value=False,
        ),
    ] = None,
    ask_vault_pass: Annotated[
        bool,
        typer.Option(
            "--ask-vault-pass",
            "-J",
            envvar="GPUCTL_ASK_VAULT_PASS",
            help="Ask for the password of Ansible Vault.",
            callback=_remember_asking,
            expose_value=False,
        ),
    ] = False,
) -> None:
    """Typer makes options of parameters only."""
    del allow_lookups, vault_password_file, ask_vault_pass


@cache
def _reading() -> list[Any]:
    app = typer.Typer(add_completion=False)
    app.command()(_holder)
    return [p for p in typer.main.get_command(app).params if p.name != "help"]
