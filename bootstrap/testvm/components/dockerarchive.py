"""Images as `docker load` and minikube's cache take them: one tar with a configuration, layers and a list of both."""

from __future__ import annotations

import io
import json
import tarfile
from typing import TYPE_CHECKING, Any

from bootstrap.testvm.components.images import references
from bootstrap.testvm.components.tarlayer import EPOCH

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

_DIGITS = slice(len("sha256:"), None)


def write(out: Path, ref: str, config: dict[str, Any], layers: Sequence[Path]) -> None:
    """Writes the image `ref` of the layer tars, from below to above; `config` names their digests in that order."""
    names = [f"{digest[_DIGITS]}.tar" for digest in config["rootfs"]["diff_ids"]]
    content = json.dumps(config, sort_keys=True, separators=(",", ":")).encode()
    manifest = [{"Config": "config.json", "RepoTags": [ref], "Layers": names}]
    with tarfile.open(out, "w", format=tarfile.PAX_FORMAT) as tar:
        for name, layer in dict(zip(names, layers, strict=True)).items():
            add(tar, name, layer)
        add(tar, "config.json", content)
        add(tar, "manifest.json", json.dumps(manifest).encode())


def of_layout(out: Path, layout: Path, ref: str) -> None:
    """Writes the image `ref` of an OCI layout. Its layers must not be compressed."""
    blobs = layout / "blobs" / "sha256"
    manifest = json.loads((blobs / references(layout)[ref][_DIGITS]).read_text(encoding="utf-8"))
    config = json.loads((blobs / manifest["config"]["digest"][_DIGITS]).read_text(encoding="utf-8"))
    write(out, ref, config, [blobs / layer["digest"][_DIGITS] for layer in manifest["layers"]])


def add(tar: tarfile.TarFile, name: str, content: bytes | Path, mode: int = 0o644) -> None:
    """A file of root's, from memory or from a file, with the time that all files have."""
    info = tarfile.TarInfo(name)
    info.mode, info.mtime = mode, EPOCH
    info.size = len(content) if isinstance(content, bytes) else content.stat().st_size
    if isinstance(content, bytes):
        tar.addfile(info, io.BytesIO(content))
    else:
        with content.open("rb") as handle:
            tar.addfile(info, handle)
