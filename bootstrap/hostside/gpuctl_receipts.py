"""Receipts: what each component left on this host, and what was there before. Writes are atomic, 0600 in 0700."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import stat
import tempfile
from datetime import datetime, timezone
from typing import Any, Mapping

from .gpuctl_base import listdir, read_line

SCHEMA = 1
BASE = "/var/lib/gpuctl"
BEGUN = "begun"
COMPLETE = "complete"


def now_utc() -> str:
    """The time now, UTC, ISO 8601 to the second."""
    return datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def machine_id() -> str | None:
    """/etc/machine-id, or None when it cannot be read."""
    return read_line("/etc/machine-id")


def write_atomic(path: str, data: bytes, mode: int = 0o600) -> None:
    """Write a file so that a reader, or a crash, sees the old or the new content whole. Raises OSError."""
    folder = os.path.dirname(path)
    os.makedirs(folder, mode=0o700, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=folder, prefix=".gpuctl-")
    try:
        with os.fdopen(handle, "wb") as out:
            os.fchmod(out.fileno(), mode)
            out.write(data)
            out.flush()
            os.fsync(out.fileno())
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def _path(base: str, folder: str, component: str) -> str:
    if not component or "/" in component or component.startswith("."):
        raise ValueError("not a component name: %r" % component)
    return os.path.join(base, folder, component + ".json")


def _read(path: str) -> dict[str, Any] | None:
    try:
        with open(path, encoding="utf-8") as handle:
            found = json.load(handle)
    except FileNotFoundError:
        return None
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _write(path: str, content: Mapping[str, Any]) -> None:
    write_atomic(path, (json.dumps(content, sort_keys=True, indent=1) + "\n").encode())


def read(component: str, base: str = BASE) -> dict[str, Any] | None:
    """One receipt; None when there is none; a damaged one reads as state "damaged". Raises OSError when unreadable."""
    found = _read(_path(base, "receipts", component))
    if found is None:
        return None
    return found if found.get("component") == component else {"component": component, "state": "damaged"}


def read_all(base: str = BASE) -> dict[str, dict[str, Any]]:
    """All receipts on the host by component; empty when the folder is not there."""
    receipts = {}
    for name in listdir(os.path.join(base, "receipts")):
        if name.endswith(".json") and not name.startswith("."):
            found = read(name[:-5], base)
            if found is not None:
                receipts[name[:-5]] = found
    return receipts


def known_arguments(receipt: Mapping[str, Any]) -> Mapping[str, Any]:
    """The arguments that were last installed to the end: name → {"digest", "value"}; empty when there were none."""
    found = receipt.get("arguments" if receipt.get("state") == COMPLETE else "installed")
    return found if isinstance(found, dict) else {}


def begin(receipt: Mapping[str, Any], base: str = BASE) -> dict[str, Any]:
    """Write a receipt as begun, stamped with schema, machine-id and time; returns what was written. Raises OSError.

    `installed` keeps the arguments of the last complete receipt, for the case that this run does not get to its end.
    """
    path = _path(base, "receipts", str(receipt["component"]))
    written = dict(receipt, schema=SCHEMA, state=BEGUN, machine_id=machine_id(), began_at=now_utc(), completed_at=None)
    written.setdefault("evidence", {})
    written["installed"] = known_arguments(_read(path) or {})
    _write(path, written)
    return written


def begin_role(component: str, told: Mapping[str, Any], run: str, base: str = BASE) -> dict[str, Any]:
    """Begin a host component's receipt; what the last one knew of GPUs and versions stays known. Raises OSError.

    `told`: evidence_spec, revision and arguments, from the controller; `run` names the run.
    """
    known = read(component, base) or {}
    kept: dict[str, Any] = {key: known[key] for key in ("gpus", "versions", "cluster_id") if key in known}
    return begin(dict(kept, component=component, run=run, **told), base)


def complete(component: str, evidence: Mapping[str, str], base: str = BASE, **more: Any) -> dict[str, Any]:
    """Mark the begun receipt complete with the evidence as it stands; `more` are further keys (versions, gpus …).

    Raises LookupError when nothing was begun.
    """
    path = _path(base, "receipts", component)
    receipt = _read(path)
    if not receipt:
        raise LookupError("no receipt of %s was begun" % component)
    receipt.update(more)
    receipt.update(evidence=dict(evidence), state=COMPLETE, completed_at=now_utc())
    receipt.pop("installed", None)
    _write(path, receipt)
    return receipt


def remove(component: str, base: str = BASE) -> bool:
    """Forget a component: its receipt, what was before, and the saved files. Whether there was anything."""
    known = False
    for folder in ("receipts", "before"):
        path = _path(base, folder, component)
        if os.path.exists(path):
            os.unlink(path)
            known = True
    shutil.rmtree(os.path.join(base, "before", "files", component), ignore_errors=True)
    return known


def read_before(component: str, base: str = BASE) -> dict[str, Any]:
    """What was there before: {"packages_absent": [..], "files": {}, "sysctls": {}, "units": {}, "fstab": {}}."""
    found = _read(_path(base, "before", component)) or {}
    found.setdefault("packages_absent", [])
    for kind in ("files", "sysctls", "units", "fstab"):
        found.setdefault(kind, {})
    return found


def remember_before(component: str, kind: str, key: str, value: Any = None, base: str = BASE) -> bool:
    """Note how something was before the first change; whether it was noted. An earlier note is never overwritten.

    kind: packages_absent (key = package, no value), files, sysctls, units, fstab.
    """
    before = read_before(component, base)
    if kind == "packages_absent":
        if key in before[kind]:
            return False
        before[kind].append(key)
    else:
        if key in before.setdefault(kind, {}):
            return False
        before[kind][key] = value
    _write(_path(base, "before", component), before)
    return True


def renew_before(component: str, kind: str, key: str, value: Any, base: str = BASE) -> None:
    """Write one note anew: for what it says besides how something was."""
    before = read_before(component, base)
    if before.setdefault(kind, {}).get(key) != value:
        before[kind][key] = value
        _write(_path(base, "before", component), before)


def forget_before(component: str, kind: str, key: str, base: str = BASE) -> None:
    """Drop one note, once that is as it was again."""
    before = read_before(component, base)
    if before.get(kind, {}).pop(key, None) is not None:
        _write(_path(base, "before", component), before)


def remember_file(component: str, path: str, base: str = BASE) -> bool:
    """Save a file (content, mode, owner), or that it was absent, before its first change; whether it was noted."""
    if path in read_before(component, base)["files"]:
        return False
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        return remember_before(component, "files", path, {"backup": None, "mode": None, "owner": None}, base)
    if stat.S_ISLNK(found.st_mode):
        link = {"backup": None, "link": os.readlink(path), "mode": None, "owner": None}
        return remember_before(component, "files", path, link, base)
    backup = os.path.join(base, "before", "files", component, hashlib.sha256(path.encode()).hexdigest()[:16])
    with open(path, "rb") as handle:
        write_atomic(backup, handle.read())
    owner = "%d:%d" % (found.st_uid, found.st_gid)
    value = {"backup": backup, "mode": "%04o" % stat.S_IMODE(found.st_mode), "owner": owner}
    return remember_before(component, "files", path, value, base)


def restore_file(path: str, saved: Mapping[str, Any]) -> bool:
    """Put a file back as `remember_file` found it, or remove it; whether anything changed. Raises OSError."""
    if saved.get("backup"):
        with open(saved["backup"], "rb") as handle:
            data = handle.read()
        os.makedirs(os.path.dirname(path), exist_ok=True)
        write_atomic(path, data, int(saved["mode"], 8))
        uid, gid = saved["owner"].split(":")
        os.chown(path, int(uid), int(gid))
        return True
    if os.path.lexists(path):
        os.unlink(path)
        if saved.get("link"):
            os.symlink(saved["link"], path)
        return True
    return False
