"""Packages of one component or of several: their sources, what is missing of them, and what is to be kept of before.

Standard library only, Python 3.8 and later: this code runs on the hosts.
"""

from __future__ import annotations

import os
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Sequence, Set

from . import gpuctl_apt as apt
from . import gpuctl_receipts as receipts
from .gpuctl_aptsource import Source, apply, lists_there
from .gpuctl_filesync import Wanted as WantedFile
from .gpuctl_filesync import sync
from .gpuctl_hostio import HostError, run


class Change(NamedTuple):
    """What was done, or would be."""

    files: List[str]
    installed: Dict[str, Optional[str]]
    removed: List[str]

    @property
    def any(self) -> bool:
        """Whether anything was."""
        return bool(self.files or self.installed or self.removed)


class Group:
    """The packages of one component; keys of `spec` as M(gpuctl_packages) has them."""

    def __init__(self, spec: Mapping[str, Any]) -> None:
        self.component = str(spec["component"])
        self.source = _source(spec.get("source"))
        self.files = [WantedFile(entry) for entry in spec.get("files") or ()]
        self.pins: List[Mapping[str, Any]] = list(spec.get("pins") or ())
        entries = [_entry(entry, spec.get("version") or None) for entry in spec.get("wanted") or ()]
        self.wanted = [_wanted(entry) for entry in entries if _applies(entry)]
        self.codes = {_kernel(entry["name"]): entry.get("code") for entry in entries}
        hold = bool(spec.get("hold"))
        self.held = {_kernel(entry["name"]) for entry in entries if entry.get("hold", hold)}
        self.instead_of = str(spec.get("instead_of") or "")

    def rivals(self) -> List[str]:
        """What is there and may not be, because it contradicts what is wanted."""
        names = {package.name for package in self.wanted}
        return [name for name in apt.present(self.instead_of) if name not in names] if self.instead_of else []

    def to_hold(self, packages: Mapping[str, apt.Package]) -> List[str]:
        """What is wanted and not held yet."""
        names = [package.name for package in self.wanted if package.name in self.held]
        return [name for name in names if name in packages and not packages[name].held]


def _source(spec: Optional[Mapping[str, Any]]) -> Optional[Source]:
    if not spec:
        return None
    try:
        return Source(spec["name"], spec, spec.get("ca_path") or None)
    except KeyError as error:
        raise HostError("variable-invalid", f"the package source lacks {error}", "set it") from error


def _entry(given: Any, version: Optional[str]) -> Dict[str, Any]:
    return dict(given) if isinstance(given, dict) else {"name": str(given), "version": version}


def _kernel(text: str) -> str:
    return text.replace("{kernel}", os.uname().release)


def _wanted(entry: Mapping[str, Any]) -> apt.Wanted:
    return apt.Wanted(_kernel(entry["name"]), entry.get("version"), int(entry.get("at_least") or 0))


def _applies(entry: Mapping[str, Any]) -> bool:
    only, unless = entry.get("only_if_path"), entry.get("unless_path")
    return (not only or os.path.exists(_kernel(only))) and not (unless and os.path.exists(_kernel(unless)))


def have(groups: Sequence[Group], lock_timeout_s: float, check: bool) -> Change:
    """Have the sources and packages of all groups, in one run of apt.

    Raises HostError (package-*, repository-unreachable, key-mismatch, and the code that a package names).
    """
    files = _have_sources(groups, lock_timeout_s, check)
    before = apt.installed()
    lacking = _missing([package for group in groups for package in group.wanted], before)
    missing = {package.name: package.version for package in lacking}
    rivals = [name for group in groups for name in group.rivals()]
    if check:
        unheld = [name for group in groups for name in group.to_hold(before)]
        return Change(files, {**dict.fromkeys(unheld), **missing}, rivals)
    # What contradicts the wanted ones goes first; afterwards the configuration of what the installation replaced.
    _purge_rivals(groups, lock_timeout_s)
    _install(groups, lacking, before, lock_timeout_s)
    _purge_rivals(groups, lock_timeout_s)
    after = apt.installed() if missing else before
    held = _hold(groups, after)
    return Change(files, {name: after[name].version for name in [*missing, *held] if name in after}, rivals)


def _purge_rivals(groups: Sequence[Group], lock_timeout_s: float) -> None:
    rivals = [name for group in groups for name in group.rivals()]
    if rivals:
        apt.purge(rivals, lock_timeout_s)


