"""A small process that lets Ansible itself read an inventory, and prints what it made of it as JSON.

`python -m bootstrap.inventory.resolve_child` reads one JSON string, the inventory's path, from stdin. It is the only
place that imports Ansible's loader: a process of its own, since Ansible reads its configuration and changes the
interpreter's state when it is imported, and everything else of gpuctl starts without it.
"""

from __future__ import annotations

import json
import sys
import traceback
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ansible import constants as ansible_constants
from ansible._internal._datatag._tags import Origin
from ansible.errors import AnsibleError
from ansible.inventory.manager import InventoryManager
from ansible.inventory.manager import display as ansible_display
from ansible.parsing.dataloader import DataLoader
from ansible.parsing.utils.addresses import parse_address
from ansible.plugins.inventory import detect_range, expand_hostname_range
from ansible.template import Templar
from ansible.vars.manager import VariableManager

from bootstrap.content import roles_path
from bootstrap.inventory.coerce import Coercer, RejectedError
from bootstrap.inventory.scan import Definition, Scan, scan_tree
from bootstrap.inventory.schema import roles, variables


class Resolver:
    """One inventory, as Ansible reads it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.problems: list[dict[str, Any]] = []
        self.scan = scan_tree(path)
        self.places = _places(self.scan)
        self.loader = DataLoader()
        self.coercer = Coercer(variables())
        self.manager = self._parse()
        self.variables = VariableManager(loader=self.loader, inventory=self.manager) if self.manager else None
        self.magic = _HOST_MAGIC | (set(self.variables.get_vars()) if self.variables else set())
        self.defaults, self.fixed = self._role_defaults()

    def answer(self) -> dict[str, Any]:
        """All that the parent needs, in JSON types."""
        hosts = [self._host(host) for host in self.manager.hosts.values()] if self.manager else []
        return {
            "hosts": [host for host in hosts if host],
            "listed": [
                {"name": name, "group": entry.group, "at": _at(entry.path, entry.line)}
                for entry in self.scan.hosts
                for name in expand(entry.pattern)
            ],
            "groups": [{"name": entry.name, "at": _at(entry.path, entry.line)} for entry in self.scan.groups],
            "definitions": [
                {"name": d.name, "raw": d.raw, "host": name, "at": _at(d.path, d.line)}
                for d in self.scan.definitions
                if d.scope == "host"
                for name in expand(d.owner)
            ],
            "problems": self.problems,
        }

    def _parse(self) -> InventoryManager | None:
        failures: list[AnsibleError] = []
        # Ansible prints what its parsers say as warnings, and raises a sentence without a place.
        ansible_display.error_as_warning = lambda msg, exception: failures.append(exception)  # noqa: ARG005
        try:
            return InventoryManager(loader=self.loader, sources=[str(self.path)], cache=False)
        except AnsibleError as error:
            for failure in _of_the_right_parser(failures) or [error]:
                self._broken(failure)
            return None

    def _role_defaults(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """Defaults of all roles: those to template for each host, and the fixed ones, coerced once."""
        dynamic: dict[str, Any] = {}
        fixed: dict[str, Any] = {}
        for role in roles():
            file = roles_path() / role.name / "defaults" / "main.yml"
            found = (
                self.loader.load_from_file(str(file), cache="none", trusted_as_template=True) if file.is_file() else {}
            )
            found = {**{v.name: v.default for v in role.variables if v.default is not None}, **(found or {})}
            for name, value in found.items():
                if "{{" in str(value) or name not in variables():
                    dynamic[name] = value
                else:
                    fixed[name] = self.coercer.coerce(name, plain(value))
        return dynamic, fixed

    def _host(self, host: Any) -> dict[str, Any] | None:
        assert self.variables is not None  # noqa: S101 - only called once the inventory was parsed
        try:
            everything = self.variables.get_vars(host=host)
        except AnsibleError as error:
            self._broken(error)
            return None
        own = {key: value for key, value in everything.items() if key not in self.magic}
        known = variables()
        wanted = {name for name in own if name in known or name.startswith("ansible_")}
        origins = {str(name): at for name, value in own.items() if (at := self._origin(name, value, host))}
        templar = Templar(loader=self.loader, variables={**self.fixed, **self.defaults, **everything})
        settings, connection = dict(self.fixed), {}
        for name in [*(n for n in self.defaults if n in known and n not in own), *sorted(wanted)]:
            try:
                value = plain(templar.template(own.get(name, self.defaults.get(name))))
                if name in known:
                    settings[name] = self.coercer.coerce(name, value, self._form(name, origins))
                else:
                    connection[name] = value
            except RejectedError as error:
                fix = error.fix or f"see `{name}` in docs/variables.md"
                self._problem("variable-invalid", f"`{name}` {error}", origins.get(name), host.name, fix)
            except AnsibleError as error:
                fix = "correct the template, or define what it uses"
                self._problem("variable-invalid", f"`{name}`: {_words(error)}", origins.get(name), host.name, fix)
        return {
            "name": str(host.name),
            "groups": sorted(str(group.name) for group in host.get_groups()),
            "settings": settings,
            "variables": sorted(str(name) for name in own),
            "origins": origins,
            "connection": connection,
        }

    def _origin(self, name: str, value: Any, host: Any) -> str | None:
        """file:line of the value: Ansible's own tag; booleans carry none, so the scan is asked for the nearest."""
        tag = Origin.get_tag(value)
        if tag is not None and tag.path and tag.line_num:
            return _at(tag.path, tag.line_num)
        groups = [str(group.name) for group in host.get_groups()]  # Ansible sorts them: the last one wins
        owners = [("host", str(host.name)), *(("group", group) for group in reversed(groups))]
        for owner in owners:
            if (owner, str(name)) in self.places:
                found = self.places[owner, str(name)]
                return _at(found.path, found.line)
        tag = Origin.get_tag(name)
        return _at(tag.path, tag.line_num) if tag is not None and tag.path and tag.line_num else None

    def _form(self, name: str, origins: Mapping[str, str]) -> Definition | None:
        """How the variable is written at the place that won."""
        for (_, variable), definition in self.places.items():
            if variable == name and _at(definition.path, definition.line) == origins.get(name):
                return definition
        return None

    def _broken(self, error: AnsibleError) -> None:
        """A file that cannot be parsed; the scan knows the line where Ansible names none."""
        for fault in self.scan.faults:
            self._problem("inventory-invalid", fault.message, _at(fault.path, fault.line), fix=_SYNTAX)
        if not self.scan.faults:
            place = _origin_of(error) or str(self.path)
            line = _ini_line(error)
            self._problem("inventory-invalid", _words(error), _at(place, line) if line else place, fix=_SYNTAX)

    def _problem(self, code: str, message: str, at: str | None, host: str | None = None, fix: str = "") -> None:
        self.problems.append({"code": code, "message": message, "at": at, "host": host, "fix": fix})


