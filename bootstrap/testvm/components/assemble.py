"""Puts built components side by side as a mirror: apt repository, images, wheels, minikube, manifests and the key."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from bootstrap.testvm.components import aptrepo, batch, images, launch, minikube, mirror, torch
from bootstrap.testvm.components.mirror import MANIFESTS, MINIKUBE, WHEELS, Mirror

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from bootstrap.testvm.components.signing import SigningKey

DRIVERS, PACKAGES, IMAGES = "gpu-drivers", "packages", "images"
PARTS = (
    DRIVERS,
    PACKAGES,
    IMAGES,
    *launch.PARTS,
    minikube.PROGRAM,
    minikube.DOCKER,
    minikube.BUNDLE,
    *batch.PARTS,
    *torch.PARTS,
)


def assemble(
    root: Path, entries: Mapping[str, Path], key: SigningKey, digest: str, path: Path, *, complete: bool
) -> Mirror:
    """Makes the mirror at `path` of what is among `entries` (component to folder); `root` is the cache's."""
    partial = root / "tmp" / "mirror"
    shutil.rmtree(partial, ignore_errors=True)
    (partial / "keys").mkdir(parents=True)
    shutil.copy(key.public, partial / "keys" / "gpuctl-mirror.asc")
    folders = [entries[name] for name in (PACKAGES, DRIVERS) if name in entries]
    found = [deb for folder in folders for deb in folder.glob("*.deb")]
    now = datetime.now(UTC)
    versions = aptrepo.write_repository(partial / "apt", found, key, now)
    if minikube.DOCKER in entries:
        docker = entries[minikube.DOCKER].glob("*.deb")
        versions |= aptrepo.write_repository(partial / "apt", docker, key, now, minikube.SUITE)
    layouts = [entries[name] for name in (IMAGES, launch.IMAGE, batch.IMAGES, torch.IMAGE) if name in entries]
    references = images.unite(images.Layout(partial / "oci"), [images.Layout(folder) for folder in layouts])
    if launch.WHEELS in entries:
        (partial / WHEELS).mkdir()
        for wheel in entries[launch.WHEELS].glob("*.whl"):
            aptrepo.link_or_copy(wheel, partial / WHEELS / wheel.name)
    batch.lay(entries, partial / MANIFESTS)
    made = Mirror(
        partial,
        digest,
        key.fingerprint,
        partial / "keys" / "gpuctl-mirror.asc",
        references,
        versions,
        complete,
        tuple(sorted(str(entry.relative_to(root)) for entry in entries.values())),
        minikube.lay(entries, partial / MINIKUBE),
    )
    mirror.save(made)
    shutil.rmtree(path, ignore_errors=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial.rename(path)
    return mirror.moved(made, path)
