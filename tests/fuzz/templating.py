"""Loads inventories of a run as Ansible does, resolves and templates every variable; says what that did. A program.

    python -m tests.fuzz.templating FOLDER INVENTORY…

The answer is one JSON object: how many values were templated, how many of them changed, and the lists of a Watch.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.fuzz.controller import Watch


def main(folder: Path, inventories: list[str]) -> dict[str, Any]:
    """Template the variables of all hosts of all inventories."""
    from ansible.inventory.manager import InventoryManager
    from ansible.parsing.dataloader import DataLoader
    from ansible.plugins.loader import init_plugin_loader
    from ansible.template import Templar
    from ansible.vars.manager import VariableManager

    init_plugin_loader([])
    values = changed = 0
    with Watch(folder).on() as watch:
        for name in inventories:
            loader = DataLoader()
            inventory = InventoryManager(loader=loader, sources=[name])
            manager = VariableManager(loader=loader, inventory=inventory)
            for host in inventory.get_hosts("all"):
                variables = manager.get_vars(host=host, include_hostvars=False)
                own = {
                    key: item
                    for key, item in variables.items()
                    if key.startswith(("gpuctl_", "bait_")) or key in host.vars
                }
                templar = Templar(loader=loader, variables=variables)
                for item in own.values():
                    before, after = list(_texts(item)), list(_texts(_templated(templar, item)))
                    values += len(before)
                    changed += before != after
    return {
        "values": values,
        "changed": changed,
        "commands": watch.commands,
        "reads": watch.reads,
        "writes": watch.writes,
        "connections": watch.connections,
    }


def _templated(templar: Any, value: Any) -> Any:
    from ansible.errors import AnsibleError

    try:
        return templar.template(value)
    except AnsibleError as error:
        return str(error)


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield str(key)
            yield from _texts(item)
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item)
    else:
        yield str(value)


if __name__ == "__main__":
    sys.stdout.write(json.dumps(main(Path(sys.argv[1]), sys.argv[2:])) + "\n")
