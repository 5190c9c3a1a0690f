"""Module gpuctl_nfs_export: have one folder exported by the kernel's NFS server, to named networks and nobody else."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

from bootstrap.hostside import gpuctl_nfsexports as exports
from bootstrap.hostside import gpuctl_receipts as receipts
from bootstrap.hostside.gpuctl_deletion import delete_tree, identity
from bootstrap.hostside.gpuctl_hostio import HostError, read_text, run
from bootstrap.hostside.gpuctl_module import HostModule

DOCUMENTATION = r"""
module: gpuctl_nfs_export
short_description: Have a folder, and have it exported as its table says
description:
  - The table itself is a file, which M(gpuctl_files) writes.
options:
  component:
    description: Role that owns the export.
    type: str
    required: true
  state:
    description:
      - V(checked) refuses what cannot or must not be exported, and changes nothing.
      - V(folder) makes the folder, with owner and mode, when it is not there; one that is there stays as it is.
      - V(exported) has the kernel's table as wanted; it reads the files anew only where it differs.
      - V(absent) ends the export. The folder stays, unless O(purge) is given and it was made by this component.
    type: str
    choices: [checked, folder, exported, absent]
    required: true
  path:
    description: The folder.
    type: str
    required: true
  clients:
    description: Addresses and networks that may mount it.
    type: list
    elements: str
    default: []
  options:
    description: Options that the export must have for each of them.
    type: list
    elements: str
    default: []
  owner:
    description: Numeric user of a folder that is made.
    type: int
    default: 0
  group:
    description: Numeric group of a folder that is made.
    type: int
    default: 0
  mode:
    description: Permissions of a folder that is made.
    type: str
    default: "0750"
  min_free_gib:
    description: GiB that must be free, at the first installation, on the file system of the folder.
    type: int
    default: 0
  purge:
    description: Whether a folder that this component made is removed, with all data in it.
    type: bool
    default: false
"""

EXAMPLES = r"""
- name: Make the folder
  gpuctl_nfs_export:
    component: nfs_server
    state: folder
    path: /srv/nfs/kubedata
    owner: 1000
    group: 1000
    mode: "2770"
"""

RETURN = r"""
actions:
  description: What was done (or, in check mode, would be).
  type: list
  elements: str
  returned: success
listening:
  description: Whether the server takes connections.
  type: bool
  returned: O(state=exported)
server_was_there:
  description: Whether the host had an NFS server before the component came.
  type: bool
  returned: O(state=absent)
"""

_MADE = "nfs_folders"  # what `before` calls the folders that the component made
_UNFINISHED = 0o700
_PACKAGE = "nfs-kernel-server"


def check(given: dict[str, Any]) -> list[str]:
    """Refuse what must not be, or cannot be. Raises HostError (nfs-*)."""
    path = given["path"]
    complaints = [why for why in map(exports.client_complaint, given["clients"]) if why]
    if complaints or not given["clients"]:
        why = "; ".join(complaints) or "no client is named: the export would be for nobody"
        raise HostError("nfs-open-export", why, "set nfs_server_networks to the networks of the nodes")
    why = exports.path_complaint(path)
    if why:
        raise HostError(
            "nfs-path-refused", why, "set nfs_server_path to a folder of its own, such as /srv/nfs/kubedata"
        )
    others = [f"{table}: {line}" for table, lines in exports.foreign(path).items() for line in lines]
    if others:
        message = f"{path} is exported already, not by gpuctl: {'; '.join(others)}"
        raise HostError("nfs-export-foreign", message, "take that line out, or set another nfs_server_path")
    if not Path(exports.OURS).exists():
        _check_space(path, given["min_free_gib"])
    return []


def _check_space(path: str, wanted_gib: int) -> None:
    place = next(folder for folder in (Path(path), *Path(path).parents) if folder.is_dir())
    found = os.statvfs(place)
    free_gib = found.f_bavail * found.f_frsize / 2**30
    if free_gib < wanted_gib:
        message = f"{place} has {free_gib:.1f} GiB free for the export, less than {wanted_gib}"
        raise HostError("nfs-space-low", message, "free space, mount a disk there, or set nfs_server_min_free_gib")


def make_folder(given: dict[str, Any], check_mode: bool) -> list[str]:
    """Make the folder and those above it; owner and mode only for what is made here, or half made by a killed run."""
    path, component = Path(given["path"]), given["component"]
    made = receipts.read_before(component).get(_MADE, {})
    if path.is_dir() and not (str(path) in made and _half_made(path)):
        return []
    known = exports.parse(read_text(exports.OURS))
    if str(path) not in made and any(export.path == str(path) for export in known):
        message = f"{path} is gone; it was there before gpuctl came, and its data is not in a new folder"
        raise HostError("nfs-folder-gone", message, "mount its file system again, or make the folder by hand")
    if check_mode:
        return [f"make {path}"]
    for folder in (*reversed(path.parents), path):
        if not folder.is_dir():
            receipts.remember_before(component, _MADE, str(folder))
            folder.mkdir(_UNFINISHED if folder == path else 0o755)
    receipts.renew_before(component, _MADE, str(path), identity(str(path)))
    path.chmod(_UNFINISHED)  # whatever the umask was: it tells a half made folder from a finished one
    os.chown(path, given["owner"], given["group"])
    path.chmod(int(given["mode"], 8))
    return [f"make {path}"]


def _half_made(path: Path) -> bool:
    return path.stat().st_mode & 0o7777 == _UNFINISHED and not any(path.iterdir())


def table() -> list[exports.Export]:
    """What the kernel's server is told; empty where nothing can tell it."""
    done = run(["exportfs", "-s"], 30)
    return exports.parse(done.out) if done.rc == 0 else []


