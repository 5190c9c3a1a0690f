"""What these tests read: every role's files, its tasks one by one, and the names that its templates use."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from jinja2 import Environment, meta

from bootstrap.content import playbooks_path, roles_path

ROLES = sorted(path.name for path in roles_path().iterdir() if path.is_dir())
SETTINGS_ROLES = frozenset({"cluster"})  # they own variables and do nothing
WORKING_ROLES = [role for role in ROLES if role not in SETTINGS_ROLES]

# Keys of a task whose text is an expression as it stands, without braces.
_EXPRESSIONS = frozenset({"when", "changed_when", "failed_when", "until", "that"})
_BLOCKS = ("block", "rescue", "always")


class _AnyName(dict[str, Any]):
    """A table of filters or tests in which every name is found: only variables are of interest."""

    def get(self, key: str, default: Any = None) -> Any:
        return super().get(key, default) or (lambda value: value)

    def __contains__(self, key: object) -> bool:
        return True

    def __getitem__(self, key: str) -> Any:
        return self.get(key)


_ENVIRONMENT = Environment(extensions=["jinja2.ext.do", "jinja2.ext.loopcontrols"], autoescape=False)  # noqa: S701
_ENVIRONMENT.filters = _AnyName(_ENVIRONMENT.filters)
_ENVIRONMENT.tests = _AnyName(_ENVIRONMENT.tests)


@dataclass(frozen=True)
class Task:
    """A task or handler with the file it is in, and the names that enclosing blocks define for it."""

    file: Path
    body: dict[str, Any]
    inherited: frozenset[str] = frozenset()

    @property
    def where(self) -> str:
        return f"{self.file.relative_to(roles_path())}: {self.body.get('name', next(iter(self.body)))}"

    @property
    def is_block(self) -> bool:
        return "block" in self.body


def load(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def task_files(role: str) -> list[Path]:
    return sorted(path for room in ("tasks", "handlers") for path in (roles_path() / role / room).glob("*.yml"))


def tasks_of(role: str) -> list[Task]:
    return [task for path in task_files(role) for task in _walk(path, load(path) or [], frozenset())]


def _walk(path: Path, bodies: list[dict[str, Any]], inherited: frozenset[str]) -> Iterator[Task]:
    for body in bodies:
        yield Task(path, body, inherited)
        for part in _BLOCKS:
            yield from _walk(path, body.get(part) or [], inherited | frozenset(body.get("vars") or {}))


def names_in_template(text: str) -> set[str]:
    """The variables that a template reads and does not define itself."""
    return meta.find_undeclared_variables(_ENVIRONMENT.parse(text))


def names_in(value: Any, *, expression: bool = False) -> set[str]:
    """The variables that templated values read, at any depth of lists and mappings."""
    if isinstance(value, str):
        return names_in_template("{{ " + value + " }}" if expression and "{{" not in value else value)
    if isinstance(value, list):
        return set().union(*(names_in(item, expression=expression) for item in value))
    if isinstance(value, dict):
        return set().union(
            *(names_in(item, expression=expression or key in _EXPRESSIONS) for key, item in value.items())
        )
    return set()


def names_in_task(task: Task) -> set[str]:
    """The variables that a task reads; those of a block's tasks are their own."""
    own = {key: value for key, value in task.body.items() if key not in _BLOCKS}
    return names_in(own)


def names_defined_by(task: Task) -> set[str]:
    """What a task defines for others: registers and facts."""
    facts = task.body.get("ansible.builtin.set_fact") or {}
    return {*([task.body["register"]] if "register" in task.body else []), *(k for k in facts if k != "cacheable")}


def names_local_to(task: Task) -> set[str]:
    """What a task defines for itself: its vars and loop variables."""
    control = task.body.get("loop_control") or {}
    loops = {str(control.get(key, fallback)) for key, fallback in (("loop_var", "item"), ("index_var", "item"))}
    return {*task.inherited, *(task.body.get("vars") or {}), *(loops if "loop" in task.body else ())}


def private_keys(value: Any, role: str) -> set[str]:
    """Names of the role in mappings at any depth: what `vars` of a task, of a file to render or of a play define."""
    if isinstance(value, dict):
        own = {str(key) for key in value if str(key).startswith((f"__{role}_", f"{role}_"))}
        return own.union(*(private_keys(item, role) for item in value.values()))
    return set().union(*(private_keys(item, role) for item in value)) if isinstance(value, list) else set()


def keys_in_templates(role: str) -> set[str]:
    """Names that a template writes as keys of a mapping: variables for a file that is rendered from it."""
    texts = [path.read_text(encoding="utf-8") for path in [*task_files(role), *vars_files(role)]]
    return {name for text in texts for name in re.findall(rf"['\"](__{role}_\w+)['\"]\s*:", text)}


def given_by_plays(role: str) -> set[str]:
    """What playbooks hand to the role besides its arguments: secrets that must not be one, such as join material."""
    return set().union(*(private_keys(load(path), role) for path in playbooks_path().glob("*.yml")))


def template_files(role: str) -> list[Path]:
    return sorted(path for path in (roles_path() / role / "templates").rglob("*") if path.is_file())


def vars_files(role: str) -> list[Path]:
    return sorted((roles_path() / role / "vars").glob("*.yml"))
