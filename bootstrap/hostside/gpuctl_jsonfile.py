"""A JSON file with keys of gpuctl's own among others': what is on the host, and what is remembered of it.

Standard library only, Python 3.8 and later: this code runs on the hosts.
"""

from __future__ import annotations

import json
import os
import stat
from typing import Any, Dict, List, Mapping, Sequence, Tuple

from . import gpuctl_receipts as receipts
from .gpuctl_filesync import remove_folders
from .gpuctl_hostio import HostError, missing_folders, read_bytes, write_atomic
from .gpuctl_jsonkeys import ConflictError, KeyPath, Merged, dump, load, merge, name_of, shown, without

RECORD = "json_keys"  # in what is remembered of a component: "PATH#[keys]" → how the key was


def read(path: str, code: str) -> Tuple[str, Dict[str, Any]]:
    """Text and content of the file, empty when there is none; HostError with the given code when it is no object."""
    data = read_bytes(path)
    try:
        text = (data or b"").decode("utf-8")
        return text, load(text)
    except ValueError as error:
        raise HostError(code, f"{path} cannot be read: {error}", f"correct {path} on the host") from error


def owned_by(component: str, path: str) -> Dict[KeyPath, Mapping[str, Any]]:
    """The keys of the file that the component set, with how they were before."""
    return owned_in(receipts.read_before(component), path)


def owned_in(before: Mapping[str, Any], path: str) -> Dict[KeyPath, Mapping[str, Any]]:
    """The same, of what was remembered."""
    head = path + "#"
    return {
        tuple(json.loads(key[len(head) :])): how
        for key, how in (before.get(RECORD) or {}).items()
        if key.startswith(head)
    }


def _key(path: str, keys: KeyPath) -> str:
    return path + "#" + json.dumps(list(keys))


class Plan:
    """What has to become of the file; nothing is changed before `write`."""

    def __init__(
        self, component: str, path: str, keys: Mapping[str, Any], defaults: Sequence[Mapping[str, Any]], prefix: str
    ) -> None:
        """Raise HostError PREFIX-invalid or PREFIX-conflict."""
        self.component = component
        self.path = path
        self.text, tree = read(path, prefix + "-invalid")
        self._before = owned_by(component, path)
        try:
            self.merged: Merged = merge(tree, keys, defaults, self._before)
        except ConflictError as clash:
            raise HostError(
                prefix + "-conflict",
                f"{path} has {name_of(clash.path)}: {shown(clash.theirs)}, which {component} needs to be "
                f"{shown(clash.ours)}",
                f"remove {name_of(clash.path)} from {path} on the host, or give it that value",
            ) from clash

    @property
    def tree(self) -> Mapping[str, Any]:
        """What the file shall say."""
        return self.merged.tree

    @property
    def changed(self) -> List[KeyPath]:
        """The keys whose value changes."""
        return self.merged.changed

    @property
    def new_text(self) -> str:
        """What the file shall hold: as it is when no key changes."""
        return dump(self.merged.tree, self.text) if self.changed else self.text

    def write(self) -> None:
        """Remember what is not yet, write the file, then forget the keys that are no longer ours."""
        if not os.path.lexists(self.path) and self.changed:
            for folder in missing_folders(self.path):
                receipts.remember_before(self.component, "folders", folder)
            receipts.remember_before(self.component, "json_files", self.path, "absent")
        for keys, how in self.merged.owned.items():
            receipts.renew_before(self.component, RECORD, _key(self.path, keys), how)
        if self.changed:
            _replace(self.path, self.new_text)
        for keys in self._before:
            if keys not in self.merged.owned:
                receipts.forget_before(self.component, RECORD, _key(self.path, keys))


def _replace(path: str, text: str) -> None:
    mode, owner = 0o644, None
    if os.path.exists(path):
        path = os.path.realpath(path)
        found = os.stat(path)
        mode, owner = stat.S_IMODE(found.st_mode), (found.st_uid, found.st_gid)
    try:
        write_atomic(path, text.encode(), mode)
        if owner is not None and os.geteuid() == 0:
            os.chown(path, *owner)
    except OSError as error:
        raise HostError("step-failed", f"cannot write {path}: {error.strerror}") from error


def restore(component: str, path: str, code: str, check: bool) -> List[KeyPath]:
    """Take the component's keys out of the file, and the file away when nothing else came into it.

    The keys that changed; what they were stays remembered until the component is forgotten.
    """
    owned = owned_by(component, path)
    if not owned or read_bytes(path) is None:
        return []
    text, tree = read(path, code)
    result, changed = without(tree, owned)
    if check or not changed:
        return changed
    if not result and path in receipts.read_before(component).get("json_files", {}):
        os.unlink(path)
        remove_folders(component, check)
    else:
        _replace(path, dump(result, text))
    return changed
