"""Delete trees on a host: never through a mount or a link, and never where somebody else could put one in between.

Standard library only, Python 3.8 and later: this code runs on the hosts.
"""

from __future__ import annotations

import contextlib
import os
import re
import stat
from typing import Callable, List, NamedTuple, Optional, Sequence

from .gpuctl_hostio import HostError, read_text, run
from .gpuctl_programs import has_members

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_DEEPEST = 64  # open folders at a time; what lies deeper is moved up first
_FIX = "look what it is; move it away or unmount it, then run the same command again"


class Mount(NamedTuple):
    """A line of /proc/self/mountinfo: where, and of which type."""

    point: str
    kind: str


def mounts() -> List[Mount]:
    """Everything that is mounted here, with blanks and the like in paths as they are (mountinfo has them in octal)."""
    found = []
    for line in read_text("/proc/self/mountinfo").splitlines():
        fields, _, rest = line.partition(" - ")
        if len(fields.split(" ")) > 4 and rest:
            found.append(Mount(_unescaped(fields.split(" ")[4]), rest.split(" ")[0]))
    return found


def _unescaped(path: str) -> str:
    """Octal escapes stand for bytes, of which several make a letter."""
    raw = path.encode("utf-8", "surrogateescape")
    return os.fsdecode(re.sub(rb"\\([0-3][0-7]{2})", lambda found: bytes([int(found.group(1), 8)]), raw))


def mounts_below(root: str) -> List[Mount]:
    """What is mounted strictly below a folder, the innermost first."""
    inside = root.rstrip("/") + "/"
    return sorted((m for m in mounts() if m.point.startswith(inside)), key=lambda m: len(m.point), reverse=True)


def unmount_below(root: str, ours: Callable[[Mount], bool]) -> None:
    """Unmount below a folder what the component itself has mounted there.

    Raises:
        HostError: delete-refused: something else is mounted there (nothing was unmounted), or it cannot be unmounted.
    """
    found = mounts_below(root)
    foreign = [m.point for m in found if not ours(m)]
    if foreign:
        raise HostError("delete-refused", f"{foreign[0]} is mounted below {root}, which is to be deleted", _FIX)
    for mount in found:
        done = run(["umount", "--", mount.point], 60)
        if done.rc != 0:
            raise HostError("delete-refused", f"cannot unmount {mount.point}: {done.tail(1)}", "end what still uses it")


def delete_tree(path: str, *, keep: bool = False) -> None:
    """Delete a folder with all that is in it, or just its content (`keep`, also where it is a mount point itself).

    A file goes likewise; what is not there is no error. Nothing is deleted that lies on another mount.

    Raises:
        HostError: delete-refused: the folder or one above it is a link, or one that others may write to, or something
            is mounted below; nothing was deleted then.
    """
    folder, name = os.path.split(os.path.normpath(path))
    if not os.path.isabs(path) or not name:
        raise HostError("delete-refused", f"{path} is no path of a file or folder", _FIX)
    parent = _open_folder(folder)
    if parent is None:
        return
    try:
        _refuse_open_to_others(parent, folder, name)
        found = _status(name, parent)
        if found is None:
            return
        if stat.S_ISLNK(found.st_mode) and keep:
            raise HostError("delete-refused", f"{path} is a link, and what it leads to is not deleted", _FIX)
        if not stat.S_ISDIR(found.st_mode):
            os.unlink(name, dir_fd=parent)
            return
        below = mounts_below(os.path.normpath(path))
        if below:
            raise HostError("delete-refused", f"{below[0].point} is mounted below {path}, which is to be deleted", _FIX)
        itself = os.open(name, _FOLDER, dir_fd=parent)
        try:
            if not keep and _mount_id(itself) != _mount_id(parent):
                raise HostError("delete-refused", f"{path} is a mount point", _FIX)
            _empty(itself, path)
        finally:
            os.close(itself)
        if not keep:
            os.rmdir(name, dir_fd=parent)
    finally:
        os.close(parent)


def identity(path: str) -> Optional[str]:
    """What a folder is, whatever is mounted there later: its file system and its number in it; None without one."""
    try:
        handle = os.open(path, _FOLDER)
    except OSError:
        return None
    try:
        return "%x:%d" % (os.fstatvfs(handle).f_fsid, os.fstat(handle).st_ino)
    finally:
        os.close(handle)


def _open_folder(path: str) -> Optional[int]:
    """The folder, reached over folders that only root may change; None when it is not there. Raises HostError."""
    handle = os.open("/", _FOLDER)
    walked = "/"
    for part in [part for part in path.split("/") if part]:
        _refuse_open_to_others(handle, walked, part)
        walked = os.path.join(walked, part)
        found = _status(part, handle)
        try:
            if found is None:
                return None
            if stat.S_ISLNK(found.st_mode):
                raise HostError("delete-refused", f"{walked} is a link, and what it leads to is not deleted", _FIX)
            inner = os.open(part, _FOLDER, dir_fd=handle)
        finally:
            os.close(handle)
        handle = inner
    return handle


def _refuse_open_to_others(handle: int, path: str, inner: str) -> None:
    """Who may write to a folder can put a link in the place of what is in it; in a sticky one, of what is theirs."""
    found = os.fstat(handle)
    trusted = (0, os.geteuid())
    group_writes = found.st_mode & stat.S_IWGRP and has_members(found.st_gid)
    if found.st_uid in trusted and not (group_writes or found.st_mode & stat.S_IWOTH):
        return
    child = _status(inner, handle)
    if found.st_mode & stat.S_ISVTX and found.st_uid in trusted and (child is None or child.st_uid in trusted):
        return
    raise HostError("delete-refused", f"others than root may write to {path}: nothing is deleted below it", _FIX)


def _status(name: str, folder: int) -> Optional[os.stat_result]:
    try:
        return os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return None


def _mount_id(handle: int) -> str:
    """Which mount an open folder lies on: tells bind mounts apart, too, which share their device."""
    for line in read_text("/proc/self/fdinfo/%d" % handle).splitlines():
        if line.startswith("mnt_id:"):
            return line.split()[1]
    return "device %d" % os.fstat(handle).st_dev


def _empty(top: int, path: str) -> None:
    """Delete all that is in an open folder. A tree that is too deep for open files is moved up in parts."""
    moved = 0
    while True:
        deep = _empty_once(top, path, top, _mount_id(top), 0, moved)
        if deep == moved:
            return
        moved = deep


def _empty_once(handle: int, path: str, top: int, mount: str, depth: int, moved: int) -> int:
    for name in os.listdir(handle):
        found = _status(name, handle)
        if found is None:
            continue
        if not stat.S_ISDIR(found.st_mode):
            os.unlink(name, dir_fd=handle)
            continue
        inner = os.open(name, _FOLDER, dir_fd=handle)
        try:
            if _mount_id(inner) != mount:
                raise HostError("delete-refused", f"{os.path.join(path, name)} has been mounted meanwhile", _FIX)
            if depth < _DEEPEST:
                moved = _empty_once(inner, os.path.join(path, name), top, mount, depth + 1, moved)
        finally:
            os.close(inner)
        if depth < _DEEPEST:
            _remove_folder(name, handle)
        else:
            moved += 1
            os.rename(name, ".gpuctl-delete-%d-%d" % (os.getpid(), moved), src_dir_fd=handle, dst_dir_fd=top)
    return moved


def _remove_folder(name: str, folder: int) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.rmdir(name, dir_fd=folder)


def transient(kinds: Sequence[str]) -> Callable[[Mount], bool]:
    """For unmount_below: mounts of these types are the component's own."""
    return lambda mount: mount.kind in kinds