def _have_sources(groups: Sequence[Group], lock_timeout_s: float, check: bool) -> List[str]:
    changed: List[str] = []
    architecture = ""
    for group in groups:
        changed += sync(group.component, group.files, [], check)["changed_files"]
        if group.source is None:
            continue
        architecture = architecture or run(["dpkg", "--print-architecture"], 15).out.strip()
        changed += apply(group.component, group.source, group.pins, architecture, check)["changed_files"]
        if not check and not lists_there(group.source):
            apt.update(lock_timeout_s, group.source.list_path)
    return changed


def _missing(wanted: Sequence[apt.Wanted], packages: Mapping[str, apt.Package]) -> List[apt.Wanted]:
    return [package for package in wanted if not package.satisfied_by(packages.get(package.name))]


def _install(
    groups: Sequence[Group], missing: List[apt.Wanted], before: Mapping[str, apt.Package], lock_timeout_s: float
) -> None:
    if not missing:
        return
    _refuse_old(groups, missing, lock_timeout_s)
    concerned = [group for group in groups if {p.name for p in group.wanted} & {p.name for p in missing}]
    for group in concerned:
        for package in missing:
            if package in group.wanted:
                _remember(group.component, package.name, before)
    try:
        if not apt.install(missing, lock_timeout_s):
            apt.update(lock_timeout_s)
            if not apt.install(missing, lock_timeout_s):
                raise _not_found(groups, missing)
    finally:
        # What the packages brought with them, also when one of them failed in the end, belongs to each of these
        # components: it goes when none needs it any more.
        for name in sorted(set(apt.installed()) - set(before) - _names(groups)):
            for group in concerned:
                receipts.remember_before(group.component, "dependencies", name)


def _refuse_old(groups: Sequence[Group], missing: Sequence[apt.Wanted], lock_timeout_s: float) -> None:
    """HostError when apt would install an older major version than is wanted, also after its lists were renewed."""
    bounded = {package.name: package.at_least for package in missing if package.at_least and not package.version}
    for renewed in (False, True):
        offers = apt.candidates(list(bounded))
        old = [name for name, version in offers.items() if apt.major(version) < bounded.get(name, 0)]
        if not old:
            return
        if not renewed:
            apt.update(lock_timeout_s)
    name = old[0]
    raise HostError(
        _codes(groups).get(name) or "package-not-found",
        f"{name} {bounded[name]} or newer is needed, and the host's sources have {offers[name]}",
        "name a source that has it, or set its pins on the host",
    )


def _codes(groups: Sequence[Group]) -> Dict[str, Optional[str]]:
    return {name: code for group in groups for name, code in group.codes.items()}


def _names(groups: Sequence[Group]) -> Set[str]:
    return {package.name for group in groups for package in group.wanted}


def _remember(component: str, name: str, before: Mapping[str, apt.Package]) -> None:
    if name not in before:
        receipts.remember_before(component, "packages_absent", name)
    elif name not in receipts.read_before(component)["packages_absent"]:
        receipts.remember_before(component, "packages_replaced", name, before[name].version)


def _hold(groups: Sequence[Group], packages: Mapping[str, apt.Package]) -> List[str]:
    held: List[str] = []
    for group in groups:
        for name in group.to_hold(packages):
            receipts.remember_before(group.component, "holds", name)
            held.append(name)
    if held:
        apt.mark("hold", held)
    return held


def _not_found(groups: Sequence[Group], missing: Sequence[apt.Wanted]) -> HostError:
    offers = apt.versions([package.name for package in missing])
    lacking = [p for p in missing if not any(p.satisfied_by(apt.Package(v, False)) for v in offers[p.name])]
    package = (lacking or list(missing))[0]
    offered = ", ".join(offers[package.name][:4])
    return HostError(
        _codes(groups).get(package.name) or "package-not-found",
        f"no source offers {package.name} {package.version or ''}".rstrip()
        + (f"; on offer: {offered}" if offered else ""),
        "set a version that the source has, or another source",
    )


def undo(component: str, lock_timeout_s: float, check: bool) -> Change:
    """Remove what the component installed and what came with it unneeded; lift its holds."""
    known, now = receipts.read_before(component), apt.installed()
    ours = [name for name in known["packages_absent"] if name in now]
    held = [name for name in known.get("holds", {}) if name in now and name not in ours and now[name].held]
    if check or not (ours or held):
        return Change([], dict.fromkeys(held), ours)
    if held:
        apt.mark("unhold", held)
    if ours:
        apt.purge(ours, lock_timeout_s)
    unneeded = sorted(apt.not_needed_any_more(lock_timeout_s) & set(known.get("dependencies", {})))
    if unneeded:
        apt.purge(unneeded, lock_timeout_s)
    return Change([], dict.fromkeys(held), ours + unneeded)
