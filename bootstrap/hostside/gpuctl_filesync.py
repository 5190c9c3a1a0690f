"""Rendered files on a host: write what differs, remember what was there, put it back.

Standard library only, Python 3.8 and later: this code runs on the hosts.
"""

from __future__ import annotations

import difflib
import fnmatch
import os
import stat
import tempfile
from typing import Any, Dict, List, Mapping, Optional, Sequence

from . import gpuctl_receipts as receipts
from .gpuctl_deletion import delete_tree, transient, unmount_below
from .gpuctl_hostio import HostError, missing_folders, read_bytes, read_text, run, same_metadata, write_atomic

BEGIN = "# BEGIN gpuctl"
END = "# END gpuctl"


class Wanted:
    """One file to have: where, its bytes, permissions, and the command that must accept it ("%s": the file)."""

    def __init__(self, entry: Mapping[str, Any]) -> None:
        self.dest = str(entry["dest"])
        self.content = str(entry["content"])
        self.mode = int(str(entry.get("mode") or "0644"), 8)
        self.owner = str(entry.get("owner") or "root")
        self.group = str(entry.get("group") or "root")
        self.validate: List[str] = [str(word) for word in entry.get("validate") or ()]
        self.block = bool(entry.get("block"))
        self.secret = bool(entry.get("secret"))  # its content is in no diff

    def bytes_over(self, old: Optional[bytes]) -> bytes:
        """What the file shall hold, given what it holds now (a block leaves the other lines alone)."""
        if not self.block:
            return self.content.encode()
        return with_block((old or b"").decode("utf-8", "surrogateescape"), self.content).encode(
            "utf-8", "surrogateescape"
        )


def without_block(text: str) -> str:
    """The text without gpuctl's block."""
    lines, kept, inside = text.splitlines(keepends=True), [], False
    for line in lines:
        if line.startswith(BEGIN):
            inside = True
        if not inside:
            kept.append(line)
        if line.startswith(END):
            inside = False
    return "".join(kept)


def with_block(text: str, body: str) -> str:
    """The text with gpuctl's block at its end, replaced where it stands if it is there; no block for an empty body."""
    if not body.strip():
        return without_block(text)
    block = f"{BEGIN}\n{body.rstrip()}\n{END}\n"
    head, begin, rest = text.partition(BEGIN)
    if begin and END in rest:
        tail = rest.split(END, 1)[1]
        return head + block + without_block(tail[1:] if tail.startswith("\n") else tail)
    rest_of_it = without_block(text)
    return rest_of_it + ("" if rest_of_it.endswith("\n") or not rest_of_it else "\n") + block


def sync(component: str, files: Sequence[Wanted], absent: Sequence[str], check: bool) -> Dict[str, Any]:
    """Write what differs and remove what must not be there; {"changed_files": [...], "diff": [...]}.

    All files are checked by their validator before the first one is replaced. HostError config-invalid.
    """
    differing = [wanted for wanted in files if _differs(wanted)]
    extra = [path for path in absent if os.path.lexists(path)]
    diff = [_diff(wanted.dest, wanted.bytes_over(read_bytes(wanted.dest))) for wanted in differing if not wanted.secret]
    diff += [_diff(path, b"") for path in extra]
    if not check:
        for wanted in differing:
            _validate(wanted)
        for wanted in differing:
            _write(component, wanted)
        for path in extra:
            receipts.remember_file(component, path)
            os.unlink(path)
    return {"changed_files": [wanted.dest for wanted in differing] + extra, "diff": diff}


def _differs(wanted: Wanted) -> bool:
    old = read_bytes(wanted.dest)
    if old is None or os.path.islink(wanted.dest) or old != wanted.bytes_over(old):
        return True
    return not wanted.block and not same_metadata(wanted.dest, wanted.mode, wanted.owner, wanted.group)


def _diff(path: str, new: bytes) -> Dict[str, str]:
    old = read_text(path)
    lines = difflib.unified_diff(old.splitlines(True), new.decode("utf-8", "replace").splitlines(True), path, path)
    return {"prepared": "".join(lines)}


