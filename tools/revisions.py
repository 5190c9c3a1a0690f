#!/usr/bin/env python3
"""Decide what a change of a role means for hosts that have it: raise its revision, or record that nothing follows.

tests/golden/revisions/ROLE.txt holds the role's revision and a digest of what it executes: tasks, handlers, templates,
files, variables, and the modules that they call, with the code that those import on the host. Names of tasks, comments
and docstrings do not count. A test fails when the digest moved and nobody decided:

    tools/revisions.py                       lists the roles that moved
    tools/revisions.py --no-op ROLE …        hosts that have the role need not be touched (all: every role that moved)

Or raise `revision` in roles/ROLE/meta/gpuctl.yml, say under `revisions` why and with what effect, and run it again.
"""

from __future__ import annotations

import argparse
import ast
import hashlib
import re
import sys
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from bootstrap.inventory.schema import Component, components  # noqa: E402 - found through the line above
from bootstrap.plan.digests import canonical  # noqa: E402

GOLDEN = ROOT / "tests" / "golden" / "revisions"
_CODE = (ROOT / "playbooks" / "library", ROOT / "playbooks" / "action_plugins", ROOT / "bootstrap" / "hostside")
_MODULE_NAME = re.compile(r"\bgpuctl_[a-z_]+\b")
_IMPORTED = re.compile(r"^\s*(?:from|import)\b.*?\b(gpuctl_[a-z_]+)\b", re.MULTILINE)
_OTHER_ENTRY_POINTS = frozenset({"verify.yml", "remove.yml"})
_BLOCKS = ("block", "rescue", "always")


def execution_digest(role: str) -> str:
    """sha256 of what the role executes, the same on every Python from 3.11 on."""
    folder = ROOT / "roles" / role
    total = hashlib.sha256()
    modules: set[str] = set()
    for path in _executed_files(folder):
        body = _essence(path)
        modules.update(_MODULE_NAME.findall(body))  # names of modules stand in tasks, never in a role's Python files
        total.update(f"{path.relative_to(folder)}\0{body}\0".encode())
    for path in _module_files(modules):
        total.update(f"{path.name}\0{_essence(path)}\0".encode())
    return "sha256:" + total.hexdigest()


def python_essence(text: str) -> str:
    """The syntax tree without positions, docstrings and empty fields: `ast.dump` differs between versions of Python."""
    return _node(ast.parse(text))


def moved(component: Component) -> bool:
    """Whether what the role executes is not what was recorded."""
    return recorded(component.name) != (component.revision, execution_digest(component.name))


def recorded(role: str) -> tuple[int, str]:
    """The revision and digest on record; (0, "") without a record."""
    path = GOLDEN / f"{role}.txt"
    if not path.exists():
        return 0, ""
    revision, digest = path.read_text(encoding="utf-8").split()
    return int(revision), digest


def record(component: Component) -> None:
    """Write down the role as it is."""
    GOLDEN.mkdir(parents=True, exist_ok=True)
    line = f"{component.revision} {execution_digest(component.name)}\n"
    (GOLDEN / f"{component.name}.txt").write_text(line, encoding="utf-8")


def _executed_files(role: Path) -> Iterator[Path]:
    for room in ("defaults", "vars", "tasks", "handlers", "templates", "files"):
        for path in sorted((role / room).rglob("*")):
            other = room == "tasks" and path.name in _OTHER_ENTRY_POINTS
            if path.is_file() and path.suffix != ".pyc" and not other:
                yield path


def _module_files(names: set[str]) -> list[Path]:
    found: set[Path] = set()
    known, open_names = set(names), set(names)
    while open_names:
        new = {path for name in open_names for folder in _CODE if (path := folder / f"{name}.py").exists()}
        found |= new
        named = {name for path in new for name in _IMPORTED.findall(path.read_text(encoding="utf-8"))}
        open_names = named - known
        known |= named
    return sorted(found, key=lambda path: (path.name, path.parent.name))


@cache
def _essence(path: Path) -> str:
    text = path.read_text(encoding="utf-8")
    if path.suffix in {".yml", ".yaml"} and path.parent.name != "templates":
        content = yaml.safe_load(text)
        return canonical(_unnamed(content) if path.parent.name in {"tasks", "handlers"} else content)
    return hashlib.sha256(python_essence(text).encode()).hexdigest() if path.suffix == ".py" else text


def _unnamed(tasks: Any) -> Any:
    """Tasks without their names, those in blocks too; a handler keeps what it is notified by."""
    if not isinstance(tasks, list):
        return tasks
    return [
        {key: _unnamed(value) if key in _BLOCKS else value for key, value in task.items() if key != "name"}
        for task in tasks
    ]


def _node(value: Any) -> str:
    if isinstance(value, list):
        return "[" + ",".join(map(_node, value)) + "]"
    if not isinstance(value, ast.AST):
        return repr(value)
    fields = []
    for name, field in ast.iter_fields(value):
        if name in {"type_comment", "kind", "type_ignores", "ctx"} or field is None or field == []:
            continue
        if name == "body" and isinstance(value, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            field = field[1:] if ast.get_docstring(value, clean=False) is not None else field
        fields.append(f"{name}={_node(field)}")
    return f"{type(value).__name__}({','.join(fields)})"


def main(arguments: Iterable[str] | None = None) -> int:
    """List what moved, or record it; 1 when something is left to decide."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--no-op", nargs="+", default=(), metavar="ROLE", help="hosts that have it need not be touched")
    chosen = parser.parse_args(list(arguments) if arguments is not None else None).no_op
    open_roles = []
    for component in filter(moved, components()):
        raised = component.revision > recorded(component.name)[0]
        if raised or component.name in chosen or "all" in chosen:
            record(component)
            print(f"{component.name}: recorded at revision {component.revision}")  # noqa: T201 - a tool's answer
        else:
            open_roles.append(component.name)
    for role in open_roles:
        print(f"{role}: moved; raise its revision, or: tools/revisions.py --no-op {role}")  # noqa: T201
    return 1 if open_roles else 0


if __name__ == "__main__":
    sys.exit(main())
