"""A small process that lets Ansible itself read an inventory, and prints what it made of it as JSON.

`python -m bootstrap.inventory.resolve_child` reads one JSON object from stdin: the inventory's `path`, the look-ups
that are `allowed` beyond those that only read, and the ANSIBLE_* variables of the caller's `environment`. It is the
only place that imports Ansible's loader: a process of its own, since Ansible reads its configuration and changes the
interpreter's state when it is imported, and everything else of gpuctl starts without it.
"""

from __future__ import annotations

import json
import resource
import sys
from collections.abc import Mapping
from functools import cache
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
from bootstrap.inventory.ansible_errors import ini_line, of_the_right_parser, origin_of, words
from bootstrap.inventory.coerce import Coercer, RejectedError
from bootstrap.inventory.lookups import Gate
from bootstrap.inventory.scan import Definition, Scan, scan_tree
from bootstrap.inventory.schema import roles, variables


class Resolver:
    """One inventory, as Ansible reads it."""

    def __init__(self, path: Path, gate: Gate | None = None) -> None:
        self.path = path
        self.gate = gate or Gate((), {})
        self.problems: list[dict[str, Any]] = []
        self.scan = scan_tree(path)
        self.places = _places(self.scan)
        self.loader = DataLoader()
        self.coercer = _coercer()
        self.manager = None if self._endless() else self._parse()
        self.variables = VariableManager(loader=self.loader, inventory=self.manager) if self.manager else None
        self.magic = _HOST_MAGIC | (set(self.variables.get_vars()) if self.variables else set())
        self.defaults, self.fixed = _role_defaults()

    def answer(self) -> dict[str, Any]:
        """All that the parent needs, in JSON types."""
        with self.gate.closed():
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

    def _endless(self) -> bool:
        """Whether a file holds what would take Ansible all memory, or for ever."""
        fatal = [fault for fault in self.scan.faults if fault.fatal]
        for fault in fatal:
            self._problem("inventory-invalid", fault.message, _at(fault.path, fault.line), fix=_SYNTAX)
        return bool(fatal)

    def _parse(self) -> InventoryManager | None:
        failures: list[BaseException] = []
        # Ansible prints what its parsers say as warnings, and raises a sentence without a place.
        ansible_display.error_as_warning = lambda msg, exception: failures.append(exception)  # noqa: ARG005
        try:
            return InventoryManager(loader=self.loader, sources=[str(self.path)], cache=False)
        except Exception as error:  # noqa: BLE001 - its parsers fail in many ways, for what stands in the files
            for failure in of_the_right_parser(failures) or [error]:
                self._broken(failure)
            return None

    def _host(self, host: Any) -> dict[str, Any] | None:
        assert self.variables is not None  # noqa: S101 - only called once the inventory was parsed
        try:
            everything = self.variables.get_vars(host=host)
        except Exception as error:  # noqa: BLE001 - a file of group_vars or host_vars that its parsers cannot take
            self._broken(error)
            return None
        own = {key: value for key, value in everything.items() if key not in self.magic}
        known = variables()
        wanted = {name for name in own if name in known or name.startswith("ansible_")}
        origins = {str(name): at for name, value in own.items() if (at := self._origin(name, value, host))}
        templar = Templar(loader=self.loader, variables={**self.fixed, **self.defaults, **everything})
        settings, connection = dict(self.fixed), dict[str, Any]()
        for name in [*(n for n in self.defaults if n in known and n not in own), *sorted(wanted)]:
            value = self._value(name, own.get(name, self.defaults.get(name)), templar, origins, host.name)
            if value is not _NOTHING:
                (settings if name in known else connection)[name] = value
        return {
            "name": str(host.name),
            "groups": sorted(str(group.name) for group in host.get_groups()),
            "settings": settings,
            "variables": sorted(str(name) for name in own),
            "origins": origins,
            "connection": connection,
        }

    def _value(self, name: str, raw: Any, templar: Templar, origins: Mapping[str, str], host: str) -> Any:
        """What the variable is for the host, coerced if a role has it; _NOTHING once its problem is noted."""
        at = origins.get(name)
        self.gate.refusals.clear()
        try:
            value = plain(templar.template(raw))
            if not self.gate.refusals:
                return self.coercer.coerce(name, value, self._form(name, origins)) if name in variables() else value
        except RejectedError as error:
            fix = error.fix or f"see `{name}` in docs/variables.md"
            self._problem("variable-invalid", f"`{name}` {error}", at, host, fix)
        except Exception as error:  # noqa: BLE001 - what a template meets on its way is the inventory's doing
            if not self.gate.refusals:
                fix = "correct the template, or define what it uses"
                self._problem("variable-invalid", f"`{name}`: {words(error)}", at, host, fix)
        for refusal in self.gate.refusals:
            message = f"`{name}` needs the look-up `{refusal.name}`, which is not run: {refusal.why}"
            self._problem("lookup-refused", message, refusal.at or at, host, refusal.fix)
        return _NOTHING

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

    def _broken(self, error: BaseException) -> None:
        """A file that cannot be parsed; the scan knows the line where Ansible names none."""
        for fault in self.scan.faults:
            self._problem("inventory-invalid", fault.message, _at(fault.path, fault.line), fix=_SYNTAX)
        if not self.scan.faults:
            place = origin_of(error) or str(self.path)
            line = ini_line(error)
            self._problem("inventory-invalid", words(error), _at(place, line) if line else place, fix=_SYNTAX)

    def _problem(self, code: str, message: str, at: str | None, host: str | None = None, fix: str = "") -> None:
        self.problems.append({"code": code, "message": message, "at": at, "host": host, "fix": fix})


