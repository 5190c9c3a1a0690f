"""The file of a kubeconfig: read, locked as kubectl locks it, and replaced with its owner and mode kept."""

from __future__ import annotations

import contextlib
import json
import os
import stat
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from bootstrap.errors import GpuctlError, Problem, settings_error

_LOCK_WAIT_S = 10.0  # kubectl holds its lock for as long as it takes to write a file
_POLL_S = 0.05
# What the constructors of YAML raise for a value of a strange form: a date, a number, a tag.
_ODD_VALUES = (yaml.YAMLError, ValueError, TypeError, AttributeError, LookupError, ArithmeticError)


def searched(path: Path, environ: Mapping[str, str]) -> tuple[Path, ...]:
    """The files that kubectl merges when it is to see `path`: all of KUBECONFIG if that names it, else it alone."""
    named = [Path(part).expanduser() for part in environ.get("KUBECONFIG", "").split(os.pathsep) if part]
    return tuple(dict.fromkeys(named)) if path in named else (path,)


def current_context(files: Sequence[Path], instead: Mapping[Path, Mapping[str, Any]]) -> str:
    """The current context over several files, as kubectl has it: the first that names one decides; empty without.

    `instead` are contents to take for files that are about to be written. What cannot be read is passed over.
    """
    for path in files:
        try:
            found = (instead[path] if path in instead else load(path)).get("current-context")
        except GpuctlError:
            continue
        if found:
            return str(found)
    return ""


def load(path: Path) -> dict[str, Any]:
    """The kubeconfig in a file, YAML or JSON; empty when there is none.

    Raises:
        GpuctlError: it cannot be read, or is not a kubeconfig (exit 3).
    """
    try:
        loaded = _parsed(path.read_text(encoding="utf-8-sig")) if path.exists() else {}
    except (OSError, *_ODD_VALUES) as error:
        raise unusable(path, str(error) or "it is no YAML") from error
    except RecursionError as error:
        raise unusable(path, "it is nested too deep") from error
    if loaded is None:
        return {}
    if not isinstance(loaded, dict) or not all(
        _is_list_of_entries(loaded.get(section)) for section in ("clusters", "users", "contexts")
    ):
        raise unusable(path, "it is not a kubeconfig")
    return loaded


def _parsed(text: str) -> Any:
    """JSON may have tabs where YAML has none."""
    if text.lstrip().startswith("{"):
        with contextlib.suppress(ValueError):
            return json.loads(text)
    return yaml.safe_load(text)


def _is_list_of_entries(section: Any) -> bool:
    """A list of mappings, or nothing at all."""
    return section is None or (isinstance(section, list) and all(isinstance(item, dict) for item in section))


def write(path: Path, config: Mapping[str, Any]) -> None:
    """Replace the file in one step. Owner and mode stay, but others' access goes: it holds a key. A new one is 0600.

    A symbolic link keeps pointing where it did; in a folder of another user's a new file is that user's.

    Raises:
        GpuctlError: it cannot be written (exit 3); it is as it was.
    """
    target = path.resolve()
    try:
        old = target.stat() if target.exists() else None
        owner = old or target.parent.stat()
    except OSError as error:
        raise unusable(path, str(error)) from error
    if old and not stat.S_IMODE(old.st_mode) & stat.S_IWUSR:
        fix = f"chmod u+w {path}, or name another with --kubeconfig"
        raise settings_error(Problem("kubeconfig-unusable", f"{path}: it is read-only, and was left as it is", fix))
    try:
        handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    except OSError as error:
        raise unusable(path, str(error)) from error
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            yaml.safe_dump(dict(config), stream, sort_keys=False)
            stream.flush()
            os.fsync(stream.fileno())
        group = _hand_over(name, owner) if old or os.geteuid() == 0 else True
        mode = kept_mode(old.st_mode) if old else 0o600
        Path(name).chmod(mode if group else mode & ~0o070)
        Path(name).replace(target)
    except BaseException as error:  # Ctrl-C, too, leaves no second copy of the key
        Path(name).unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise unusable(path, str(error)) from error
        raise


def _hand_over(name: str, owner: os.stat_result) -> bool:
    """Give a file to the owner and group of another; False if not to the group, of which we are no member."""
    made = Path(name).stat()
    if (made.st_uid, made.st_gid) == (owner.st_uid, owner.st_gid):
        return True
    try:
        os.chown(name, owner.st_uid, owner.st_gid)
    except PermissionError:
        if made.st_uid != owner.st_uid:
            raise
        return False
    return True


def kept_mode(mode: int) -> int:
    """The mode that a file keeps: a group's access is somebody's decision, everybody's is an oversight."""
    bits = stat.S_IMODE(mode)
    return 0o600 if bits & 0o007 else bits


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Keep kubectl, and other runs of ours, out of the file: the lock is kubectl's own, gone again afterwards.

    Raises:
        GpuctlError: the folder cannot be written, or the lock is not given up within 10 s (exit 3).
    """
    lock = path.parent / f"{path.name}.lock"
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        _take(lock)
    except OSError as error:
        raise unusable(path, str(error)) from error
    try:
        yield
    finally:
        lock.unlink(missing_ok=True)
        (path.parent / f".{path.name}.gpuctl-lock").unlink(missing_ok=True)  # an earlier gpuctl's


def _take(lock: Path) -> None:
    deadline = time.monotonic() + _LOCK_WAIT_S
    while True:
        try:
            os.close(os.open(lock, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
            return
        except FileExistsError as error:
            if time.monotonic() > deadline:
                words = f"{lock} is there, as while kubectl writes; it did not go within {_LOCK_WAIT_S:.0f} s"
                fix = f"if no kubectl runs, one was killed: rm {lock}"
                raise settings_error(Problem("kubeconfig-unusable", words, fix)) from error
            time.sleep(_POLL_S)


def unusable(path: Path, why: str) -> GpuctlError:
    """The error of a kubeconfig that cannot be read or written."""
    return settings_error(
        Problem("kubeconfig-unusable", f"{path}: {why}", "mend or move the file, or name another with --kubeconfig")
    )
