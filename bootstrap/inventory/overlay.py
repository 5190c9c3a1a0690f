"""Settings and groups that a command's options add to an inventory."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

from bootstrap.errors import GpuctlError, Problem
from bootstrap.exit_codes import ExitCode
from bootstrap.inventory.model import Inventory
from bootstrap.inventory.validate import setting_complaints


def with_settings(inventory: Inventory, groups: Collection[str], settings: Mapping[str, Any]) -> Inventory:
    """The inventory with all its hosts in these groups, too, and with these values of variables for all of them.

    Raises:
        GpuctlError: a value breaks a rule of its role (exit 2).
    """
    problems = [
        Problem("variable-invalid", f"`{name}` {complaint}", f"see `{name}` in docs/variables.md")
        for name, value in settings.items()
        for complaint in setting_complaints(name, value)
    ]
    if problems:
        raise GpuctlError(ExitCode.USAGE, *problems)
    hosts = tuple(
        replace(
            host,
            groups=host.groups | frozenset(groups),
            settings={**host.settings, **settings},
            explicit=host.explicit | frozenset(settings),
        )
        for host in inventory.hosts
    )
    return replace(inventory, hosts=hosts)
