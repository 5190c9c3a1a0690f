"""The catalogue: what the component mirror is built from, read from catalog.yml into types."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

HERE = Path(__file__).resolve().parent
MODULES = HERE / "modules"
FILES = HERE / "files"
GROUPS = ("minikube", "batch", "torch")  # of parts that have to be asked for; each is a section of the catalogue


@dataclass(frozen=True, slots=True)
class GoComponent:
    """One Go module of ours and the programs that one `go build` in it makes (file name → main package)."""

    name: str
    module: str
    version: str
    programs: dict[str, str]
    cgo: bool = False
    lazy_symbols: bool = False  # NVML's symbols are found when first called: no driver is needed to start the program
    tags: tuple[str, ...] = ()
    variables: dict[str, str] | None = None

    @property
    def folder(self) -> Path:
        """Where its go.mod, go.sum and tools.go lie."""
        return MODULES / self.name


@dataclass(frozen=True, slots=True)
class CComponent:
    """One static C program of one source file."""

    name: str
    source: Path
    version: str


@dataclass(frozen=True, slots=True)
class Layer:
    """An image layer of Debian packages on another layer (or on nothing)."""

    name: str
    packages: tuple[str, ...]
    below: str | None = None
    links: dict[str, str] | None = None


@dataclass(frozen=True, slots=True)
class Package:
    """A Debian package: `programs` maps component/program to its path on the host."""

    name: str
    version: str
    summary: str
    programs: dict[str, str]
    depends: tuple[str, ...] = ()
    provides: tuple[str, ...] = ()
    conflicts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Image:
    """An OCI image by its upstream name with the tag."""

    ref: str
    programs: dict[str, str]
    layers: tuple[str, ...] = ()
    entrypoint: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    env: dict[str, str] | None = None
    user: str = ""


@dataclass(frozen=True, slots=True)
class Launch:
    """What the mirror has for W&B Launch besides the locked list of wheels: the agent's image of some of them."""

    disk_gib: int
    image: Image
    packages: tuple[str, ...]
    imports: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Node:
    """minikube's node image: Debian packages, programs and how it starts."""

    ref: str
    packages: tuple[str, ...]
    programs: dict[str, str]
    entrypoint: tuple[str, ...]
    env: dict[str, str]
    stop_signal: str
    ports: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Minikube:
    """What the mirror has for the minikube lane; `go` names those of the Go components that only it needs."""

    disk_gib: int
    go: tuple[str, ...]
    docker_suite: str
    docker_packages: tuple[str, ...]
    node: Node
    images: tuple[str, ...]
    stand_ins: dict[str, Image]
    addons: dict[str, str]  # minikube's name → image of the catalogue
    jobs: tuple[str, ...]  # images that pods of jobs start from
    cni: str


@dataclass(frozen=True, slots=True)
class Batch:
    """What the mirror has for multi-node training; `go` names those of the Go components that only it needs."""

    disk_gib: int
    go: tuple[str, ...]
    sources: dict[str, str]  # role → the component whose module has upstream's files
    images: dict[str, Image]


@dataclass(frozen=True, slots=True)
class Torch:
    """An image with PyTorch of Debian packages; `links` are what their scripts would have made."""

    disk_gib: int
    image: Image
    packages: tuple[str, ...]
    links: dict[str, str]
    go: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Catalog:
    """All of catalog.yml."""

    disk_gib_cold: int
    disk_gib_warm: int
    go_fallback: str  # a pip requirement with its exact version
    go: dict[str, GoComponent]  # with those of the optional groups
    c: dict[str, CComponent]
    layers: dict[str, Layer]
    packages: dict[str, Package]
    images: dict[str, Image]
    launch: Launch
    minikube: Minikube
    batch: Batch
    torch: Torch

    def group_of(self, go: str) -> str:
        """The group of optional parts that a Go component belongs to; empty for one that every mirror has."""
        return next((name for name in GROUPS if go in getattr(self, name).go), "")


def _tuples(entry: dict[str, Any]) -> dict[str, Any]:
    return {key: tuple(value) if isinstance(value, list) else value for key, value in entry.items()}


def parse(document: dict[str, Any]) -> Catalog:
    """Catalogue of a parsed document; TypeError or KeyError where it has an unknown or a missing key."""
    fallback = document["go_fallback"]
    return Catalog(
        disk_gib_cold=document["disk_gib"]["cold"],
        disk_gib_warm=document["disk_gib"]["warm"],
        go_fallback=f"{fallback['package']}=={fallback['version']}",
        go={
            name: GoComponent(name=name, **_tuples(entry))
            for section in (document, *(document[group] for group in GROUPS))
            for name, entry in section.get("go", {}).items()
        },
        c={n: CComponent(name=n, source=FILES / e["source"], version=e["version"]) for n, e in document["c"].items()},
        layers={name: Layer(name=name, **_tuples(entry)) for name, entry in document["layers"].items()},
        packages={
            name: Package(name=name, **{"programs": {}, **_tuples(entry)})
            for name, entry in document["packages"].items()
        },
        images={ref: Image(ref=ref, **{"programs": {}, **_tuples(entry)}) for ref, entry in document["images"].items()},
        launch=_launch(document["launch"]),
        minikube=_minikube(document["minikube"]),
        batch=_batch(document["batch"]),
        torch=_torch(document["torch"]),
    )


def _launch(entry: dict[str, Any]) -> Launch:
    image = Image(**{"programs": {}, **_tuples(entry["image"])})
    return Launch(**_tuples(entry) | {"image": image})


def _minikube(entry: dict[str, Any]) -> Minikube:
    docker = entry["docker"]
    changed = {
        "go": tuple(entry["go"]),
        "docker_suite": docker["suite"],
        "docker_packages": tuple(docker["packages"]),
        "images": tuple(entry["images"]),
        "node": Node(**_tuples(entry["node"])),
        "stand_ins": {ref: Image(ref=ref, **_tuples(item)) for ref, item in entry["stand_ins"].items()},
    }
    return Minikube(**{name: value for name, value in entry.items() if name != "docker"} | changed)


def _batch(entry: dict[str, Any]) -> Batch:
    made = {ref: Image(ref=ref, **_tuples(item)) for ref, item in entry["images"].items()}
    return Batch(**entry | {"go": tuple(entry["go"]), "images": made})


def _torch(entry: dict[str, Any]) -> Torch:
    image = Image(**{"programs": {}, **_tuples(entry["image"])})
    return Torch(**_tuples(entry) | {"image": image})


@cache
def load() -> Catalog:
    """The catalogue that this gpuctl ships."""
    return parse(yaml.safe_load((HERE / "catalog.yml").read_text(encoding="utf-8")))


def expand(programs: dict[str, str], go: dict[str, GoComponent]) -> dict[str, str]:
    """`programs` with each `component/*` replaced by all programs of that component."""
    out: dict[str, str] = {}
    for source, target in programs.items():
        component, _, program = source.partition("/")
        if program == "*":
            out |= {f"{component}/{name}": f"{target}{name}" for name in go[component].programs}
        else:
            out[source] = target
    return out
