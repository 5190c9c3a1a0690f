"""Action plugin gpuctl_objects: render the manifests here, hand objects and digests to the module."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from ansible.errors import AnsibleActionFail
from ansible.template import trust_as_template

from bootstrap.apply.host_action import HostAction
from bootstrap.apply.role_facts import RoleFacts, read_ahead
from bootstrap.inventory.schema import component_named

read_ahead()


class ActionModule(HostAction):
    """Turns `manifests` into `objects`, and adds what the receipt needs to know."""

    def arguments(self, variables: dict[str, Any]) -> dict[str, Any]:
        """The task's, with the objects and what the receipt says."""
        given = super().arguments(variables)
        component = str(given.get("component") or "")
        state, trial = given.get("state", "present"), [given["trial"]] if given.get("trial") else []
        if state in ("waited", "tried"):
            given["objects"] = self._objects(trial, variables)
        if state == "present":
            given["objects"] = self._objects([*(given.get("manifests") or []), *trial], variables)
            if given.get("upstream"):
                overlay = self._rendered(given["upstream"]["overlay"], variables)
                given["upstream"] = {**given["upstream"], "overlay": overlay}
            receipt = RoleFacts(component, variables, self._loader, self._templar).receipt()
            given["receipt"] = {key: receipt[key] for key in ("revision", "arguments")}
            given["pod_security"] = component_named(component).pod_security
        return given

    def _objects(self, templates: list[str], variables: dict[str, Any]) -> list[dict[str, Any]]:
        objects = []
        for name in templates:
            for document in self._documents(name, variables):
                if not isinstance(document, dict) or not {"apiVersion", "kind", "metadata"} <= set(document):
                    raise AnsibleActionFail(f"{name}: a document is no Kubernetes object")
                objects.append(document)
        return objects

    def _rendered(self, name: str, variables: dict[str, Any]) -> str:
        path = self._find_needle("templates", name)
        templar = self._templar.copy_with_new_env(searchpath=[str(Path(path).parent)], available_variables=variables)
        text = trust_as_template(self._loader.get_text_file_contents(path))
        overrides = {"trim_blocks": True, "lstrip_blocks": True}
        return str(templar.template(text, escape_backslashes=False, overrides=overrides))

    def _documents(self, name: str, variables: dict[str, Any]) -> list[Any]:
        try:
            return [found for found in yaml.safe_load_all(self._rendered(name, variables)) if found is not None]
        except yaml.YAMLError as error:
            raise AnsibleActionFail(f"{name}: rendered to what is no YAML: {error}") from error
