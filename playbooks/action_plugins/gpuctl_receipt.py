"""Action plugin gpuctl_receipt: collect what a receipt says about the role here, have the module write it there."""

from __future__ import annotations

from typing import Any

from bootstrap.apply.host_action import HostAction
from bootstrap.apply.role_facts import RoleFacts, read_ahead

read_ahead()


class ActionModule(HostAction):
    """Adds evidence spec, revision and argument digests to the module's arguments."""

    def arguments(self, variables: dict[str, Any]) -> dict[str, Any]:
        """The task's, with what the receipt says."""
        given = super().arguments(variables)
        component, state = str(given.get("component") or ""), given.get("state")
        if not component or state not in ("begun", "complete"):
            return given
        facts = RoleFacts(component, variables, self._loader, self._templar)
        return {**given, **(facts.receipt() if state == "begun" else {"evidence_spec": facts.evidence_spec()})}
