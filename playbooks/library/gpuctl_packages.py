"""Module gpuctl_packages: have packages at versions that match, held; or undo what was installed."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from bootstrap.hostside import gpuctl_apt as apt
from bootstrap.hostside import gpuctl_receipts as receipts
from bootstrap.hostside.gpuctl_hostio import HostError
from bootstrap.hostside.gpuctl_module import HostModule

DOCUMENTATION = r"""
module: gpuctl_packages
short_description: Have Debian packages of a component at versions that match a pattern
description:
  - Reads dpkg's own status file first; when all is as wanted, no tool is started.
  - Waits for the package database and names who holds it.
  - Remembers which packages were absent; O(state=absent) removes these, and what they brought, and nothing else.
options:
  component:
    description: Role that owns the packages.
    type: str
    required: true
  packages:
    description:
      - Packages, each with C(name) and, if it matters, C(version), a glob such as V(1.36.3-*).
      - C({kernel}) in a name stands for the running kernel; C(only_if_path) skips a package where that path is absent;
        C(code) is the code of the failure when no source offers it.
    type: list
    elements: dict
    default: []
  names:
    description: Names of packages, beside O(packages).
    type: list
    elements: str
    default: []
  version:
    description: Version, a glob, of all packages in O(names); any will do when it is not given.
    type: str
  instead_of:
    description: Pattern of names; packages that match it and are not wanted are purged, with their configuration.
    type: str
  state:
    description: V(absent) removes the packages that this component installed and lifts its holds.
    type: str
    choices: [present, absent]
    default: present
  hold:
    description: Whether the packages are held against upgrades by others.
    type: bool
    default: false
  allow_downgrade:
    description: Whether a newer version is replaced by the one that is wanted.
    type: bool
    default: true
  update_cache:
    description: V(when-needed) fetches the package lists when no version on offer fits; V(always) and V(never) say it.
    type: str
    choices: [when-needed, always, never]
    default: when-needed
  lock_timeout:
    description: Seconds to wait for the package database.
    type: int
    default: 300
"""

EXAMPLES = r"""
- name: Install containerd
  gpuctl_packages:
    component: containerd
    packages: [{name: containerd.io, version: 2.3.7-*}]
    hold: true
"""

RETURN = r"""
installed:
  description: Version of each package that was installed or replaced.
  type: dict
  returned: success
removed:
  description: Packages that were removed.
  type: list
  elements: str
  returned: success
"""


def have(module: HostModule) -> dict[str, Any]:
    """Install what is missing or does not match, then hold."""
    wanted = [_wanted(entry) for entry in module.params["packages"] if _applies(entry)]
    wanted += [apt.Wanted(name, module.params["version"]) for name in module.params["names"]]
    before = apt.installed()
    missing = [package for package in wanted if not package.satisfied_by(before.get(package.name))]
    unheld = [p.name for p in wanted if module.params["hold"] and not _held(before, p.name)]
    rivals = _rivals(module, wanted)
    if module.check_mode:
        planned = {p.name: p.version for p in missing}
        return {"changed": bool(missing or unheld or rivals), "installed": planned, "removed": rivals}
    component = module.params["component"]
    for package in missing:
        _remember(component, package.name, before)
    if missing:
        _install(module, missing)
    rivals = _rivals(module, wanted)  # what the installation replaced has left its configuration, too
    if rivals:
        apt.purge(rivals, module.params["lock_timeout"])
    after = apt.installed() if missing else before
    exact = {package.name: after[package.name].version for package in missing if package.name in after}
    for name in sorted(set(after) - set(before) - set(exact)):  # what the packages brought with them
        receipts.remember_before(component, "dependencies", name)
    unheld = [p.name for p in wanted if module.params["hold"] and not _held(after, p.name)]
    if unheld:
        for name in unheld:
            receipts.remember_before(component, "holds", name)
        apt.mark("hold", unheld)
    return {"changed": bool(exact or unheld or rivals), "installed": exact, "removed": rivals}


def _rivals(module: HostModule, wanted: list[apt.Wanted]) -> list[str]:
    pattern = module.params["instead_of"]
    names = {package.name for package in wanted}
    return [name for name in apt.present(pattern) if name not in names] if pattern else []


def _kernel(text: str) -> str:
    return text.replace("{kernel}", os.uname().release)


def _wanted(entry: dict[str, Any]) -> apt.Wanted:
    return apt.Wanted(_kernel(entry["name"]), entry.get("version"))


def _applies(entry: dict[str, Any]) -> bool:
    return not entry.get("only_if_path") or Path(_kernel(entry["only_if_path"])).exists()


def _held(packages: dict[str, apt.Package], name: str) -> bool:
    return name in packages and packages[name].held


def _remember(component: str, name: str, before: dict[str, apt.Package]) -> None:
    if name not in before:
        receipts.remember_before(component, "packages_absent", name)
    elif name not in receipts.read_before(component)["packages_absent"]:
        receipts.remember_before(component, "packages_replaced", name, before[name].version)


def _install(module: HostModule, missing: list[apt.Wanted]) -> None:
    wanted, timeout_s = module.params, module.params["lock_timeout"]
    if wanted["update_cache"] == "always":
        apt.update(timeout_s)
    if apt.install(missing, timeout_s, wanted["allow_downgrade"]):
        return
    if wanted["update_cache"] == "when-needed":
        apt.update(timeout_s)
        if apt.install(missing, timeout_s, wanted["allow_downgrade"]):
            return
    raise _not_found(module, missing)


def _not_found(module: HostModule, missing: list[apt.Wanted]) -> HostError:
    offers = apt.versions([package.name for package in missing])
    lacking = [p for p in missing if not any(p.satisfied_by(apt.Package(v, False)) for v in offers[p.name])]
    package = (lacking or missing)[0]
    codes = {_kernel(entry["name"]): entry.get("code") for entry in module.params["packages"]}
    offered = ", ".join(offers[package.name][:4])
    return HostError(
        codes.get(package.name) or "package-not-found",
        f"no source offers {package.name} {package.version or ''}".rstrip()
        + (f"; on offer: {offered}" if offered else ""),
        "set a version that the source has, or another source",
    )


def undo(module: HostModule) -> dict[str, Any]:
    """Remove what this component installed and what came with it unneeded; lift its holds."""
    component, timeout_s = module.params["component"], module.params["lock_timeout"]
    known, now = receipts.read_before(component), apt.installed()
    ours = [name for name in known["packages_absent"] if name in now]
    held = [name for name in known.get("holds", {}) if name in now and name not in ours and now[name].held]
    if module.check_mode or not (ours or held):
        return {"changed": bool(ours or held), "installed": {}, "removed": ours}
    if held:
        apt.mark("unhold", held)
    if ours:
        apt.purge(ours, timeout_s)
    unneeded = sorted(apt.not_needed_any_more(timeout_s) & set(known.get("dependencies", {})))
    if unneeded:
        apt.purge(unneeded, timeout_s)
    return {"changed": True, "installed": {}, "removed": ours + unneeded}


def main(module: HostModule) -> dict[str, Any]:
    """Install, or remove."""
    return have(module) if module.params["state"] == "present" else undo(module)
