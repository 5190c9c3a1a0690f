"""The parts of a mirror that only some need. A mirror is complete without them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from bootstrap.errors import GpuctlError
from bootstrap.testvm import apt_sources
from bootstrap.testvm.components import batch, debian, golang, launch, minikube, node, signing, torch
from bootstrap.testvm.components.assemble import IMAGES
from bootstrap.testvm.components.cache import check_disk, digest_of, digest_tree

if TYPE_CHECKING:
    from bootstrap.testvm.components.golang import Toolchain
    from bootstrap.testvm.components.parts import Builder

GROUPS = (minikube.GROUP, batch.GROUP, torch.GROUP)
PARTS = (*launch.PARTS, *minikube.PARTS, *batch.PARTS, *torch.PARTS)


def add_launch(builder: Builder) -> None:
    """The parts for Launch. Where they cannot be made the mirror is made without, unless just they were asked for."""
    known = builder.catalog.launch
    lower = {name: builder.entries.get(f"layer-{name}") for name in known.image.layers}

    def make_wheels(out: Path) -> None:
        check_disk(builder.store.root, known.disk_gib)
        launch.download(out, builder.log(launch.WHEELS))

    def make_image(out: Path) -> None:
        below = [path / "layer.tar" for path in lower.values() if path]
        launch.build_image(known, builder.entries[launch.WHEELS], below, out, builder.log(launch.IMAGE))

    try:
        builder.component(launch.WHEELS, launch.wheels_digest(), make_wheels)
        if launch.WHEELS in builder.entries and all(lower.values()):
            made_of = [builder.digests[name] for name in (launch.WHEELS, *(f"layer-{name}" for name in lower))]
            builder.component(launch.IMAGE, launch.image_digest(known, made_of), make_image)
    except GpuctlError:
        if builder.only & set(launch.PARTS):  # else it is enough that it has been reported
            raise


def add_minikube(builder: Builder, chain: Toolchain) -> None:
    """The parts for the minikube lane: taken where the cache has them, made only where they were asked for."""
    known, sources = builder.catalog.minikube, apt_sources.machine_sources()
    recipe = debian.recipe(sources, known.docker_suite, known.docker_packages)
    docker = digest_of([*recipe, digest_tree(Path(debian.__file__))])

    def make_docker(out: Path) -> None:
        debian.download(sources, known.docker_suite, known.docker_packages, out, builder.log(minikube.DOCKER))

    def make_node(out: Path) -> None:
        inputs = node.Inputs(
            builder.entries,
            sorted(builder.entries[minikube.DOCKER].glob("*.deb")),
            golang.source(builder.catalog.go["minikube"], chain),
            builder.catalog.go["minikube"].version,
            golang.source(builder.catalog.go["cri-dockerd"], chain),
            sources,
            signing.ensure_key(builder.store.root / "keys"),
        )
        node.build(known.node, inputs, out, builder.log(minikube.NODE))

    def make_bundle(out: Path) -> None:
        minikube.write_bundle(builder.catalog, builder.entries, builder.entries[IMAGES], out)

    builder.component(minikube.DOCKER, docker, make_docker, minikube.GROUP)
    names = sorted({minikube.DOCKER, "minikube", *(source.partition("/")[0] for source in known.node.programs)})
    if builder.has(dict.fromkeys(names, "")):
        digest = node.digest(known.node, sources, [builder.digests[name] for name in names])
        builder.component(minikube.NODE, digest, make_node, minikube.GROUP)
    names = [minikube.NODE, IMAGES, "kubernetes", "pause"]
    if builder.has(dict.fromkeys(names, "")):
        digest = minikube.bundle_digest(builder.catalog, [builder.digests[name] for name in names])
        builder.component(minikube.BUNDLE, digest, make_bundle, minikube.GROUP)


def add_batch(builder: Builder, chain: Toolchain) -> None:
    """The parts for multi-node training: taken where the cache has them, made only where they were asked for."""
    known = builder.catalog.batch

    def make_files(out: Path) -> None:
        found = {name: golang.source(builder.catalog.go[name], chain) for name in known.sources.values()}
        batch.copy_files(known, found, out)

    def make_images(out: Path) -> None:
        batch.build_images(known, builder.catalog.go, builder.entries, out)

    builder.component(batch.FILES, batch.files_digest(known), make_files, batch.GROUP)
    if builder.has(dict.fromkeys(known.go, "")):
        digest = batch.images_digest(known, [builder.digests[name] for name in known.go])
        builder.component(batch.IMAGES, digest, make_images, batch.GROUP)


def add_torch(builder: Builder) -> None:
    """The image with PyTorch: taken where the cache has it, made only where it was asked for."""
    known, sources = builder.catalog.torch, apt_sources.machine_sources()

    def make_image(out: Path) -> None:
        check_disk(builder.store.root, known.disk_gib)
        torch.build_image(known, sources, out, builder.log(torch.IMAGE))

    builder.component(torch.IMAGE, torch.digest(known, sources), make_image, torch.GROUP)
