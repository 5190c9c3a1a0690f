"""What the roles of addons are told: whether the cluster is to have them, and what of one depends on another."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bootstrap.plan.addons import SETTING, known_addons

VOLCANO = "volcano"
OPERATOR = "kubeflow_training_operator"  # the role
GANG = "kubeflow_training_operator_gang"  # its argument: whether Volcano starts the pods


def addon_arguments(values: Mapping[str, Any]) -> dict[str, Any]:
    """Derived arguments of the addons' roles, from `cluster_addons`."""
    wanted = set(values[SETTING])
    found: dict[str, Any] = {addon.component.wanted: addon.name in wanted for addon in known_addons()}
    # A gang that two schedulers place piece by piece may never be whole: with Volcano there, it does it alone.
    found[GANG] = VOLCANO in wanted
    return found
