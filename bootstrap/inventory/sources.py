"""The files that an inventory is made of, before anything reads them: scripts, plugins and devices are refused."""

from __future__ import annotations

import codecs
import os
import re
import shlex
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from bootstrap.errors import Problem, settings_error
from bootstrap.inventory.scan_yaml import is_yaml

# What Ansible passes over in a directory: its defaults for inventory_ignore_extensions.
IGNORED_SUFFIXES = frozenset({".pyc", ".pyo", ".swp", ".bak", ".rpm", ".md", ".txt", ".rst", ".orig", ".cfg", ".retry"})
VARS_FOLDERS = ("group_vars", "host_vars")
_PROGRAM_SUFFIXES = frozenset({".py", ".sh", ".pl", ".rb", ".exe"})
_INI_SUFFIXES = frozenset({".ini"})
# A key of the outermost mapping with one word as its value, in YAML or JSON; a group of that name has a mapping.
_PLUGIN = re.compile(r"""^(?:\{\s*)?["']?plugin["']?[ \t]*:[ \t]+["']?([A-Za-z_][\w.]*)""", re.MULTILINE)
_DEEPEST = 16  # folders below each other; a link to a folder above would go on for ever
_MOST_BYTES = 16 * 1024 * 1024  # 10,000 hosts with a dozen variables each are 4 MiB
_NAMED = "name an inventory with --inventory, or write one with `gpuctl init`"


def refuse_sources(path: Path) -> None:
    """Refuse what is not there, cannot be read, or is more than text.

    Raises:
        GpuctlError: exit 3, with every such file.
    """
    if not path.exists():
        raise settings_error(Problem("inventory-missing", f"{path}: there is no such file", _NAMED))
    if not (path.is_file() or path.is_dir()):
        raise settings_error(Problem("inventory-invalid", f"{path} is neither a file nor a directory", _NAMED))
    problems = list(_problems(path))
    if problems:
        raise settings_error(*problems)


def is_source(entry: Path) -> bool:
    """Whether Ansible takes this entry of a directory for a part of the inventory."""
    hidden = entry.name.startswith(".") or entry.name.endswith("~") or entry.suffix in IGNORED_SUFFIXES
    return not hidden and entry.name not in {*VARS_FOLDERS, "vars_plugins"}


def _problems(path: Path) -> Iterator[Problem]:
    root = path if path.is_dir() else path.parent
    yield from _walk(path, 0, sources=True)
    for folder in VARS_FOLDERS:
        if (root / folder).is_dir():
            yield from _walk(root / folder, 0, sources=False)


def _walk(path: Path, depth: int, *, sources: bool) -> Iterator[Problem]:
    try:
        if not path.is_dir():
            yield from _file_problems(path, sources=sources)
            return
        entries = sorted(path.iterdir())
    except OSError as error:
        yield _unreadable(path, error)
        return
    if depth > _DEEPEST:
        fix = "take away the link that leads to a folder above it"
        yield Problem("inventory-invalid", f"{path}: more than {_DEEPEST} folders below each other", fix)
        return
    for entry in entries:
        if not sources or is_source(entry):
            yield from _walk(entry, depth + 1, sources=sources)


def _file_problems(path: Path, *, sources: bool) -> Iterator[Problem]:
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            yield Problem("inventory-invalid", f"{path} is no regular file", "move it out of the inventory")
            return
        with path.open("rb") as stream:
            start = stream.read(4)
    except OSError as error:
        yield _unreadable(path, error)
        return
    if status.st_size > _MOST_BYTES:
        message = f"{path} has {status.st_size} bytes; an inventory's file has at most {_MOST_BYTES}"
        yield Problem("inventory-invalid", message, "name the inventory itself, or split it into several files")
    elif complaint := _encoding(path, start, sources=sources):
        yield complaint
    elif sources and (start[:2] == b"#!" or path.suffix in _PROGRAM_SUFFIXES):
        yield Problem("inventory-invalid", f"{path} is a script; inventories are never executed", _kept(path))
    elif sources and (plugin := _plugin(path)):
        message = f"{path} is the configuration of the inventory plugin {plugin}; plugins are never run"
        yield Problem("inventory-invalid", message, _kept(path))


def _encoding(path: Path, start: bytes, *, sources: bool) -> Problem | None:
    """UTF-16, and the byte order mark that editors of Windows write: YAML may have one, Ansible's INI form may not."""
    quoted = shlex.quote(str(path))
    if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        fix = f"iconv -f UTF-16 -t UTF-8 -o {quoted}.new {quoted} && mv {quoted}.new {quoted}"
        return Problem("inventory-invalid", f"{path} is UTF-16; Ansible reads UTF-8", fix)
    if not sources or not start.startswith(codecs.BOM_UTF8):
        return None
    if is_yaml(path, path.read_text(encoding="utf-8", errors="replace")):
        return None
    words = f"{path} begins with a byte order mark, which Ansible takes for a part of its first line"
    fix = rf"sed -i '1s/^\xEF\xBB\xBF//' {quoted}"
    return Problem("inventory-invalid", words, fix, at=f"{path}:1")


def _plugin(path: Path) -> str:
    """The plugin that the file asks for: `plugin:` is a key of its outermost mapping, and no group."""
    if path.suffix in _INI_SUFFIXES:
        return ""
    with suppress(OSError):
        found = _PLUGIN.search(path.read_text(encoding="utf-8", errors="replace"))
        return found[1][:80] if found else ""
    return ""


def _unreadable(path: Path, error: OSError) -> Problem:
    fix = f"make it readable for {os.environ.get('USER', 'this user')}"
    return Problem("inventory-unreadable", f"{path}: {error.strerror}", fix)


def _kept(path: Path) -> str:
    """The remedy: what it prints, as a file."""
    command = shlex.join(["ansible-inventory", "-i", str(path), "--list", "--yaml", "--output", "FILE.yml"])
    return f"keep what it prints instead: `{command}`"
