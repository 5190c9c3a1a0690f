"""Action plugin gpuctl_files: render the templates here, send all files of the component in one module call."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.template import trust_as_template

from bootstrap.apply.host_action import HostAction

MANAGED = "Written by gpuctl; a later run undoes what is changed here."


class ActionModule(HostAction):
    """Replaces `src` of each file by its rendered `content`."""

    def arguments(self, variables: dict[str, Any]) -> dict[str, Any]:
        """The task's, with what the templates render to."""
        given = dict(self._task.args)
        given["files"] = [self._rendered(dict(entry), variables) for entry in given.get("files") or ()]
        return given

    def _rendered(self, entry: dict[str, Any], variables: dict[str, Any]) -> dict[str, Any]:
        source = entry.pop("src", None)
        if (source is None) == ("content" not in entry):
            raise AnsibleActionFail(f"{entry.get('dest')}: give either src or content")
        if source is None:
            return entry
        path = self._find_needle("templates", source)
        own = entry.pop("vars", None) or {}
        with_mark = {**variables, **own, "ansible_managed": MANAGED, "template_path": source}
        templar = self._templar.copy_with_new_env(searchpath=[str(Path(path).parent)], available_variables=with_mark)
        text = trust_as_template(self._loader.get_text_file_contents(path))
        overrides = {"trim_blocks": True, "lstrip_blocks": True}
        rendered = templar.template(text, escape_backslashes=False, overrides=overrides)
        return {**entry, "content": "" if rendered is None else str(rendered)}
