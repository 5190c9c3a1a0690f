"""OCI images around the programs, in one image layout whose layers and manifests come out the same every time."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bootstrap.testvm.components.aptrepo import link_or_copy
from bootstrap.testvm.components.catalog import GoComponent, Image, expand
from bootstrap.testvm.components.tarlayer import LayerWriter

if TYPE_CHECKING:
    from pathlib import Path

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar"  # not compressed: unpacking is what a host waits for
INDEX = "application/vnd.oci.image.index.v1+json"
REF_NAME = "org.opencontainers.image.ref.name"
SEARCH_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
CREATED = "2026-01-01T00:00:00Z"  # the same always: images come out the same
GO_ARCH = {"x86_64": "amd64", "aarch64": "arm64"}


@dataclass(frozen=True, slots=True)
class Blob:
    """Content that lies in the layout under its digest ("sha256:…")."""

    digest: str
    size: int

    def descriptor(self, media_type: str) -> dict[str, Any]:
        """How manifests point to it."""
        return {"mediaType": media_type, "digest": self.digest, "size": self.size}


@dataclass(frozen=True, slots=True)
class Layout:
    """An OCI image layout that is being filled."""

    root: Path

    @property
    def blobs(self) -> Path:
        """Folder of the content, one file per digest."""
        return self.root / "blobs" / "sha256"

    def start(self) -> None:
        """Makes the empty layout."""
        self.blobs.mkdir(parents=True)
        (self.root / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}\n', encoding="ascii")

    def add_json(self, document: dict[str, Any]) -> Blob:
        """Stores a document in one fixed form."""
        content = json.dumps(document, sort_keys=True, separators=(",", ":")).encode()
        digest = hashlib.sha256(content).hexdigest()
        (self.blobs / digest).write_bytes(content)
        return Blob(f"sha256:{digest}", len(content))

    def add_file(self, path: Path) -> Blob:
        """Stores a file by a second link to it (the layout lies in the same cache)."""
        with path.open("rb") as handle:
            digest = hashlib.file_digest(handle, "sha256").hexdigest()
        if not (self.blobs / digest).exists():
            os.link(path, self.blobs / digest)
        return Blob(f"sha256:{digest}", path.stat().st_size)

    def finish(self, images: dict[str, Blob]) -> None:
        """Writes the index: full image name → manifest."""
        manifests = [
            blob.descriptor(MANIFEST) | {"annotations": {REF_NAME: ref}} for ref, blob in sorted(images.items())
        ]
        text = json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": manifests}, indent=1)
        (self.root / "index.json").write_text(text, encoding="utf-8")


def write_top_layer(image: Image, go: dict[str, GoComponent], entries: dict[str, Path], out: Path) -> None:
    """The image's own layer: its programs and, without a layer below, the few files that any program looks for."""
    with LayerWriter(out) as layer:
        if not image.layers:
            layer.file("etc/passwd", b"root:x:0:0:root:/root:/sbin/nologin\nnonroot:x:65532:65532::/:/sbin/nologin\n")
            layer.file("etc/group", b"root:x:0:\nnonroot:x:65532:\n")
            layer.file("etc/nsswitch.conf", b"hosts: files dns\n")
        layer.folder("tmp", 0o1777)
        for source, target in expand(image.programs, go).items():
            component, program = source.split("/")
            layer.file(target, entries[component] / program, 0o755)


def config(image: Image, layers: list[Blob], machine: str) -> dict[str, Any]:
    """The image's configuration document."""
    variables = {"PATH": SEARCH_PATH} | (image.env or {})
    run: dict[str, Any] = {"Env": [f"{name}={value}" for name, value in sorted(variables.items())], "WorkingDir": "/"}
    run |= {"Entrypoint": list(image.entrypoint)} if image.entrypoint else {}
    run |= {"Cmd": list(image.command)} if image.command else {}
    run |= {"User": image.user} if image.user else {}
    return {
        "architecture": GO_ARCH.get(machine, machine),
        "os": "linux",
        "created": CREATED,
        "config": run,
        "rootfs": {"type": "layers", "diff_ids": [layer.digest for layer in layers]},
        "history": [{"created": CREATED, "created_by": "gpuctl testvm components build"} for _ in layers],
    }


def add_image(layout: Layout, image: Image, lower: list[Blob], top: Path) -> Blob:
    """Adds an image of the layers `lower` and the tar `top`; gives its manifest."""
    layers = [*lower, layout.add_file(top)]
    settings = layout.add_json(config(image, layers, os.uname().machine))
    return layout.add_json(
        {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": settings.descriptor(CONFIG),
            "layers": [layer.descriptor(LAYER) for layer in layers],
        }
    )


def unite(layout: Layout, sources: list[Layout]) -> dict[str, str]:
    """Fills a new layout with the images of others, which lie in the same cache; what `references` says of it."""
    layout.start()
    manifests: list[dict[str, Any]] = []
    for source in sources:
        for blob in source.blobs.iterdir():
            if not (layout.blobs / blob.name).exists():
                link_or_copy(blob, layout.blobs / blob.name)
        manifests += json.loads((source.root / "index.json").read_text(encoding="utf-8"))["manifests"]
    text = json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": manifests}, indent=1)
    (layout.root / "index.json").write_text(text, encoding="utf-8")
    return references(layout.root)


def references(layout: Path) -> dict[str, str]:
    """Full image name → manifest digest of a layout."""
    index = json.loads((layout / "index.json").read_text(encoding="utf-8"))
    return {entry["annotations"][REF_NAME]: entry["digest"] for entry in index["manifests"]}