_NOTHING = object()
_MOST_MEMORY = 2 * 1024**3  # 10,000 hosts take a quarter of it
_MOST_BITS = 1024  # of a number; Python refuses to write those of more than 4,300 digits
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
    if isinstance(value, int) and value.bit_length() > _MOST_BITS:
        raise RejectedError("is too large a number", "write the number that is meant")
    for kind in (int, float):
        if isinstance(value, kind):
            return kind(value)
    return str(value)


@cache
def _coercer() -> Coercer:
    return Coercer(variables())


@cache
def _role_defaults() -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """Defaults of all roles: those to template for each host, and the fixed ones, coerced once."""
    dynamic: dict[str, Any] = {}
    fixed: dict[str, Any] = {}
    for name, value in _defaults().items():
        if "{{" in str(value) or name not in variables():
            dynamic[name] = value
        else:
            fixed[name] = _coercer().coerce(name, plain(value))
    return dynamic, fixed


def _defaults() -> Mapping[str, Any]:
    """What the roles' files say, and only that, is a template that may be rendered here."""
    found: dict[str, Any] = {}
    for role in roles():
        file = roles_path() / role.name / "defaults" / "main.yml"
        read = DataLoader().load_from_file(str(file), cache="none", trusted_as_template=True) if file.is_file() else {}
        found |= {**{v.name: v.default for v in role.variables if v.default is not None}, **(read or {})}
    return found


def _places(scan: Scan) -> dict[tuple[tuple[str, str], str], Definition]:
    """The last definition of each variable for each host and group; vars files come after the inventory and win."""
    return {
        ((definition.scope, owner), definition.name): definition
        for definition in scan.definitions
        for owner in (expand(definition.owner) if definition.scope == "host" else [definition.owner])
    }


def _at(path: str, line: int) -> str:
    return f"{path}:{line}"


def main() -> None:
    """Read the request from stdin, print the answer on stdout."""
    resource.setrlimit(resource.RLIMIT_AS, (_MOST_MEMORY, _MOST_MEMORY))
    ansible_constants.set_constant("INVENTORY_UNPARSED_WARNING", value=False)
    asked = json.load(sys.stdin)
    answer = resolve(Path(asked["path"]), Gate(asked["allowed"], asked["environment"]))
    sys.stdout.buffer.write(answer.encode("utf-8", "replace"))  # bytes that are no text come in as lone surrogates


def resolve(path: Path, gate: Gate) -> str:
    """The answer as JSON; an inventory that takes all memory, or nests without end, gets one that says so."""
    try:
        return json.dumps(Resolver(path, gate).answer(), ensure_ascii=False)
    except (MemoryError, RecursionError) as error:
        what = "takes more than 2 GiB of memory" if isinstance(error, MemoryError) else "nests values too deeply"
        problem = {"code": "inventory-invalid", "message": f"it {what} to resolve", "at": str(path), "host": None}
        problems = [{**problem, "fix": "look for templates or aliases that repeat each other"}]
        return json.dumps({"hosts": [], "listed": [], "groups": [], "definitions": [], "problems": problems})


if __name__ == "__main__":
    main()
