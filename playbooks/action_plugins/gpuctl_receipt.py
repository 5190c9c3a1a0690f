"""Action plugin gpuctl_receipt: collect what a receipt says about the role here, have the module write it there."""

from __future__ import annotations

from typing import Any

from bootstrap.apply.host_action import HostAction
from bootstrap.content import roles_path
from bootstrap.plan.digests import argument_digests, plain, role_digest


class ActionModule(HostAction):
    """Adds evidence spec, role digest and argument digests to the module's arguments."""

    def arguments(self, variables: dict[str, Any]) -> dict[str, Any]:
        """The task's, with what the receipt says."""
        given = super().arguments(variables)
        component, state = str(given.get("component") or ""), given.get("state")
        if component and state in ("begun", "complete"):
            given["evidence_spec"] = self._evidence(component)
        if component and state == "begun":
            given["role_digest"] = role_digest(component)
            given["arguments"] = argument_digests(component, self.role_arguments(component, variables))
        return given

    def _evidence(self, component: str) -> dict[str, Any]:
        path = roles_path() / component / "meta" / "gpuctl.yml"
        meta = self._loader.load_from_file(str(path), trusted_as_template=True)
        evidence: dict[str, Any] = plain(self._templar.template(meta.get("evidence") or {}))
        return evidence
