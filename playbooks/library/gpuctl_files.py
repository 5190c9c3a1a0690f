"""Module gpuctl_files: write rendered files that differ, in one call; the host-side half of the action plugin."""

from __future__ import annotations

from typing import Any

from bootstrap.hostside.gpuctl_filesync import Wanted, prune, remove_trees, restore, sync
from bootstrap.hostside.gpuctl_module import HostModule

DOCUMENTATION = r"""
module: gpuctl_files
short_description: Write the rendered files of a component that differ, remembering what was there
description:
  - Templates are rendered on the controller and all files of a component are compared and written in one call.
  - All validators run before the first file is replaced. Each file is replaced atomically.
  - What was there before is kept once, so that O(state=restored) can bring it back.
options:
  component:
    description: Role that owns the files.
    type: str
    required: true
  state:
    description: V(present) writes O(files) and removes O(absent); V(restored) undoes all of the component's files.
    type: str
    choices: [present, restored]
    default: present
  files:
    description:
      - Files to have. C(dest), and C(src) (a template of the role, with further C(vars)) or C(content).
      - C(mode), C(owner) and C(group) are V(0644), V(root) and V(root) unless given.
      - C(validate) is an argument list in which C(%s) stands for the file.
      - C(block) makes the content a marked block in a file that others own as well.
    type: list
    elements: dict
    default: []
  absent:
    description: Files that must not be there.
    type: list
    elements: path
    default: []
  prune:
    description: Patterns; files that this component wrote earlier, that match and are not in O(files), go back.
    type: list
    elements: str
    default: []
  trees:
    description: With O(state=restored), folders of data that are removed with all that is in them.
    type: list
    elements: path
    default: []
"""

EXAMPLES = r"""
- name: Write the configuration
  gpuctl_files:
    component: containerd
    files:
      - src: config.toml.j2
        dest: /etc/containerd/config.toml
        validate: [containerd, --config, "%s", config, dump]
"""

RETURN = r"""
changed_files:
  description: Paths that were (or, in check mode, would be) written, removed or restored.
  type: list
  elements: str
  returned: success
"""


def main(module: HostModule) -> dict[str, Any]:
    """Write and remove files, or bring them back."""
    wanted = module.params
    if wanted["state"] == "restored":
        changed = restore(wanted["component"], module.check_mode)
        result = {"changed_files": changed + remove_trees(wanted["trees"], module.check_mode), "diff": []}
    else:
        files = [Wanted(entry) for entry in wanted["files"]]
        result = sync(wanted["component"], files, wanted["absent"], module.check_mode)
        kept = [file.dest for file in files]
        result["changed_files"] += prune(wanted["component"], wanted["prune"], kept, module.check_mode)
    diff = result["diff"] if module.diff else []
    return {"changed": bool(result["changed_files"]), "changed_files": result["changed_files"], "diff": diff}