def have_exported(given: dict[str, Any], check_mode: bool) -> list[str]:
    """Read the tables anew where the path's part of them differs. Raises HostError [nfs-export-failed]."""
    wanted = (given["path"], given["clients"], given["options"])
    actions = exports.differing(*wanted, table())
    if not actions or check_mode:
        return actions
    done = run(["exportfs", "-ra"], 60)
    left = exports.differing(*wanted, table())
    if left:
        raise HostError(
            "nfs-export-failed", f"exportfs: {done.tail(1) or '; '.join(left)}", "see exports(5)", done.tail()
        )
    return actions


def end(given: dict[str, Any], check_mode: bool) -> list[str]:
    """End the export; with `purge`, remove the folders that the component made."""
    path = given["path"]
    actions = [f"end the export of {export.path} to {export.client}" for export in table() if export.path == path]
    if actions and not check_mode:
        run(["exportfs", "-ra"], 60)
    if not given["purge"]:
        return actions
    made = receipts.read_before(given["component"]).get(_MADE, {})
    if path in made and not exports.path_complaint(path):
        actions += _purged(path, made[path], check_mode)
    for folder in map(Path, sorted(set(made) - {path}, key=len, reverse=True)):
        if folder.is_dir() and not any(folder.iterdir()):
            actions.append(f"remove {folder}")
            if not check_mode:
                folder.rmdir()
    return actions


def _purged(path: str, made: str | None, check_mode: bool) -> list[str]:
    """Remove the folder with the data in it, if it is the one that was made and holds no other file system.

    `made` is what the folder was then; None where an older gpuctl made it. Raises HostError [delete-refused].
    """
    now = identity(path)
    if now is None:
        return []
    if made is not None and made != now:
        words = f"{path} is not the folder that gpuctl made: another one, or another file system, is there now"
        raise HostError("delete-refused", words, "delete its data by hand, or reset without --purge")
    if not check_mode:
        delete_tree(path)
    return [f"remove {path}"]


def main(module: HostModule) -> dict[str, Any]:
    """Check, make, export, or end it."""
    given, state = module.params, module.params["state"]
    if state == "checked":
        return {"changed": False, "actions": check(given)}
    if state == "folder":
        actions = make_folder(given, module.check_mode)
        return {"changed": bool(actions), "actions": actions}
    if state == "exported":
        actions = have_exported(given, module.check_mode)
        return {"changed": bool(actions), "actions": actions, "listening": exports.listening()}
    # Of a server that was there before, only this export goes.
    absent_before = _PACKAGE in receipts.read_before(given["component"])["packages_absent"]
    was_there = not absent_before and shutil.which("exportfs") is not None
    actions = end(given, module.check_mode)
    return {"changed": bool(actions), "actions": actions, "server_was_there": was_there}
