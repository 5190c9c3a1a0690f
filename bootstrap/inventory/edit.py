"""One list of names changed in an inventory, with everything else kept as its author wrote it.

What cannot be changed without guessing is refused, with the line that the author can write.
"""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from bootstrap.errors import GpuctlError, Problem, settings_error
from bootstrap.inventory.edit_yaml import UnsafeError, added_to_yaml, changed_in_yaml
from bootstrap.inventory.load import load_inventory, short_place
from bootstrap.inventory.model import Inventory
from bootstrap.inventory.scan import Definition, scan_tree

_YAML_SUFFIXES = frozenset({".yml", ".yaml", ".json"})
_ALL_VARS = re.compile(r"^\[all:vars\]\s*(?:[#;].*)?$")
_ANY_SECTION = re.compile(r"^\[[^\]]+\]")
_VALUE = re.compile(r"^(?P<head>\s*\w+\s*=\s*)(?P<value>.*?)(?P<tail>\s+#.*)?$")


@dataclass(frozen=True, slots=True)
class Edit:
    """A file as it is and as it would be. `line` is what the list would be, as it can be written by hand."""

    path: Path
    before: str
    after: str
    line: str
    at: str

    @property
    def changes(self) -> bool:
        """Whether there is anything to write."""
        return self.before != self.after


def plan_edit(inventory: Path, name: str, values: Sequence[str]) -> Edit:
    """The edit that makes the variable `name` this list for all hosts; nothing is written.

    Raises:
        GpuctlError: it stands in several places, or in a form that is not ours to change (exit 3); the error has the
            line to write.
    """
    places = [found for found in scan_tree(inventory).definitions if found.name == name]
    if len(places) > 1:
        where = ", ".join(short_place(f"{place.path}:{place.line}") for place in places)
        keep = f"keep one of them, `{written(inventory, name, values)}`, and run the same command again"
        raise _refusal(inventory, name, values, f"it stands in several places: {where}", fix=keep)
    if not places and inventory.is_dir():
        fix = f"write `{written(inventory, name, values)}` into its group_vars/all.yml, then run the same command again"
        raise _refusal(inventory, name, values, "no file of the directory has it", fix=fix)
    path = Path(places[0].path) if places else inventory
    try:
        text = path.read_bytes().decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise _refusal(path, name, values, str(reason)) from error
    try:
        after, number = _changed(text, places[0], values) if places else _added(text, path, name, values)
    except UnsafeError as error:
        raise _refusal(path, name, values, str(error), places[0].line if places else 0) from error
    return Edit(path, text, after, written(path, name, values), short_place(f"{path}:{number}"))


def write_edit(edit: Edit, inventory: Inventory, name: str) -> None:
    """Write the file, and see that the inventory says just that and nothing else; else put it back.

    Raises:
        GpuctlError: the file cannot be written, or meant something else then (exit 3); it is as it was.
    """
    if not edit.changes:
        return
    values = [str(value) for value in json.loads(edit.line[edit.line.index("[") :])]
    if edit.path.read_bytes().decode("utf-8") != edit.before:
        raise _refusal(edit.path, name, values, "somebody has changed the file meanwhile")
    try:
        _replace(edit.path, edit.after)
    except OSError as error:
        raise _refusal(edit.path, name, values, f"it cannot be written ({error.strerror})") from error
    try:
        good = _says(load_inventory(inventory.path), inventory, name, values)
    except BaseException:
        _replace(edit.path, edit.before)
        raise
    if not good:
        _replace(edit.path, edit.before)
        raise _refusal(edit.path, name, values, "changed by gpuctl, the inventory would mean something else")


def written(path: Path, name: str, values: Sequence[str]) -> str:
    """The assignment as a line of that file."""
    return f"{name}{': ' if path.suffix in _YAML_SUFFIXES or path.is_dir() else '='}{json.dumps(list(values))}"


def _changed(text: str, place: Definition, values: Sequence[str]) -> tuple[str, int]:
    if place.form == "yaml":
        return changed_in_yaml(text, place.name, place.line, values), place.line
    if place.form != "ini-vars":
        raise UnsafeError("it stands on the line of a host")
    lines = text.splitlines(keepends=True)
    bare = lines[place.line - 1].rstrip("\r\n")
    match = _VALUE.match(bare)
    if match is None or "{" in match["value"]:
        raise UnsafeError("its value is a template")
    as_list = match["value"].startswith("[") or not values
    value = json.dumps(list(values)) if as_list else ",".join(values)
    lines[place.line - 1] = f"{match['head']}{value}{match['tail'] or ''}" + lines[place.line - 1][len(bare) :]
    return "".join(lines), place.line


def _added(text: str, path: Path, name: str, values: Sequence[str]) -> tuple[str, int]:
    if path.suffix in _YAML_SUFFIXES:
        return added_to_yaml(text, name, values)
    lines = text.splitlines(keepends=True)
    end = "\r\n" if "\r\n" in text else "\n"
    if lines and not lines[-1].endswith(("\n", "\r")):
        lines[-1] += end
    header = next((number for number, line in enumerate(lines) if _ALL_VARS.match(line.strip())), None)
    if header is None:
        lines += [*([end] if lines else []), f"[all:vars]{end}", f"{written(path, name, values)}{end}"]
        return "".join(lines), len(lines)
    after = header
    for number in range(header + 1, len(lines)):
        line = lines[number].strip()
        if _ANY_SECTION.match(line):
            break
        if line and line[0] not in "#;":
            after = number
    lines.insert(after + 1, f"{written(path, name, values)}{end}")
    return "".join(lines), after + 2


def _says(now: Inventory, before: Inventory, name: str, values: Sequence[str]) -> bool:
    """Whether nothing but the variable's value is another one, and that the one that was asked for."""
    if [host.name for host in now.hosts] != [host.name for host in before.hosts]:
        return False
    return all(
        dict(new.settings) == {**old.settings, name: list(values)}
        and new.groups == old.groups
        and new.connection == old.connection
        and new.explicit - {name} == old.explicit - {name}
        for new, old in zip(now.hosts, before.hosts, strict=True)
    )


def _replace(path: Path, text: str) -> None:
    """The file with another content, at once, with its mode and owner. A link stays one."""
    target = path.resolve()
    status = target.stat()
    number, temporary = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
    try:
        with os.fdopen(number, "wb") as stream:
            stream.write(text.encode("utf-8"))
            os.fchmod(stream.fileno(), status.st_mode & 0o7777)
            with suppress(PermissionError):
                os.fchown(stream.fileno(), status.st_uid, status.st_gid)
        Path(temporary).replace(target)
    except BaseException:
        with suppress(OSError):
            Path(temporary).unlink()
        raise


def _refusal(path: Path, name: str, values: Sequence[str], why: str, line: int = 0, fix: str = "") -> GpuctlError:
    where = "among the `vars` of the group `all`" if path.suffix in _YAML_SUFFIXES else "under [all:vars]"
    write = f"write `{written(path, name, values)}` into it yourself, {where}, then run the same command again"
    place = short_place(f"{path}:{line}") if line else str(path)
    return settings_error(Problem("inventory-not-edited", f"`{name}` is not changed: {why}", fix or write, at=place))
