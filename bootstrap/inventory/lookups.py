"""Which look-ups of Ansible may run while an inventory is read. Imported by resolve_child only (it loads Ansible).

An inventory is a file that people copy from each other: to read it must neither run programs nor write, nor ask
servers. `lookup`, `query`, `q` and templates that look-ups render all end in one loader: it is guarded here.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from ansible._internal._datatag._tags import Origin
from ansible._internal._templating import _jinja_plugins
from ansible._internal._templating._utils import TemplateContext
from ansible.errors import AnsibleError
from ansible.plugins.loader import init_plugin_loader, lookup_loader
from ansible.utils.collection_loader import AnsibleCollectionConfig

# They read this machine's files, its environment, or variables, and nothing else.
READING = frozenset({"csvfile", "env", "file", "first_found", "ini", "template", "vars", "varnames"})
_PASSWORD = "password"  # noqa: S105 - the name of a look-up, which reads its file and writes one that is missing
_OWN = ("ansible.builtin.", "ansible.legacy.")


@dataclass(frozen=True, slots=True)
class Refusal:
    """A look-up that did not run: its name, why not, and the `file:line` of the template that asked for it."""

    name: str
    why: str
    at: str | None

    @property
    def fix(self) -> str:
        """What lets it run."""
        return f"if you trust the inventory to run it: `--allow-lookups {self.name}`; else write the value itself"


class RefusedLookupError(AnsibleError):  # type: ignore[misc]  # Ansible has no types
    """Stops the template that asked for the look-up."""


class Gate:
    """Stands before Ansible's loader of look-ups; a template may swallow an error, so refusals are kept as well."""

    def __init__(self, allowed: Collection[str], environment: Mapping[str, str]) -> None:
        """`allowed` are names beyond READING; `environment` is what the look-up `env` sees beside our own."""
        self.refusals: list[Refusal] = []
        self._allowed = frozenset(allowed)
        self._environment = dict(environment)

    @contextmanager
    def closed(self) -> Iterator[None]:
        """While this lasts, templates get their look-ups from here."""
        if AnsibleCollectionConfig.collection_finder is None:
            init_plugin_loader()  # names such as ansible.builtin.env, and collections that are installed
        before = _jinja_plugins.lookup_loader
        _jinja_plugins.lookup_loader = self
        try:
            yield
        finally:
            _jinja_plugins.lookup_loader = before

    def get(self, name: str, *args: Any, **kwargs: Any) -> Any:
        """The look-up of that name, as Ansible's loader gives it.

        Raises:
            RefusedLookupError: it may do more than read, and nobody allowed it.
        """
        short = _short(name)
        if self._is_allowed(short):
            return lookup_loader.get(name, *args, **kwargs)
        if short not in READING | {_PASSWORD}:
            raise self._refused(short, "it may do more than read")
        found = lookup_loader.get(f"ansible.builtin.{short}", *args, **kwargs)
        if short == "env":
            found.run = self._with_environment(found.run)
        elif short == _PASSWORD:
            self._keep_from_writing(sys.modules[type(found).__module__])
        return found

    def _is_allowed(self, short: str) -> bool:
        """By its name, or by the last part of it where that alone was allowed: hashi_vault has had several homes."""
        return short in self._allowed or short.rpartition(".")[2] in self._allowed

    def _refused(self, name: str, why: str) -> RefusedLookupError:
        self.refusals.append(Refusal(name, why, _place()))
        return RefusedLookupError(f"the look-up {name} is not run: {why}")

    def _with_environment(self, run: Callable[..., Any]) -> Callable[..., Any]:
        def seeing(*args: Any, **kwargs: Any) -> Any:
            ours = dict(os.environ)
            os.environ.update(self._environment)
            try:
                return run(*args, **kwargs)
            finally:
                for name in self._environment:
                    os.environ.pop(name, None)
                os.environ.update(ours)

        return seeing

    def _keep_from_writing(self, module: ModuleType) -> None:
        """Ansible's password look-up makes a lock, folders and the file: here it only reads a file that is there."""

        def lock(path: bytes) -> tuple[None, None]:
            if not Path(os.fsdecode(path)).exists():
                raise self._refused(_PASSWORD, f"{os.fsdecode(path)} does not exist, and it would write it")
            return None, None

        def write(path: bytes, _: object) -> None:
            raise self._refused(_PASSWORD, f"it would write to {os.fsdecode(path)}")

        vars(module).update(_get_lock=lock, _write_password_file=write)


def _short(name: Any) -> str:
    text = str(name)
    for prefix in _OWN:
        text = text.removeprefix(prefix)
    return text


def _place() -> str | None:
    """Where the template stands that is being rendered."""
    context = TemplateContext.current(optional=True)
    tag = Origin.get_tag(context.template_value) if context else None
    if tag is None or not tag.path:
        return None
    return f"{tag.path}:{tag.line_num}" if tag.line_num else str(tag.path)
