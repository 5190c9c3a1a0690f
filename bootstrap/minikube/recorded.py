"""What an earlier run made of the host stays where nobody says otherwise. Pure.

`up` without an inventory has defaults for all settings, and none of them was meant: on a host that an inventory set up
they would take back its mirrors, its Docker's data-root, its bundle. So they are taken from the host's receipts.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from bootstrap.inventory.model import Host, Inventory
from bootstrap.inventory.schema import component_named, options_of
from bootstrap.minikube.look import Seen
from bootstrap.minikube.options import ProfileOptions
from bootstrap.plan.cluster_view import recorded_argument
from bootstrap.plan.compare import receipt_trouble
from bootstrap.probe.facts import HostFacts

# What stands beside a profile (an agent, an export) is asked for anew in each call, and has its own options.
_COMPONENTS = ("kube_host", "nvidia_driver", "docker", "nvidia_container_toolkit", "minikube")
# Worked out of a file that only the inventory names: what was in it is all that is known.
_CA = "cluster_ca_certificate"
_EXTRA = "minikube_extra_config"


def as_recorded(inventory: Inventory, facts: HostFacts) -> Inventory:
    """The inventory with the settings of the host that its receipts have and that nobody gave.

    Pinned versions are the planner's to keep, and what gpuctl works out is worked out anew; secrets are in no receipt.
    A consent holds for the run that it was given to.
    """
    host = inventory.hosts[0]
    settings = {**host.settings, **dict(_recorded(host, facts))}
    return replace(inventory, hosts=(replace(host, settings=settings), *inventory.hosts[1:]))


def _recorded(host: Host, facts: HostFacts) -> Iterator[tuple[str, Any]]:
    for name in _COMPONENTS:
        receipt = facts.receipts.get(name)
        if receipt is None or receipt_trouble(receipt, facts.machine_id):
            continue
        component = component_named(name)
        for option in options_of(name):
            kept = option.derived or option.name in component.pinned or option.name in component.transient
            free = option.name == _CA or not (kept or option.name in host.explicit)
            value = recorded_argument(facts, name, option.name)
            if free and value is not None:
                yield option.name, value


def with_extra_config(given: ProfileOptions, seen: Seen, facts: HostFacts) -> ProfileOptions:
    """The options of a profile that is new with the settings of components that the host's profiles are made with."""
    if seen.config is not None:  # it has those that it was made with
        return given
    recorded = recorded_argument(facts, "minikube", _EXTRA) or []
    return replace(given, extra_config=tuple(dict.fromkeys((*map(str, recorded), *given.extra_config))))
