"""Action plugin gpuctl_objects: render the manifests here, hand objects and digests to the module."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import yaml
from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from ansible.template import trust_as_template

try:
    from bootstrap.inventory.schema import options_of
except ImportError:  # a plain ansible-playbook in a checkout whose Ansible does not know the package
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
    from bootstrap.inventory.schema import options_of
from bootstrap.plan.digests import argument_digests, plain, role_digest


class ActionModule(ActionBase):
    """Turns `manifests` into `objects`, and adds what the receipt needs to know."""

    _supports_check_mode = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Render, then run the module of the same name on the host."""
        variables = task_vars or {}
        result: dict[str, Any] = super().run(tmp, variables)
        arguments = {name: plain(value) for name, value in self._task.args.items()}
        component = str(arguments.get("component") or "")
        if arguments.get("state", "present") == "present":
            arguments["objects"] = self._objects(arguments.get("manifests") or [], variables)
            arguments["receipt"] = {
                "role_digest": role_digest(component),
                "arguments": argument_digests(component, self._values(component, variables)),
            }
        result.update(self._execute_module(module_name="gpuctl_objects", module_args=arguments, task_vars=variables))
        return result

    def _values(self, component: str, variables: dict[str, Any]) -> dict[str, Any]:
        """The component's arguments as they stand for this task."""
        names = [option.name for option in options_of(component) if option.name in variables]
        return {name: plain(self._templar.template(variables[name])) for name in names}

    def _objects(self, templates: list[str], variables: dict[str, Any]) -> list[dict[str, Any]]:
        objects = []
        for name in templates:
            for document in self._documents(name, variables):
                if not isinstance(document, dict) or not {"apiVersion", "kind", "metadata"} <= set(document):
                    raise AnsibleActionFail(f"{name}: a document is no Kubernetes object")
                objects.append(document)
        return objects

    def _documents(self, name: str, variables: dict[str, Any]) -> list[Any]:
        path = self._find_needle("templates", name)
        templar = self._templar.copy_with_new_env(searchpath=[str(Path(path).parent)], available_variables=variables)
        text = trust_as_template(self._loader.get_text_file_contents(path))
        overrides = {"trim_blocks": True, "lstrip_blocks": True}
        rendered = str(templar.template(text, escape_backslashes=False, overrides=overrides))
        try:
            return [document for document in yaml.safe_load_all(rendered) if document is not None]
        except yaml.YAMLError as error:
            raise AnsibleActionFail(f"{name}: rendered to what is no YAML: {error}") from error
