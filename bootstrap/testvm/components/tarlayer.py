"""Layer tars that come out byte for byte the same from the same content."""

from __future__ import annotations

import io
import tarfile
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

EPOCH = 1767225600  # 2026-01-01T00:00:00Z: the time of every file that we make; its value carries no meaning


class LayerWriter:
    """Collects members, and writes them sorted by name when the block ends: parents come before what is in them."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._members: dict[str, tuple[tarfile.TarInfo, bytes | Path]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self._write()

    def member(self, name: str, info: tarfile.TarInfo, content: bytes) -> None:
        """A member of another tar under `name`, with its mode and owner (by number)."""
        info.name = name
        info.uname = info.gname = ""
        info.mtime = min(int(info.mtime), EPOCH)
        info.pax_headers = {}
        self._members[name] = (info, content)

    def file(self, path: str, content: bytes | Path, mode: int = 0o644) -> None:
        """A file of root's, from memory or from a file, with the folders above it."""
        name = path.strip("/")
        self._parents(name)
        info = self._info(name, mode)
        info.size = content.stat().st_size if not isinstance(content, bytes) else len(content)
        self._members[name] = (info, content)

    def folder(self, path: str, mode: int = 0o755) -> None:
        """A folder of root's."""
        name = path.strip("/")
        self._parents(name)
        info = self._info(name, mode)
        info.type = tarfile.DIRTYPE
        self._members[name] = (info, b"")

    def link(self, path: str, target: str) -> None:
        """A symbolic link."""
        name = path.strip("/")
        self._parents(name)
        info = self._info(name, 0o777)
        info.type, info.linkname = tarfile.SYMTYPE, target
        self._members[name] = (info, b"")

    @staticmethod
    def _info(name: str, mode: int) -> tarfile.TarInfo:
        info = tarfile.TarInfo(name)
        info.mode, info.mtime = mode, EPOCH
        return info

    def _parents(self, name: str) -> None:
        parts = name.split("/")[:-1]
        for depth in range(1, len(parts) + 1):
            parent = "/".join(parts[:depth])
            if parent not in self._members:
                info = self._info(parent, 0o755)
                info.type = tarfile.DIRTYPE
                self._members[parent] = (info, b"")

    def _write(self) -> None:
        # A hard link must come after what it points to, whatever their names.
        order = sorted(self._members, key=lambda name: (self._members[name][0].islnk(), name))
        with tarfile.open(self._path, "w", format=tarfile.PAX_FORMAT) as tar:
            for name in order:
                info, content = self._members[name]
                if isinstance(content, bytes):
                    tar.addfile(info, io.BytesIO(content) if info.isreg() else None)
                else:
                    with content.open("rb") as handle:
                        tar.addfile(info, handle)
