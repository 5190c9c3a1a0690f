"""Where things stand in an inventory: hosts, groups and variables with their lines, as written.

What is read, and which value wins, is Ansible's to say (resolve_child.py). This scanner knows what Ansible forgets
once it has parsed: that a host was listed twice, how a number was spelled, on which line a boolean stood. It never
raises for what a file holds: what it cannot read it leaves out, since Ansible reports it.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator
from pathlib import Path

from bootstrap.inventory.places import Definition, Fault, GroupEntry, HostEntry, Scan
from bootstrap.inventory.scan_ini import scan_ini
from bootstrap.inventory.scan_yaml import YAML_SUFFIXES, compose, is_group_mapping, is_yaml, scan_vars, scan_yaml
from bootstrap.inventory.sources import is_source

__all__ = ["Definition", "Fault", "GroupEntry", "HostEntry", "Scan", "scan_ini", "scan_tree", "scan_vars", "scan_yaml"]

_VARS_FOLDERS = {"group_vars": "group", "host_vars": "host"}


def read_text(path: Path) -> str:
    """What the file holds; empty where it cannot be read, which load_inventory reports."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def scan_tree(path: Path, read: Callable[[Path], str] = read_text) -> Scan:
    """Scan an inventory file, or a directory of them, with the group_vars and host_vars beside it."""
    found = Scan()
    for file in _inventory_files(path):
        found.extend(_scan_source(file, read(file)))
    for folder, scope in _VARS_FOLDERS.items():
        root = (path if path.is_dir() else path.parent) / folder
        for file, owner in _vars_files(root):
            found.extend(scan_vars(read(file), str(file), scope, owner))
    return found


def _scan_source(path: Path, text: str) -> Scan:
    if is_yaml(path, text):
        return scan_yaml(text, str(path))
    found = scan_ini(text, str(path))
    if is_group_mapping(text) and compose(text, str(path), Scan()) is not None:
        words = f"it is YAML, but Ansible reads a file whose name ends in {path.suffix or path.name} as INI"
        found.faults.append(
            Fault(words, str(path), 1, fix=shlex.join(["mv", str(path), str(path.with_suffix(".yml"))]))
        )
    return found


def _inventory_files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    found: list[Path] = []
    for entry in sorted(path.iterdir()):
        if is_source(entry):
            found += _inventory_files(entry)
    return found


def _vars_files(root: Path) -> Iterator[tuple[Path, str]]:
    """Files of a vars folder with the group or host that they belong to: `gpu1.yml`, `gpu1`, `gpu1/any/thing.yml`."""
    if not root.is_dir():
        return
    for entry in sorted(root.iterdir()):
        if entry.is_dir():
            yield from ((file, entry.name) for file in _vars_below(entry))
        elif entry.suffix in {*YAML_SUFFIXES, ""}:
            yield entry, entry.stem if entry.suffix in YAML_SUFFIXES else entry.name


def _vars_below(folder: Path) -> Iterator[Path]:
    """What Ansible takes from a folder: no hidden files, no backups, no folders with a suffix."""
    for entry in sorted(folder.iterdir()):
        if entry.name.startswith(".") or entry.name.endswith("~"):
            continue
        if entry.is_dir() and not entry.suffix:
            yield from _vars_below(entry)
        elif entry.is_file() and entry.suffix in {*YAML_SUFFIXES, ""}:
            yield entry
