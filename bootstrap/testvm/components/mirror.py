"""A finished mirror: what it offers, which one is current, and what may be thrown away."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from bootstrap.testvm.components.cache import build_lock, cache_root, read_marker, write_marker

DOCUMENT = "mirror.json"
WHEELS, MINIKUBE, MANIFESTS = "wheels", "minikube", "manifests"
SUMS = "SHA256SUMS"  # of what is in minikube/
IN_USE = ".in-use"  # whoever serves a mirror holds a shared lock on this file in it


@dataclass(frozen=True, slots=True)
class Mirror:
    """A mirror on disk: apt/ (signed repository), oci/ (image layout), keys/gpuctl-mirror.asc.

    Perhaps it has wheels/, minikube/ and manifests/, too. `images` maps name:tag to the manifest's digest, `packages`
    name to version, `minikube` file name to SHA-256. `complete` is false where it was built of some components only.
    """

    path: Path
    digest: str
    apt_key_fingerprint: str
    apt_key_path: Path
    images: dict[str, str]
    packages: dict[str, str]
    complete: bool
    entries: tuple[str, ...]  # what of the cache it was made of, relative to the cache's root
    minikube: dict[str, str] = field(default_factory=dict)


def save(mirror: Mirror) -> None:
    """Writes the mirror's document and then its marker."""
    document: dict[str, Any] = asdict(mirror) | {"path": None, "apt_key_path": None}
    del document["minikube"]  # is in the files' own sums, and a gpuctl that knows of none reads the rest
    (mirror.path / IN_USE).touch()
    (mirror.path / DOCUMENT).write_text(json.dumps(document, indent=1, sort_keys=True), encoding="utf-8")
    write_marker(mirror.path, mirror.digest)


def load(path: Path) -> Mirror | None:
    """The mirror at `path`; None when it is not there as a whole."""
    digest = read_marker(path)
    try:
        document = json.loads((path / DOCUMENT).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    if digest is None or document.get("digest") != digest:
        return None
    fixed = {"path": path, "apt_key_path": path / "keys" / "gpuctl-mirror.asc", "entries": tuple(document["entries"])}
    return Mirror(**document | fixed, minikube=_sums(path / MINIKUBE / SUMS))


def _sums(file: Path) -> dict[str, str]:
    """File name → SHA-256; none where there is no list."""
    if not file.is_file():
        return {}
    rows = (line.split() for line in file.read_text(encoding="ascii").splitlines())
    return {name: digest for digest, name in rows}


def current(root: Path | None = None) -> Mirror | None:
    """The last complete mirror, or None. Costs two small reads."""
    link = (root or cache_root()) / "current"
    try:
        path = link.resolve(strict=True)
    except OSError:
        return None
    found = load(path)
    return found if found and found.complete else None


def make_current(mirror: Mirror, root: Path) -> None:
    """Points `current` to a mirror, in one step."""
    partial = root / f"current.{os.getpid()}"
    partial.unlink(missing_ok=True)
    partial.symlink_to(mirror.path.relative_to(root))
    partial.replace(root / "current")


def moved(mirror: Mirror, path: Path) -> Mirror:
    """The same mirror after its folder was renamed."""
    return replace(mirror, path=path, apt_key_path=path / "keys" / "gpuctl-mirror.asc")


def _is_served(path: Path) -> bool:
    try:
        with (path / IN_USE).open("rb") as handle:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except FileNotFoundError:
        return False
    return False


def trim(*, go_caches: bool = False, root: Path | None = None) -> int:
    """Removes what the current mirror was not made of, and mirrors that nobody serves; gives the bytes freed.

    With `go_caches` also the user's Go caches (`go clean -cache -modcache`): they are not gpuctl's alone, so it is
    never done unasked; the next build is then one from nothing.
    """
    root = root or cache_root()
    free = shutil.disk_usage(root).free if root.is_dir() else 0
    with build_lock(root, lambda _text: None):
        now = current(root)
        keep = set(now.entries) if now else set()
        for kind in ("components", "tmp"):
            for entry in (root / kind).glob("*"):
                if str(entry.relative_to(root)) not in keep:
                    shutil.rmtree(entry)
        for entry in (root / "mirrors").glob("*"):
            if not (now and entry == now.path) and not _is_served(entry):
                shutil.rmtree(entry)
        go = shutil.which("go")
        if go_caches and go:
            subprocess.run([go, "clean", "-cache", "-modcache"], check=False, timeout=600, capture_output=True)
    return max(0, shutil.disk_usage(root).free - free)
