"""Options that several commands have, spelled once. Each has an environment variable GPUCTL_*."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from bootstrap.access import Access
from bootstrap.cli.session import Output, Session, home_file
from bootstrap.errors import usage_error

Inventory = Annotated[
    Path,
    typer.Option(
        "--inventory", "-i", envvar="GPUCTL_INVENTORY", help="Inventory: a file or directory.", metavar="PATH"
    ),
]
OutputForm = Annotated[Output, typer.Option("--output", envvar="GPUCTL_OUTPUT", help="Form of the answer on stdout.")]
Limit = Annotated[
    list[str] | None,
    typer.Option(
        "--limit",
        envvar="GPUCTL_LIMIT",
        help="Hosts or groups that may change, separated by commas; all hosts are looked at.",
        metavar="HOSTS",
    ),
]
SkipUnreachable = Annotated[
    bool,
    typer.Option(
        "--skip-unreachable",
        envvar="GPUCTL_SKIP_UNREACHABLE",
        help="Leave out hosts that cannot be reached; they are no failure.",
    ),
]
AcceptKeys = Annotated[
    bool,
    typer.Option(
        "--accept-new-host-keys",
        envvar="GPUCTL_ACCEPT_NEW_HOST_KEYS",
        help="Trust the ssh keys of hosts not seen before, and remember them.",
    ),
]
AskPassword = Annotated[
    bool, typer.Option("--ask-become-pass", "-K", envvar="GPUCTL_ASK_BECOME_PASS", help="Ask for the sudo password.")
]
PasswordFile = Annotated[
    Path | None,
    typer.Option(
        "--become-password-file",
        envvar="GPUCTL_BECOME_PASSWORD_FILE",
        help="File with the sudo password in its first line; - for stdin.",
        metavar="FILE",
    ),
]
Kubeconfig = Annotated[
    Path | None,
    typer.Option(
        "--kubeconfig",
        envvar="GPUCTL_KUBECONFIG",
        help="Kubeconfig to merge into.  [default: first of $KUBECONFIG, else ~/.kube/config]",
        metavar="FILE",
    ),
]
Yes = Annotated[bool, typer.Option("--yes", "-y", envvar="GPUCTL_YES", help="Do it without asking.")]
LabName = Annotated[str, typer.Option("--name", envvar="GPUCTL_TESTVM_NAME", help="Name of the lab.", metavar="NAME")]


def session_of(context: typer.Context) -> Session:
    """The session that main() made."""
    session = context.obj
    if not isinstance(session, Session):
        raise TypeError("commands run under main()")
    return session


def names(values: list[str] | None) -> tuple[str, ...]:
    """Names given with several options, with commas, or both; each once, in order."""
    parts = (part.strip() for value in values or () for part in value.split(","))
    return tuple(dict.fromkeys(part for part in parts if part))


def access(session: Session, *, accept_keys: bool, ask: bool, password_file: Path | None) -> Access:
    """How to get onto the hosts. Raises GpuctlError (usage) when it cannot be had."""
    if ask and password_file:
        raise usage_error("--ask-become-pass and --become-password-file exclude one another", "give one of them")
    password = _ask() if ask else _read(password_file) if password_file else None
    session.redactor.add(password)
    return Access(password, accept_keys)


def _ask() -> str:
    import getpass

    if not (sys.stdin is not None and sys.stdin.isatty()):
        raise usage_error("--ask-become-pass needs a terminal", "give the password with --become-password-file")
    return getpass.getpass("sudo password: ")


def _read(path: Path) -> str:
    try:
        text = sys.stdin.readline() if str(path) == "-" else path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise usage_error(f"--become-password-file {path}: {reason}", "name a file that holds the password") from error
    password = text.split("\n", 1)[0].rstrip("\r")
    if not password:
        raise usage_error(f"--become-password-file {path}: its first line is empty", "put the password there")
    return password


def certificate_user(given: str) -> str:
    """The name in a client certificate: as given, else the login name. Raises GpuctlError (usage)."""
    import getpass
    import re

    from bootstrap.kube.client_certificate import is_user_name

    if given and not is_user_name(given):
        raise usage_error(f"--user-name {given!r} is not usable in a certificate", "use letters, digits and ._@-")
    try:
        login = re.sub(r"[^A-Za-z0-9._@-]", "-", getpass.getuser()).lstrip("._@-")[:63]
    except (KeyError, OSError):  # a user that the system does not know by name
        login = ""
    return given or login or "gpuctl"


def kubeconfig_path(given: Path | None) -> Path:
    """The kubeconfig to merge into: as given, else the first file of $KUBECONFIG, else ~/.kube/config."""
    if given is not None:
        return given.expanduser()
    for entry in os.environ.get("KUBECONFIG", "").split(os.pathsep):
        if entry:
            return Path(entry).expanduser()
    return home_file(".kube", "config")
