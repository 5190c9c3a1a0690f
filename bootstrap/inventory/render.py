"""Values of variables: templates rendered, and what needs no rendering passed by. Imported by resolve_child only.

Most values of most hosts are no templates, and most defaults come out alike for all hosts: rendering each of them for
each host would take most of the time that reading an inventory takes.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar
from jinja2 import Environment, TemplateError, meta

from bootstrap.content import roles_path
from bootstrap.inventory.coerce import Coercer, RejectedError
from bootstrap.inventory.scan import Definition
from bootstrap.inventory.schema import roles, variables
from bootstrap.inventory.secret_values import texts_in

NOTHING = object()
_MOST_BITS = 1024  # of a number; Python refuses to write those of more than 4,300 digits
_MARKS = ("{{", "{%", "{#", "#jinja2:")


def plain(value: Any) -> Any:
    """The value in JSON types, lazy templates of Ansible resolved."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set)):
        return [plain(item) for item in value]
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int) and value.bit_length() > _MOST_BITS:
        raise RejectedError("is too large a number", "write the number that is meant")
    for kind in (int, float):
        if isinstance(value, kind):
            return kind(value)
    return str(value)


def is_literal(value: Any) -> bool:
    """Whether the value renders as itself: no template in it, at any depth, and nothing encrypted."""
    if isinstance(value, str):
        return not any(mark in value for mark in _MARKS)
    if isinstance(value, Mapping):
        return all(is_literal(key) and is_literal(item) for key, item in value.items())
    if isinstance(value, list | tuple):
        return all(map(is_literal, value))
    return value is None or isinstance(value, bool | int | float)


class Renderer:
    """Values for the hosts of one inventory. `everything` of a host is what Ansible would render its templates with."""

    def __init__(self, loader: DataLoader) -> None:
        self._loader = loader
        self._coercer = Coercer(variables())
        self._coerced: dict[tuple[str, str], Any] = {}
        self._alike: dict[tuple[str, str], Any] = {}
        self.defaults, self.fixed = _role_defaults()

    def templar(self, everything: Mapping[str, Any]) -> Callable[[], Templar]:
        """Ansible's renderer for one host, made when it is first needed."""
        made: list[Templar] = []

        def get() -> Templar:
            if not made:
                everywhere = {**self.fixed, **self.defaults, **everything}
                made.append(Templar(loader=self._loader, variables=everywhere))
            return made[0]

        return get

    def value(self, raw: Any, templar: Callable[[], Templar]) -> Any:
        """The value, rendered, in JSON types. Raises what a template meets on its way."""
        return plain(raw if is_literal(raw) else templar().template(raw))

    def coerced(self, name: str, value: Any, written: Callable[[], Definition | None]) -> Any:
        """The value of a role's variable as its spec wants it; `written` tells how the file spells it.

        Raises:
            RejectedError: it does not fit.
        """
        if not isinstance(value, str | list | dict):  # how a number or a boolean is spelled may decide
            return self._coercer.coerce(name, value, written())
        key = (name, json.dumps(value))
        if key not in self._coerced:
            self._coerced[key] = self._coercer.coerce(name, value, written())
        return self._coerced[key]

    def alike(self, name: str, own: Mapping[str, Any]) -> tuple[str, str] | None:
        """A key under which hosts have the same value of the default `name`; None where each has its own."""
        needed = _dependencies(name)
        given = {other: own[other] for other in sorted(needed or ()) if other in own}
        if needed is None or not needed <= variables().keys() or not all(map(is_literal, given.values())):
            return None
        return name, json.dumps(plain(given))

    def known_default(self, key: tuple[str, str] | None) -> Any:
        """The value that was found for an earlier host with the same key; NOTHING if none was."""
        return NOTHING if key is None else self._alike.get(key, NOTHING)

    def keep_default(self, key: tuple[str, str] | None, value: Any) -> None:
        """Remember the value for hosts with the same key."""
        if key is not None:
            self._alike[key] = value


@cache
def _dependencies(name: str) -> frozenset[str] | None:
    """The variables that a default's template reads, those of their own defaults included; None if unknown."""
    seen: set[str] = set()
    waiting = [name]
    while waiting:
        current = waiting.pop()
        default = _defaults().get(current)
        if default is None or is_literal(default):
            continue
        try:
            read = meta.find_undeclared_variables(Environment().parse("\n".join(texts_in(plain(default)))))  # noqa: S701
        except TemplateError:
            return None
        waiting += read - seen
        seen |= read
    return frozenset(seen)


@cache
def _role_defaults() -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """Defaults of all roles: those to template for each host, and the fixed ones, coerced once."""
    dynamic: dict[str, Any] = {}
    fixed: dict[str, Any] = {}
    coercer = Coercer(variables())
    for name, value in _defaults().items():
        if "{{" in str(value) or name not in variables():
            dynamic[name] = value
        else:
            fixed[name] = coercer.coerce(name, plain(value))
    return dynamic, fixed


@cache
def _defaults() -> Mapping[str, Any]:
    """What the roles' files say, and only that, is a template that may be rendered here."""
    found: dict[str, Any] = {}
    for role in roles():
        file = roles_path() / role.name / "defaults" / "main.yml"
        read = DataLoader().load_from_file(str(file), cache="none", trusted_as_template=True) if file.is_file() else {}
        found |= {**{v.name: v.default for v in role.variables if v.default is not None}, **(read or {})}
    return found
