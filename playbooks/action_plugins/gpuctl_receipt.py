"""Action plugin gpuctl_receipt: collect what a receipt says about the role here, have the module write it there."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase

try:
    from bootstrap.content import roles_path
except ImportError:  # a plain ansible-playbook in a checkout whose Ansible does not know the package
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
    from bootstrap.content import roles_path
from bootstrap.inventory.schema import options_of
from bootstrap.plan.digests import argument_digests, plain, role_digest


class ActionModule(ActionBase):
    """Adds evidence spec, role digest and argument digests to the module's arguments."""

    _supports_check_mode = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Resolve, then run the module of the same name on the host."""
        variables = task_vars or {}
        result: dict[str, Any] = super().run(tmp, variables)
        component, state = self._task.args.get("component"), self._task.args.get("state")
        if not component or state not in ("begun", "complete", "absent"):
            raise AnsibleActionFail("give component, and state: begun, complete or absent")
        arguments: dict[str, Any] = {"component": component, "state": state}
        if state != "absent":
            arguments["evidence_spec"] = self._evidence(component)
        if state == "begun":
            arguments["role_digest"] = role_digest(component)
            arguments["arguments"] = argument_digests(component, self._values(component, variables))
        result.update(self._execute_module(module_name="gpuctl_receipt", module_args=arguments, task_vars=variables))
        return result

    def _evidence(self, component: str) -> dict[str, Any]:
        path = roles_path() / component / "meta" / "gpuctl.yml"
        meta = self._loader.load_from_file(str(path), trusted_as_template=True)
        evidence: dict[str, Any] = plain(self._templar.template(meta.get("evidence") or {}))
        return evidence

    def _values(self, component: str, variables: dict[str, Any]) -> dict[str, Any]:
        names = [option.name for option in options_of(component) if option.name in variables]
        return {name: self._templar.template(variables[name]) for name in names}
