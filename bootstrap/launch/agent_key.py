"""The W&B API key that a command is given on this machine."""

from __future__ import annotations

import os
from pathlib import Path

from bootstrap.errors import Problem, settings_error
from bootstrap.hostside.gpuctl_wandb import key_complaint
from bootstrap.inventory.secret import Secret
from bootstrap.plan.launch_arguments import API_KEY_VARIABLE, key_of_login

_OTHERS = 0o077


def read_key(path: Path | None, *, from_environment: bool) -> Secret:
    """The key in a file, else that in the environment if that is wanted; empty when there is none.

    Raises:
        GpuctlError: the file cannot be read, or others can read it, too (exit 3).
    """
    if path is None:
        return Secret(os.environ.get(API_KEY_VARIABLE, "").strip() if from_environment else "")
    try:
        if path.expanduser().stat().st_mode & _OTHERS:
            words = f"{path} can be read by others than its owner"
            raise settings_error(Problem("launch-key-exposed", words, f"chmod 600 {path}"))
        return Secret(path.expanduser().read_text(encoding="utf-8").strip())
    except (OSError, UnicodeDecodeError) as error:
        words = f"--api-key-file {path}: {getattr(error, 'strerror', None) or 'not UTF-8 text'}"
        raise settings_error(Problem("launch-key-missing", words, "name a file that holds the key")) from error


def key_for(base_url: str, key: Secret) -> Secret:
    """The key that was given, else the one that `wandb login` left for that server in netrc; the port counts.

    Raises:
        GpuctlError: there is none, or it cannot be one (exit 3).
    """
    found = key or key_of_login(base_url)
    if not found:
        fix = "set WANDB_API_KEY, give --api-key-file, or run `wandb login`"
        raise settings_error(Problem("launch-key-missing", f"there is no W&B API key for {base_url}", fix))
    if words := key_complaint(found):
        raise settings_error(Problem("launch-key-invalid", words, "copy the key anew from your W&B settings page"))
    return found
