"""Digests of what a role executes and of the arguments it is given: what receipts store and the planner compares.

The same functions are called by the planner and, while a role runs, by the gpuctl_receipt and gpuctl_objects action
plugins, so that both speak of the same bytes.
"""

from __future__ import annotations

import ast
import hashlib
import hmac
import json
import re
import secrets
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from bootstrap.content import content_root
from bootstrap.inventory.schema import component_named, options_of

# Cost of one secret's digest: about 50 ms and 16 MiB, as RFC 7914 suggests for interactive use.
_SCRYPT = {"n": 2**14, "r": 8, "p": 1, "dklen": 32}
_MODULE_NAME = re.compile(r"\bgpuctl_[a-z_]+\b")
_IMPORTED = re.compile(r"^\s*(?:from|import)\b.*?\b(gpuctl_[a-z_]+)\b", re.MULTILINE)
_NOT_EXECUTED_BY_MAIN = frozenset({"verify.yml", "remove.yml"})
_Loader: type[yaml.SafeLoader] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def plain(value: Any) -> Any:
    """The value as plain JSON types (Ansible hands out tagged and lazy subclasses)."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(item) for item in value]
    if isinstance(value, bool) or value is None:
        return value
    for kind in (int, float, str):
        if isinstance(value, kind):
            return kind(value)
    return str(value)


def canonical(value: Any) -> str:
    """One spelling per value: JSON with sorted keys and no spaces."""
    return json.dumps(plain(value), sort_keys=True, separators=(",", ":"), ensure_ascii=True)


def value_digest(value: Any) -> str:
    """sha256 of the canonical JSON."""
    return "sha256:" + hashlib.sha256(canonical(value).encode()).hexdigest()


def secret_digest(value: Any, salt: bytes | None = None) -> str:
    """Salted scrypt of a secret, "scrypt:<salt>:<digest>" in hex: comparable, not guessable at speed."""
    salt = secrets.token_bytes(16) if salt is None else salt
    digest = hashlib.scrypt(canonical(value).encode(), salt=salt, maxmem=2**26, **_SCRYPT)
    return f"scrypt:{salt.hex()}:{digest.hex()}"


def same(recorded: str, value: Any) -> bool:
    """Whether a recorded digest is the digest of this value."""
    if recorded.startswith("scrypt:"):
        salt = bytes.fromhex(recorded.split(":")[1])
        return hmac.compare_digest(recorded, secret_digest(value, salt))
    return recorded == value_digest(value)


def argument_digests(component: str, values: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """What a receipt keeps of each argument: its digest and, unless it is secret, its value.

    `values` may hold more than the component's arguments; arguments that it lacks are left out.
    """
    found: dict[str, dict[str, Any]] = {}
    for option in options_of(component):
        if option.name not in values:
            continue
        value = plain(values[option.name])
        found[option.name] = (
            {"digest": secret_digest(value)} if option.no_log else {"digest": value_digest(value), "value": value}
        )
    return found


@cache
def role_digest(component: str) -> str:
    """sha256 of what the component's role executes: tasks, handlers, templates, files, vars and the modules they call.

    Comments, the README and the entry points verify and remove do not count: changing them changes no host.
    """
    role = content_root() / "roles" / component_named(component).name
    total = hashlib.sha256()
    modules: set[str] = set()
    for path in _executed_files(role):
        body = _essence(path)
        modules.update(_MODULE_NAME.findall(body))  # module names stand in tasks, never in Python files of a role
        total.update(f"{path.relative_to(role)}\0{body}\0".encode())
    for path in _module_files(modules):
        total.update(f"{path.name}\0{_essence(path)}\0".encode())
    return "sha256:" + total.hexdigest()


def _executed_files(role: Path) -> Iterable[Path]:
    for room in ("defaults", "vars", "tasks", "handlers", "templates", "files"):
        for path in sorted((role / room).rglob("*")):
            if (
                path.is_file()
                and path.suffix != ".pyc"
                and not (room == "tasks" and path.name in _NOT_EXECUTED_BY_MAIN)
            ):
                yield path


def _module_files(names: set[str]) -> list[Path]:
    """The modules of these names, their action plugins, and the code that they import on the host; sorted."""
    root = content_root()
    folders = (root / "playbooks" / "library", root / "playbooks" / "action_plugins", root / "bootstrap" / "hostside")
    found: set[Path] = set()
    known, open_names = set(names), set(names)
    while open_names:
        paths = {folder / f"{name}.py" for name in open_names for folder in folders}
        new = {path for path in paths if path.exists()}
        found |= new
        named = {name for path in new for name in _IMPORTED.findall(path.read_text(encoding="utf-8"))}
        open_names = named - known
        known |= named
    return sorted(found, key=lambda path: (path.name, path.parent.name))


@cache
def _essence(path: Path) -> str:
    """The file without what does not execute: comments and layout of YAML and Python."""
    text = path.read_text(encoding="utf-8")
    if path.suffix in {".yml", ".yaml"} and path.parent.name != "templates":
        return canonical(yaml.load(text, _Loader))  # noqa: S506 - a SafeLoader in either spelling
    if path.suffix == ".py":
        return hashlib.sha256(ast.dump(ast.parse(text)).encode()).hexdigest()
    return text
