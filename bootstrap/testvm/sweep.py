"""Take labs down: everything is found by name, so it works after a crash at any moment, and again after its own."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from bootstrap.errors import GpuctlError
from bootstrap.testvm import cgroups, firewall, inventory_file, machine, mirror, network, procs, registry, rootfs, state
from bootstrap.testvm.names import NAME_PATTERN, PREFIX, RUNTIME_ROOT, LabPaths, images_cache, rootfs_cache

if TYPE_CHECKING:
    from bootstrap.testvm.state import LabRecord
    from bootstrap.testvm.supervised import Supervised

Report = Callable[[str, str], None]


def all_names() -> tuple[str, ...]:
    """Labs of which anything is on this machine: files, cgroups, links or rules."""
    named = (*network.links(PREFIX), *firewall.tables(), *cgroups.names(PREFIX))
    found = {name.removeprefix(PREFIX).partition("-")[0] for name in named}
    return tuple(sorted({*registry.known_names(), *(name for name in found if NAME_PATTERN.fullmatch(name))}))


def down(name: str, ender: Supervised, report: Report) -> bool:
    """Remove all of one lab; False where nothing of it was there. Raises GpuctlError `down-incomplete`."""
    if name not in all_names():
        _clean_caches()
        return False
    with state.lock(RUNTIME_ROOT / name, lambda: report("lab", f"another gpuctl works on lab {name}: waiting for it")):
        paths = LabPaths.of(name)
        report("lab", f"taking lab {name} down")
        record = _record(paths, report)
        hosts = _hosts(paths, record, ender)
        with ThreadPoolExecutor(max_workers=max(1, len(hosts))) as pool:
            list(pool.map(lambda host: ender.destroy(paths, host), hosts))
        mirror.stop(paths)
        network.remove(name)
        _unmount(paths)
        if record:
            inventory_file.remove(record, report)
        _remove_files(paths)
        forget(paths)
    _clean_caches()
    return True


def _clean_caches() -> None:
    for cache in (rootfs_cache(), images_cache()):
        rootfs.clean_if_idle(cache)


def _record(paths: LabPaths, report: Report) -> LabRecord | None:
    try:
        return state.load(paths)
    except GpuctlError as error:
        report("lab", f"{error.problems[0].message}; its inventory file, if any, stays")
        return None


def _hosts(paths: LabPaths, record: LabRecord | None, ender: Supervised) -> tuple[str, ...]:
    found = {*ender.leftovers(paths.name)}
    found |= {host.name for host in record.hosts} if record else set()
    for place in (paths.state / "hosts", paths.runtime):
        found |= {entry.name for entry in place.glob("*") if entry.is_dir() and not entry.is_symlink()}
    return tuple(sorted(found))


def _unmount(paths: LabPaths) -> None:
    """Hosts mount in namespaces of their own; this is for what a person mounted below the lab's directories."""
    points = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    for point in reversed(points):
        if any(Path(point).is_relative_to(place) for place in (paths.state, paths.runtime)):
            procs.run(["umount", point])


def _remove_files(paths: LabPaths) -> None:
    """Remove the lab's files, its record last: as long as anything is left, the record is too."""
    if paths.state.is_dir():
        for entry in paths.state.iterdir():
            if entry == paths.record:
                continue
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)
            else:
                entry.unlink()
        paths.record.unlink(missing_ok=True)
        paths.state.rmdir()
    for parent in (paths.state.parent, paths.state.parent.parent):
        try:
            parent.rmdir()  # other labs, or other things of gpuctl, keep it
        except OSError:
            break


def forget(paths: LabPaths) -> None:
    """Remove the lab's runtime directory, and with the last one what labs changed on this machine."""
    with state.lock(RUNTIME_ROOT):
        if not machine.other_labs(paths.name):
            machine.restore()
        shutil.rmtree(paths.runtime, ignore_errors=True)
        try:
            RUNTIME_ROOT.rmdir()
        except OSError:
            return
