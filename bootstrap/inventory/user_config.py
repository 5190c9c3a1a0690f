"""What a user decided for all inventories: gpuctl's own file of settings, and the look-ups that were allowed.

`~/.config/gpuctl/config.yml` (or below XDG_CONFIG_HOME) is a mapping; it has one key so far:

    allow_lookups: [community.hashi_vault.hashi_vault]
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from bootstrap.errors import GpuctlError, Problem, settings_error

_MOST_BYTES = 64 * 1024
_KEYS = ("allow_lookups",)
# The option of the command that runs, once it was parsed; None where there is none, as under plain ansible-playbook.
_given: list[tuple[str, ...] | None] = [None]


def allow_lookups(given: Iterable[str] | None) -> None:
    """Remember what the command line (or GPUCTL_ALLOW_LOOKUPS, through it) allows for the rest of this process."""
    _given[0] = None if given is None else names(given)


def allowed_lookups() -> frozenset[str]:
    """The look-ups that may run although they do more than read.

    Raises:
        GpuctlError: the file of settings cannot be used (exit 3).
    """
    given = names([os.environ.get("GPUCTL_ALLOW_LOOKUPS", "")]) if _given[0] is None else _given[0]
    return frozenset({*given, *_configured(config_file())})


def names(values: Iterable[str]) -> tuple[str, ...]:
    """Names given with several options, with commas, or both."""
    return tuple(part for value in values for part in value.replace(",", " ").split())


def config_file() -> Path:
    """Where the user's settings are; it need not exist."""
    base = os.environ.get("XDG_CONFIG_HOME", "")
    folder = Path(base) if base.startswith("/") else Path(os.path.expanduser("~/.config"))  # noqa: PTH111 - never raises
    return folder / "gpuctl" / "config.yml"


def _configured(path: Path) -> tuple[str, ...]:
    settings = _read(path)
    found = settings.get("allow_lookups") or ()
    values = [found] if isinstance(found, str) else found
    if not isinstance(values, list | tuple) or not all(isinstance(value, str) for value in values):
        raise _wrong(path, "`allow_lookups` is no list of names", "write allow_lookups: [NAME, NAME]")
    return names(values)


def _read(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as stream:
            _refuse_foreign(path, os.fstat(stream.fileno()))
            text = stream.read(_MOST_BYTES + 1)
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as error:
        raise _wrong(path, error.strerror or "cannot be read", f"make {path} readable, or remove it") from error
    if len(text) > _MOST_BYTES:
        raise _wrong(path, f"it is larger than {_MOST_BYTES // 1024} KiB", "keep only gpuctl's settings in it")
    try:
        found = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        place = f" in line {mark.line + 1}" if mark else ""
        raise _wrong(path, f"it is no YAML{place}", "correct it; it is a mapping of settings") from error
    if found is None:
        return {}
    if not isinstance(found, dict) or set(found) - set(_KEYS):
        raise _wrong(path, "it holds what is no setting of gpuctl", f"the settings are: {', '.join(_KEYS)}")
    return found


def _refuse_foreign(path: Path, status: os.stat_result) -> None:
    """Who can write this file decides which programs run as this user."""
    if status.st_uid not in {0, os.geteuid()}:
        problem = Problem("user-settings-unsafe", f"{path} belongs to another user", f"chown {os.geteuid()} {path}")
        raise settings_error(problem)
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise settings_error(Problem("user-settings-unsafe", f"{path} can be written by others", f"chmod go-w {path}"))


def _wrong(path: Path, message: str, fix: str) -> GpuctlError:
    return settings_error(Problem("user-settings-invalid", f"{path}: {message}", fix))
