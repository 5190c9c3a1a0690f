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
from collections import Counter
from collections.abc import Callable, Mapping
from functools import partial
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
from ansible.vars.manager import VariableManager

from bootstrap.inventory.ansible_errors import ini_line, of_the_right_parser, origin_of, words
from bootstrap.inventory.coerce import RejectedError
from bootstrap.inventory.connection import KNOWN_CONNECTION_VARIABLES
from bootstrap.inventory.lookups import Gate
from bootstrap.inventory.model import MINIKUBE, NODE_GROUPS, SERVICE_GROUPS
from bootstrap.inventory.places import Definition, Fault, Scan
from bootstrap.inventory.render import NOTHING, Renderer
from bootstrap.inventory.scan import scan_tree
from bootstrap.inventory.schema import variables
from bootstrap.inventory.vault import PASSWORD_MISSING
from bootstrap.inventory.vault_child import load_secrets, text_of, vault_problem

_OURS = frozenset({*NODE_GROUPS, *SERVICE_GROUPS, MINIKUBE})


class Resolver:
    """One inventory, as Ansible reads it."""

    def __init__(self, path: Path, gate: Gate | None = None, vault: Mapping[str, Any] | None = None) -> None:
        self.path = path
        self.gate = gate or Gate((), {})
        self.problems: list[dict[str, Any]] = []
        self.loader = DataLoader()
        for file, why in load_secrets(self.loader, vault or {}):
            words = f"the vault password file {file} cannot be used: {why}"
            self._problem(
                PASSWORD_MISSING, words, None, fix="name a file that holds the password with --vault-password-file"
            )
        self.encrypted: list[str] = []
        self.scan = scan_tree(path, lambda file: text_of(file, self.loader, self.encrypted))
        self.places = _places(self.scan)
        self.forms = {(d.name, _at(d.path, d.line)): d for d in reversed(self.places.values())}
        self.renderer = Renderer(self.loader)
        self.manager = None if self.problems or self._endless() else self._parse()
        self.variables = VariableManager(loader=self.loader, inventory=self.manager) if self.manager else None
        self.magic = _HOST_MAGIC | (set(self.variables.get_vars()) if self.variables else set())

    def answer(self) -> dict[str, Any]:
        """All that the parent needs, in JSON types."""
        ours: list[Any] = []
        others: list[Any] = []
        for host in self.manager.hosts.values() if self.manager else ():
            (ours if _OURS & {str(group.name) for group in host.get_groups()} else others).append(host)
        self._silent()
        with self.gate.closed():
            hosts = [self._host(host) for host in ours]
        return {
            "hosts": [host for host in hosts if host],
            "others": [{"name": str(host.name), "groups": _groups_of(host)} for host in others],
            "listed": [
                {"name": name, "group": entry.group, "at": _at(entry.path, entry.line)}
                for entry in self.scan.hosts
                for name in expand(entry.pattern)
            ],
            "groups": [{"name": entry.name, "at": _at(entry.path, entry.line)} for entry in self.scan.groups],
            "definitions": self._contradictions(),
            "problems": self.problems,
        }

    def _contradictions(self) -> list[dict[str, Any]]:
        """Variables that gpuctl uses, with two values for one host in one file, beside its name in groups.

        Ansible takes the last. Between files, and between groups, hosts and files of variables, it has a precedence
        that people use; in one list of hosts it is a mistake.
        """
        known = variables().keys() | KNOWN_CONNECTION_VARIABLES
        sources = {entry.path for entry in self.scan.hosts}
        written = [d for d in self.scan.definitions if d.scope == "host" and d.name in known and d.path in sources]
        several = Counter((d.name, d.path) for d in written)
        return [
            {"name": d.name, "raw": d.raw, "host": name, "at": _at(d.path, d.line)}
            for d in written
            if several[d.name, d.path] > 1
            for name in expand(d.owner)
        ]

    def _silent(self) -> None:
        """What Ansible reads, but not as it is meant."""
        owners = {"", *(self.manager.hosts if self.manager else ()), *(self.manager.groups if self.manager else ())}
        for fault in self.scan.faults:
            if fault.silent and fault.owner in owners:
                self._fault(fault)

    def _endless(self) -> bool:
        """Whether a file holds what would take Ansible all memory, or for ever, or what it misunderstands."""
        fatal = [fault for fault in self.scan.faults if fault.fatal]
        for fault in fatal:
            self._fault(fault)
        return bool(fatal)

    def _parse(self) -> InventoryManager | None:
        failures: list[BaseException] = []
        # Ansible prints what its parsers say as warnings, and raises a sentence without a place.
        ansible_display.error_as_warning = lambda msg, exception: failures.append(exception)  # noqa: ARG005
        try:
            return InventoryManager(loader=self.loader, sources=[str(self.path)], cache=False)
        except Exception as error:  # noqa: BLE001 - its parsers fail in many ways, for what stands in the files
            for failure in of_the_right_parser(failures, self.scan.yaml_files) or [error]:
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
        templar = self.renderer.templar(everything)
        defaults, settings, connection = self.renderer.defaults, dict(self.renderer.fixed), dict[str, Any]()
        for name in [n for n in defaults if n in known and n not in own]:
            key = self.renderer.alike(name, own)
            value = self.renderer.known_default(key)
            if value is NOTHING:
                render = partial(self.renderer.value, defaults[name], templar)
                value = self._value(name, render, origins, host.name)
            if value is not NOTHING:
                self.renderer.keep_default(key, value)
                settings[name] = value
        for name in sorted(wanted):
            value = self._value(name, partial(self.renderer.value, own[name], templar), origins, host.name)
            if value is not NOTHING:
                (settings if name in known else connection)[name] = value
        return {
            "name": str(host.name),
            "groups": _groups_of(host),
            "settings": settings,
            "variables": sorted(str(name) for name in own),
            "origins": origins,
            "connection": connection,
        }

    def _value(self, name: str, render: Callable[[], Any], origins: Mapping[str, str], host: str) -> Any:
        """What the variable is for the host, coerced if a role has it; NOTHING once its problem is noted."""
        at = origins.get(name)
        self.gate.refusals.clear()
        try:
            value = render()
            if not self.gate.refusals:
                form = self.forms.get((name, at or ""))
                return self.renderer.coerced(name, value, lambda: form) if name in variables() else value
        except RejectedError as error:
            fix = error.fix or f"see `{name}` in docs/variables.md"
            self._problem("variable-invalid", f"`{name}` {error}", at, host, fix)
        except Exception as error:  # noqa: BLE001 - what a template meets on its way is the inventory's doing
            vault = vault_problem(error, self.loader, self.path)
            if vault is not None:
                self._problem(vault[0], f"`{name}`: {vault[1]}", at, host, vault[2])
            elif not self.gate.refusals:
                fix = "correct the template, or define what it uses"
                self._problem("variable-invalid", f"`{name}`: {words(error)}", at, host, fix)
        for refusal in self.gate.refusals:
            message = f"`{name}` needs the look-up `{refusal.name}`, which is not run: {refusal.why}"
            self._problem("lookup-refused", message, refusal.at or at, host, refusal.fix)
        return NOTHING

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

    def _broken(self, error: BaseException) -> None:
        """A file that cannot be parsed; the scan knows the line where Ansible names none."""
        vault = vault_problem(error, self.loader, self.path)
        if vault is not None:
            file = origin_of(error) or next(iter(self.encrypted), None)
            self._problem(vault[0], vault[1], file, fix=vault[2])
            return
        known = [fault for fault in self.scan.faults if not fault.silent]
        for fault in known:
            self._fault(fault)
        if not known:
            place = origin_of(error) or str(self.path)
            line = ini_line(error)
            self._problem("inventory-invalid", words(error), _at(place, line) if line else place, fix=_SYNTAX)

    def _fault(self, fault: Fault) -> None:
        self._problem("inventory-invalid", fault.message, _at(fault.path, fault.line), fix=fault.fix or _SYNTAX)

    def _problem(self, code: str, message: str, at: str | None, host: str | None = None, fix: str = "") -> None:
        self.problems.append({"code": code, "message": message, "at": at, "host": host, "fix": fix})


