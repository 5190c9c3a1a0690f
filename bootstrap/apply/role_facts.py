"""What actions need to know about a role, inside and outside of it: its variables as they stand, and its receipt."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cached_property
from typing import Any

from bootstrap.content import roles_path
from bootstrap.inventory.schema import component_named, options_of, roles
from bootstrap.plan.digests import argument_digests, plain

_SYSTEM = re.compile(r"[a-z0-9]+-[0-9.]+")


def read_ahead() -> None:
    """Read all roles now: Ansible forks for every task, and what its parent has read is read once."""
    roles()


class RoleFacts:
    """A role for one host; `variables` are the task's, `loader` and `templar` Ansible's."""

    def __init__(self, component: str, variables: Mapping[str, Any], loader: Any, templar: Any) -> None:
        self.component = component
        self._variables = variables
        self._loader = loader
        self._templar = templar

    def value(self, name: str) -> Any:
        """A variable of the role, templated; None when the role has none of that name."""
        return self._rendered(self._all[name]) if name in self._all else None

    def arguments(self) -> dict[str, Any]:
        """The role's arguments."""
        names = [option.name for option in options_of(self.component) if option.name in self._all]
        return {name: self._rendered(self._all[name]) for name in names}

    def evidence_spec(self) -> dict[str, Any]:
        """What the role leaves on a host, as meta/gpuctl.yml has it."""
        found: dict[str, Any] = self._rendered(self._read("meta/gpuctl.yml").get("evidence") or {})
        return found

    def receipt(self) -> dict[str, Any]:
        """What the receipt says from its beginning: evidence_spec, revision and the digests of the arguments."""
        return {
            "evidence_spec": self.evidence_spec(),
            "revision": component_named(self.component).revision,
            "arguments": argument_digests(self.component, self.arguments()),
        }

    @cached_property
    def _all(self) -> dict[str, Any]:
        """In Ansible's order: defaults, what the host has, the role's own, what it reads for the distribution."""
        found = {**self._read("defaults/main.yml"), **self._variables, **self._read("vars/main.yml")}
        system = str(self._variables.get("cluster_os"))  # a host says it: no way out of the folder
        return {**found, **self._read(f"vars/{system}.yml")} if _SYSTEM.fullmatch(system) else found

    def _read(self, name: str) -> dict[str, Any]:
        path = roles_path() / self.component / name
        return (self._loader.load_from_file(str(path), trusted_as_template=True) or {}) if path.is_file() else {}

    def _rendered(self, value: Any) -> Any:
        return plain(self._templar.copy_with_new_env(available_variables=self._all).template(value))
