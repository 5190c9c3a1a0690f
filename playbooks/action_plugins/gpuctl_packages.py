"""Action plugin gpuctl_packages: collect what the components want to have installed, in one module call."""

from __future__ import annotations

from typing import Any

from bootstrap.apply.host_action import HostAction
from bootstrap.apply.role_facts import RoleFacts, read_ahead

read_ahead()


class ActionModule(HostAction):
    """Makes `groups` of the roles' `__ROLE_install`."""

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """What is there ahead of the roles, they find in the fact `gpuctl_packages_ahead`."""
        result = super().run(tmp, task_vars)
        if self._task.args.get("ahead") and not result.get("failed") and not result.get("left"):
            result["ansible_facts"] = {"gpuctl_packages_ahead": [str(name) for name in result.get("components") or ()]}
        return result

    def arguments(self, variables: dict[str, Any]) -> dict[str, Any]:
        """The task's, with a group for each component that has packages."""
        given = super().arguments(variables)
        if given.get("state", "present") == "present":
            groups = [self._group(name, variables) for name in given.get("components") or ()]
            given["groups"] = [group for group in groups if group]
        return given

    def _group(self, component: str, variables: dict[str, Any]) -> dict[str, Any]:
        """Without what is to be installed when it is not `needed`, and nothing for a role that installs no packages."""
        facts = RoleFacts(component, variables, self._loader, self._templar)
        wanted = facts.value(f"__{component}_install")
        if wanted is None:
            return {}
        needed = wanted.pop("needed", True)
        return {**(wanted if needed else {}), "component": component, "receipt": facts.receipt()}
