"""Module gpuctl_files: write rendered files that differ, in one call; the host-side half of the action plugin."""

from __future__ import annotations

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.gpuctl_filesync import Wanted, prune, remove_trees, restore, sync
from ansible.module_utils.gpuctl_hostio import HostError

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


def main() -> None:
    """Entry point of the module."""
    module = AnsibleModule(
        argument_spec={
            "component": {"type": "str", "required": True},
            "state": {"type": "str", "choices": ["present", "restored"], "default": "present"},
            "files": {"type": "list", "elements": "dict", "default": []},
            "absent": {"type": "list", "elements": "path", "default": []},
            "prune": {"type": "list", "elements": "str", "default": []},
            "trees": {"type": "list", "elements": "path", "default": []},
        },
        supports_check_mode=True,
    )
    wanted = module.params
    try:
        if wanted["state"] == "restored":
            changed = restore(wanted["component"], module.check_mode)
            result = {"changed_files": changed + remove_trees(wanted["trees"], module.check_mode), "diff": []}
        else:
            files = [Wanted(entry) for entry in wanted["files"]]
            result = sync(wanted["component"], files, wanted["absent"], module.check_mode)
            kept = [file.dest for file in files]
            result["changed_files"] += prune(wanted["component"], wanted["prune"], kept, module.check_mode)
    except HostError as error:
        module.fail_json(msg=error.as_text(), code=error.code, details=error.details)
    diff = result["diff"] if module._diff else []  # noqa: SLF001 - Ansible's documented way to ask
    module.exit_json(changed=bool(result["changed_files"]), changed_files=result["changed_files"], diff=diff)


if __name__ == "__main__":
    main()