def _validate(wanted: Wanted) -> None:
    if not wanted.validate:
        return
    with tempfile.NamedTemporaryFile(prefix="gpuctl-", suffix=os.path.basename(wanted.dest)) as trial:
        trial.write(wanted.content.encode())
        trial.flush()
        done = run([word.replace("%s", trial.name) for word in wanted.validate], 60)
    if done.rc != 0:
        raise HostError(
            "config-invalid",
            f"{wanted.validate[0]} does not accept the new {wanted.dest}: {done.tail(1)}",
            "check the settings that it is made from; the file on the host was not changed",
            done.tail(),
        )


def _write(component: str, wanted: Wanted) -> None:
    for folder in missing_folders(wanted.dest):
        receipts.remember_before(component, "folders", folder)
    mode, owner, group = wanted.mode, wanted.owner, wanted.group
    old = read_bytes(wanted.dest)
    if wanted.block:
        receipts.remember_before(component, "blocks", wanted.dest)
        if old is not None:
            mode = stat.S_IMODE(os.stat(wanted.dest).st_mode)
    else:
        receipts.remember_file(component, wanted.dest)
    try:
        _replace(wanted.dest, wanted.bytes_over(old), mode, owner, group)
    except OSError as error:
        raise HostError("step-failed", f"cannot write {wanted.dest}: {error.strerror}") from error


def _replace(path: str, data: bytes, mode: int, owner: str = "root", group: str = "root") -> None:
    if os.path.ismount(path):  # as /etc/hosts is in containers: it cannot be renamed over, only written to
        with open(path, "wb") as stream:
            stream.write(data)
        return
    write_atomic(path, data, mode, owner, group)


def restore(component: str, check: bool) -> List[str]:
    """Put every file, block and folder back as it was before the component came; the paths that changed."""
    before = receipts.read_before(component)
    changed = [path for path, saved in before["files"].items() if _restore_file(path, saved, check)]
    changed += [path for path in before.get("blocks", {}) if _remove_block(path, check)]
    return changed + remove_folders(component, check)


def remove_folders(component: str, check: bool) -> List[str]:
    """Remove the folders that came with the component and are empty; which."""
    changed = []
    for folder in sorted(receipts.read_before(component).get("folders", {}), key=len, reverse=True):
        if os.path.isdir(folder) and not os.listdir(folder):
            changed.append(folder)
            if not check:
                os.rmdir(folder)
    return changed


def prune(component: str, patterns: Sequence[str], kept: Sequence[str], check: bool) -> List[str]:
    """Put back what the component wrote earlier, matches a pattern and is no longer wanted; the paths that changed."""
    before = receipts.read_before(component)["files"]
    stale = {
        path: saved
        for path, saved in before.items()
        if path not in kept and any(fnmatch.fnmatchcase(path, pattern) for pattern in patterns)
    }
    return [path for path, saved in stale.items() if _restore_file(path, saved, check)]


def _restore_file(path: str, saved: Mapping[str, Any], check: bool) -> bool:
    if _is_back(path, saved):
        return False
    if not check:
        if saved.get("backup"):
            os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
        receipts.restore_file(path, saved)
    return True


def _remove_block(path: str, check: bool) -> bool:
    old = read_text(path)
    if without_block(old) == old:
        return False
    if not check:
        _replace(path, without_block(old).encode(), stat.S_IMODE(os.stat(path).st_mode))
    return True


def _is_back(path: str, saved: Mapping[str, Any]) -> bool:
    if saved.get("backup"):
        return read_bytes(path) == read_bytes(str(saved["backup"]))
    if saved.get("link"):
        return os.path.islink(path) and os.readlink(path) == saved["link"]
    return not os.path.lexists(path)


# What a container runtime mounts below its folders; anything else there is somebody's disk.
_RUNTIME_MOUNTS = transient(("overlay", "tmpfs", "nsfs", "proc", "mqueue", "fuse.fuse-overlayfs"))


def remove_trees(roots: Sequence[str], check: bool) -> List[str]:
    """Empty these folders and remove them where they are not mount points; what a runtime mounted is unmounted first.

    HostError delete-refused where something else is mounted below, or a link stands in the way.
    """
    changed = []
    for root in roots:
        if not os.path.isdir(root) or (os.path.ismount(root) and not os.listdir(root)):
            continue
        changed.append(root)
        if check:
            continue
        unmount_below(root, _RUNTIME_MOUNTS)
        delete_tree(root, keep=True)
        if not os.path.ismount(root):
            os.rmdir(root)
    return changed
