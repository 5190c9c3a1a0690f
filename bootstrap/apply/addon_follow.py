"""What of one addon depends on another: the training operator is told whether Volcano is there. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from bootstrap.hostside.gpuctl_receipts import known_arguments
from bootstrap.inventory.schema import component_named
from bootstrap.plan.addon_arguments import GANG, OPERATOR, VOLCANO
from bootstrap.plan.addons import Addon
from bootstrap.plan.cluster_view import ClusterView
from bootstrap.plan.model import CLUSTER, Effect, Plan, Step
from bootstrap.plan.planner import Decision


def limited(decision: Decision, addons: Sequence[Addon]) -> Decision:
    """The decision with the steps of these addons alone, and of what is installed and has to follow.

    An operator that asks for Volcano does not start without it: where that one is listed, it comes, too.
    """
    names, receipts = {addon.component.name for addon in addons}, _receipts(decision.view)
    if VOLCANO in names and OPERATOR in receipts:
        names.add(OPERATOR)
    elif OPERATOR in names and not _is_complete(receipts.get(VOLCANO)):
        names.add(VOLCANO)
    steps = tuple(step for step in decision.plan.steps if step.host == CLUSTER and step.component in names)
    return replace(decision, plan=Plan(steps))


def letting_go(addons: Sequence[Addon], view: ClusterView) -> tuple[Step, ...]:
    """The steps by which what stays does without these addons; they come before the addons go."""
    going, receipts = {addon.component.name for addon in addons}, _receipts(view)
    if VOLCANO not in going or OPERATOR in going or OPERATOR not in receipts:
        return ()
    receipt = receipts[OPERATOR]
    if _is_complete(receipt) and known_arguments(receipt).get(GANG, {}).get("value") is False:
        return ()
    reasons = ("will start pods without volcano",)
    return (Step(CLUSTER, OPERATOR, "change", reasons, Effect(component_named(OPERATOR).effect)),)


def _receipts(view: ClusterView) -> Mapping[str, Mapping[str, Any]]:
    return view.kube.receipts if view.kube else {}


def _is_complete(receipt: Mapping[str, Any] | None) -> bool:
    return receipt is not None and receipt.get("state") == "complete"
