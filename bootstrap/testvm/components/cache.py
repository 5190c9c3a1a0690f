"""The cache of built components: an entry is there as a whole or not at all.

An entry is made in a temporary folder beside its place, gets a marker as its last file, and is renamed into place:
whatever is interrupted leaves a folder that nobody reads and that the next build removes.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bootstrap.errors import GpuctlError, Problem
from bootstrap.exit_codes import ExitCode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MARKER = ".complete"
LOCK_DEADLINE_S = 3600  # longer than any build from nothing that was measured (20 min on 2 cores)


def cache_root() -> Path:
    """$XDG_CACHE_HOME/gpuctl/components, with ~/.cache as the default of the former."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "gpuctl" / "components"


def digest_of(document: Any) -> str:
    """SHA-256 (64 hex digits) of a JSON document with sorted keys."""
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()


def digest_tree(*roots: Path) -> str:
    """SHA-256 over names, modes (executable or not) and contents of all files below `roots`, in sorted order."""
    total = hashlib.sha256()
    for root in roots:
        files = [root] if root.is_file() else sorted(p for p in root.rglob("*") if p.is_file())
        for path in files:
            if "__pycache__" in path.parts:
                continue
            kind = "x" if os.access(path, os.X_OK) else "-"
            content = hashlib.sha256(path.read_bytes()).hexdigest()
            total.update(f"{path.relative_to(root.parent)}\0{kind}\0{content}\n".encode())
    return total.hexdigest()


@dataclass(frozen=True, slots=True)
class Store:
    """Entries below `root/<kind>/<name>-<first 16 digits of the digest>`."""

    root: Path

    def place(self, kind: str, name: str, digest: str) -> Path:
        """Where the entry is or will be."""
        return self.root / kind / f"{name}-{digest[:16]}"

    def get(self, kind: str, name: str, digest: str) -> Path | None:
        """The entry if it is whole and has exactly this digest, else None."""
        path = self.place(kind, name, digest)
        return path if read_marker(path) == digest else None

    @contextlib.contextmanager
    def create(self, kind: str, name: str, digest: str) -> Iterator[Path]:
        """A temporary folder to fill; it becomes the entry when the block ends without an exception."""
        final = self.place(kind, name, digest)
        final.parent.mkdir(parents=True, exist_ok=True)
        scratch = self.root / "tmp"
        scratch.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix=f"{name}-", dir=scratch))
        try:
            partial.chmod(0o755)
            yield partial
            write_marker(partial, digest)
            if final.exists():  # without the marker of this digest, or `get` would have found it
                shutil.rmtree(final)
            partial.rename(final)
        finally:
            shutil.rmtree(partial, ignore_errors=True)

    def clear_partial(self) -> None:
        """Removes what interrupted builds left; only under the lock."""
        shutil.rmtree(self.root / "tmp", ignore_errors=True)


def read_marker(path: Path) -> str | None:
    """The digest in the marker of an entry, None where there is none."""
    try:
        return (path / MARKER).read_text(encoding="ascii").strip()
    except (FileNotFoundError, NotADirectoryError):
        return None


def write_marker(path: Path, digest: str) -> None:
    """Marks an entry as whole once its files have reached the disk."""
    for file in path.rglob("*"):
        if file.is_file() and not file.is_symlink():
            with file.open("rb") as handle:
                os.fsync(handle.fileno())
    (path / MARKER).write_text(digest + "\n", encoding="ascii")


@contextlib.contextmanager
def build_lock(root: Path, waiting: Callable[[str], None], deadline_s: float = LOCK_DEADLINE_S) -> Iterator[None]:
    """Holds the lock of the cache; calls `waiting` once with what it waits for. GpuctlError "build-locked" (exit 5)."""
    root.mkdir(parents=True, exist_ok=True)
    with (root / "build.lock").open("a+", encoding="ascii") as handle:
        end = time.monotonic() + deadline_s
        told = False
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                handle.seek(0)
                owner = f"another build (process {handle.read().strip() or 'unknown'})"
                if time.monotonic() > end:
                    problem = Problem("build-locked", f"{owner} still holds {root}/build.lock after {deadline_s:.0f} s")
                    raise GpuctlError(ExitCode.STEP_FAILED, problem) from None
                if not told:
                    waiting(f"waiting for {owner}")
                    told = True
                time.sleep(0.2)
        handle.truncate(0)
        handle.write(f"{os.getpid()}\n")
        handle.flush()
        yield


def check_disk(root: Path, need_gib: float) -> None:
    """GpuctlError "disk-low" (exit 4) when the file system of the cache has less than `need_gib` free."""
    root.mkdir(parents=True, exist_ok=True)
    free_gib = shutil.disk_usage(root).free / 2**30
    if free_gib < need_gib:
        problem = Problem(
            "disk-low",
            f"building the components needs about {need_gib:.0f} GiB, {free_gib:.1f} GiB are free at {root}",
            fix="free space there, or set XDG_CACHE_HOME (and GOCACHE, GOMODCACHE) to a larger file system",
        )
        raise GpuctlError(ExitCode.PREFLIGHT, problem)