_SYNTAX = "correct the line; `gpuctl init` writes an example of the INI form"
# Variables that Ansible adds for a host, beyond those that it adds for none.
_HOST_MAGIC = frozenset(
    {
        "ansible_facts",
        "group_names",
        "hostvars",
        "inventory_dir",
        "inventory_file",
        "inventory_hostname",
        "inventory_hostname_short",
    }
)


def expand(pattern: str) -> list[str]:
    """The names that a host pattern stands for, such as gpu[1:3], without a port."""
    try:
        name, _ = parse_address(pattern, allow_ranges=True)
        name = name or pattern
        return [str(n) for n in expand_hostname_range(name)] if detect_range(name) else [str(name)]
    except (AnsibleError, ValueError, KeyError):
        return [pattern]


def plain(value: Any) -> Any:
    """The value in JSON types, lazy templates of Ansible resolved."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set)):
        return [plain(item) for item in value]
    if value is None or isinstance(value, bool):
        return value
    for kind in (int, float):
        if isinstance(value, kind):
            return kind(value)
    return str(value)


def _places(scan: Scan) -> dict[tuple[tuple[str, str], str], Definition]:
    """The last definition of each variable for each host and group; vars files come after the inventory and win."""
    return {
        ((definition.scope, owner), definition.name): definition
        for definition in scan.definitions
        for owner in (expand(definition.owner) if definition.scope == "host" else [definition.owner])
    }


def _at(path: str, line: int) -> str:
    return f"{path}:{line}"


def _origin_of(error: BaseException | None) -> str | None:
    """The most exact place that an error or one of its causes names."""
    found = None
    for cause in _causes(error):
        where = getattr(cause, "obj", None)
        origin = where if isinstance(where, Origin) else Origin.get_tag(where) if where is not None else None
        if origin is not None and origin.path:
            found = _at(origin.path, origin.line_num) if origin.line_num else found or origin.path
    return found


def _ini_line(error: BaseException) -> int | None:
    """The line that Ansible's INI parser stopped at: its error has lost it, but its stack frame has not."""
    for cause in _causes(error):
        for frame, _ in traceback.walk_tb(cause.__traceback__):
            lines, line, pending = (frame.f_locals.get(name) for name in ("lines", "line", "decl"))
            if frame.f_code.co_name != "_parse" or not isinstance(lines, list):
                continue
            if isinstance(pending, dict):
                return int(pending["line"])
            return next((number for number, text in enumerate(lines, start=1) if text.strip() == line), None)
    return None


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__


def _words(error: BaseException) -> str:
    """What the innermost cause says, in one line."""
    last = [*_causes(error)][-1]
    text = str(getattr(last, "_original_message", None) or getattr(last, "message", None) or last)
    return " ".join(text.split())


def _of_the_right_parser(failures: list[AnsibleError]) -> list[AnsibleError]:
    """Each file is tried as YAML and then as INI: keep what the parser for its name says."""
    kept: dict[str, AnsibleError] = {}
    for failure in failures:
        place = (_origin_of(failure) or "").rsplit(":", 1)[0]
        if Path(place).suffix in {".yml", ".yaml", ".json"}:
            kept.setdefault(place, failure)
        else:
            kept[place] = failure
    return list(kept.values())


def main() -> None:
    """Read the path from stdin, print the answer on stdout."""
    ansible_constants.set_constant("INVENTORY_UNPARSED_WARNING", value=False)
    answer = json.dumps(Resolver(Path(json.load(sys.stdin))).answer(), ensure_ascii=False)
    sys.stdout.buffer.write(answer.encode("utf-8", "replace"))  # bytes that are no text come in as lone surrogates


if __name__ == "__main__":
    main()
