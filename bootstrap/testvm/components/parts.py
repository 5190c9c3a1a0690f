"""What every step of a build works with: what was asked for, what is known so far, and how it is told."""

from __future__ import annotations

import errno
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from bootstrap.errors import GpuctlError, Problem
from bootstrap.exit_codes import ExitCode
from bootstrap.testvm.components import tools

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from bootstrap.testvm.components.cache import Store
    from bootstrap.testvm.components.catalog import Catalog

State = Literal["started", "cached", "done", "failed"]


@dataclass(frozen=True, slots=True)
class Progress:
    """One thing that happened to a component; `elapsed_s` counts from its start."""

    component: str
    state: State
    elapsed_s: float = 0.0
    detail: str = ""


@dataclass(slots=True)
class Builder:
    """One build: what is known so far. `entries`: component → folder, `digests`: component → digest."""

    catalog: Catalog
    store: Store
    report: Callable[[Progress], None]
    only: frozenset[str]
    groups: frozenset[str] = frozenset()  # of optional parts that were asked for
    entries: dict[str, Path] = field(default_factory=dict)
    digests: dict[str, str] = field(default_factory=dict)

    def log(self, name: str) -> Path:
        """Where the tools that make a component write."""
        return self.store.root / "logs" / f"{name}.log"

    def component(self, name: str, digest: str, make: Callable[[Path], None], group: str = "") -> None:
        """Takes a component from the cache, or makes it; one that is not asked for is only taken.

        One of a `group` has to be asked for by the group's name or by its own.
        """
        path = self.store.get("components", name, digest)
        if path is not None:
            self.report(Progress(name, "cached"))
        elif name not in self.only and (self.only or (group and group not in self.groups)):
            return
        else:
            self.log(name).unlink(missing_ok=True)
            with reported(self.report, name), self.store.create("components", name, digest) as partial:
                make(partial)
            path = self.store.place("components", name, digest)
        self.entries[name], self.digests[name] = path, digest

    def has(self, programs: dict[str, str]) -> bool:
        """Whether all components are there that a map of programs names."""
        return all(source.partition("/")[0] in self.entries for source in programs)


@contextmanager
def reported(report: Callable[[Progress], None], name: str) -> Iterator[None]:
    """Tells the start and the end of a component; an error of the disk becomes one of gpuctl's."""
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
