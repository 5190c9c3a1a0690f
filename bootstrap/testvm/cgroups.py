"""One cgroup subtree per test host, in every hierarchy that this machine has (v1, v2 or both)."""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from bootstrap.testvm import procs

MOUNTINFO = Path("/proc/self/mountinfo")
_WAIT_S = 20.0  # killing a host with a few hundred processes took under 1 s


@dataclass(frozen=True, slots=True)
class Hierarchy:
    """A mounted cgroup hierarchy; `controllers` is empty for v2 (its root lists them)."""

    path: Path
    version: int
    controllers: frozenset[str]


@dataclass(frozen=True, slots=True)
class Membership:
    """Directories to join: the keeper (supervisor) and the machine (nspawn and all below)."""

    keeper: tuple[Path, ...]
    machine: tuple[Path, ...]


def parse_mountinfo(text: str) -> tuple[Hierarchy, ...]:
    """The cgroup hierarchies in the text of /proc/self/mountinfo, one per hierarchy."""
    found: dict[str, Hierarchy] = {}
    for line in text.splitlines():
        fields, _, rest = line.partition(" - ")
        kind, _, options = rest.partition(" ")
        if kind not in {"cgroup", "cgroup2"} or len(fields.split()) < 5:
            continue
        path = fields.split()[4]
        words = options.split()[-1].split(",") if options else []
        names = (
            frozenset(words) - {"rw", "ro", "xattr", "clone_children", "noprefix"} if kind == "cgroup" else frozenset()
        )
        found.setdefault(",".join(sorted(names)), Hierarchy(Path(path), 1 if kind == "cgroup" else 2, frozenset(names)))
    return tuple(found.values())


def hierarchies() -> tuple[Hierarchy, ...]:
    """The cgroup hierarchies of this machine; empty where none is mounted."""
    return parse_mountinfo(MOUNTINFO.read_text())


def uses_v1(found: tuple[Hierarchy, ...] | None = None) -> bool:
    """Whether resources are controlled by cgroup v1 here (a hybrid machine is v1)."""
    return any(
        h.version == 1 and h.controllers & {"memory", "cpu"} for h in (hierarchies() if found is None else found)
    )


def create(name: str) -> Membership:
    """Make the subtree `name` in every hierarchy (again is fine) and return what to join."""
    keeper: list[Path] = []
    machine: list[Path] = []
    pure_v2 = not uses_v1()
    for hierarchy in hierarchies():
        top = hierarchy.path / name
        top.mkdir(exist_ok=True)
        if "cpuset" in hierarchy.controllers:
            _fill_cpuset(top)
        if hierarchy.version == 2 and pure_v2:
            # v2 forbids processes beside children that have controllers, so both get a leaf of their own.
            _enable_controllers(hierarchy.path, top)
            for leaf, members in (("keeper", keeper), ("machine", machine)):
                (top / leaf).mkdir(exist_ok=True)
                members.append(top / leaf)
        else:
            keeper.append(top)
            machine.append(top)
    return Membership(tuple(keeper), tuple(machine))


def _fill_cpuset(top: Path) -> None:
    """A v1 cpuset starts empty, and takes no process while it is."""
    for item in ("cpuset.cpus", "cpuset.mems"):
        if not (top / item).read_text().strip():
            (top / item).write_text((top.parent / item).read_text())


def _enable_controllers(root: Path, top: Path) -> None:
    for directory in (root, top):
        for controller in (directory / "cgroup.controllers").read_text().split():
            try:
                (directory / "cgroup.subtree_control").write_text(f"+{controller}")
            except OSError:
                continue  # a controller that this kernel does not delegate: the hosts do without it


def pids(name: str) -> frozenset[int]:
    """Processes in the subtree `name` of any hierarchy."""
    found: set[int] = set()
    for hierarchy in hierarchies():
        for directory, _, _ in os.walk(hierarchy.path / name):
            try:
                found.update(int(pid) for pid in (Path(directory) / "cgroup.procs").read_text().split())
            except OSError:
                continue
    return frozenset(found - {0, os.getpid()})


def names(prefix: str) -> tuple[str, ...]:
    """Names of top-level cgroups that start with `prefix`, over all hierarchies."""
    found = {entry.name for h in hierarchies() for entry in h.path.glob(f"{prefix}*") if entry.is_dir()}
    return tuple(sorted(found))


def remove(name: str) -> frozenset[int]:
    """End every process in the subtree and remove it; return the processes that would not end."""
    until = time.monotonic() + _WAIT_S
    while True:
        left = pids(name)
        if left:
            _thaw(name)
        for pid in left:
            procs.send(pid, lambda candidate: candidate in pids(name), signal.SIGKILL)
        if not left and _remove_directories(name):
            return frozenset()
        if time.monotonic() > until:
            return left
        time.sleep(0.02)


def _thaw(name: str) -> None:
    """Let frozen processes go on, to their end: a runc that was killed while it froze a container leaves some."""
    for hierarchy in hierarchies():
        for directory, _, _ in os.walk(hierarchy.path / name):
            for item, running in (("freezer.state", "THAWED"), ("cgroup.freeze", "0")):
                state = Path(directory) / item
                with suppress(OSError):  # not there, or gone meanwhile
                    if state.read_text().strip() not in {running, ""}:
                        state.write_text(running)


def _remove_directories(name: str) -> bool:
    """Whether all of the subtree is gone; a directory stays busy for a moment after its last process."""
    gone = True
    for hierarchy in hierarchies():
        for directory, _, _ in os.walk(hierarchy.path / name, topdown=False):
            try:
                Path(directory).rmdir()
            except FileNotFoundError:
                continue
            except OSError:
                gone = False
    return gone
