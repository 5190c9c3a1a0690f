"""Write cpio archives in the form that Linux unpacks as an initial root file system."""

from __future__ import annotations

import stat
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath

_ALIGNMENT = 4  # of the form "newc": Documentation/driver-api/early-userspace/buffer-format.rst of Linux


@dataclass(frozen=True, slots=True)
class Member:
    """A directory (`data` is empty) or a file; `mode` includes the type."""

    name: str
    mode: int
    data: bytes = b""


def members(files: Mapping[str, tuple[bytes, int]], private: Iterable[str] = ()) -> tuple[Member, ...]:
    """Members for files (path without the leading slash → content, permissions), their directories first.

    Directories have mode 0755; those below (and at) the paths in `private` have 0700.
    """
    closed = frozenset(private)
    parents = {str(p) for name in files for p in PurePosixPath(name).parents if str(p) != "."}

    def mode(name: str) -> int:
        ways = {name, *map(str, PurePosixPath(name).parents)}
        return 0o700 if ways & closed else 0o755

    folders = [Member(name, stat.S_IFDIR | mode(name)) for name in sorted(parents)]
    return (*folders, *(Member(name, stat.S_IFREG | bits, data) for name, (data, bits) in sorted(files.items())))


def archive(content: Iterable[Member]) -> bytes:
    """The archive; archives may follow each other in one file, and later members replace earlier ones."""
    out = bytearray()
    for number, member in enumerate((*content, Member("TRAILER!!!", 0)), start=1):
        name = member.name.encode() + b"\0"
        links = 2 if stat.S_ISDIR(member.mode) else 1
        fields = (number, member.mode, 0, 0, links, 0, len(member.data), 0, 0, 0, 0, len(name), 0)
        out += b"070701" + b"".join(b"%08x" % field for field in fields) + name
        out += b"\0" * (-len(out) % _ALIGNMENT)
        out += member.data
        out += b"\0" * (-len(out) % _ALIGNMENT)
    return bytes(out)