_MOST_MEMORY = 2 * 1024**3  # 10,000 hosts take a quarter of it
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


def _groups_of(host: Any) -> list[str]:
    return sorted(str(group.name) for group in host.get_groups())


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
    answer = resolve(Path(asked["path"]), Gate(asked["allowed"], asked["environment"]), asked.get("vault"))
    sys.stdout.buffer.write(answer.encode("utf-8", "replace"))  # bytes that are no text come in as lone surrogates


def resolve(path: Path, gate: Gate, vault: Mapping[str, Any] | None = None) -> str:
    """The answer as JSON; an inventory that takes all memory, or nests without end, gets one that says so.

    `fixed` holds what is the same for all hosts, so that it is written and read once.
    """
    try:
        resolver = Resolver(path, gate, vault)
        answer = resolver.answer()
        fixed = resolver.renderer.fixed
        for host in answer["hosts"]:
            host["settings"] = {n: v for n, v in host["settings"].items() if v is not fixed.get(n, resolver)}
        return json.dumps({**answer, "fixed": fixed}, ensure_ascii=False)
    except (MemoryError, RecursionError) as error:
        what = "takes more than 2 GiB of memory" if isinstance(error, MemoryError) else "nests values too deeply"
        problem = {"code": "inventory-invalid", "message": f"it {what} to resolve", "at": str(path), "host": None}
        problems = [{**problem, "fix": "look for templates or aliases that repeat each other"}]
        empty: dict[str, Any] = {name: [] for name in ("hosts", "others", "listed", "groups", "definitions")}
        return json.dumps({**empty, "problems": problems, "fixed": {}})


if __name__ == "__main__":
    main()
