"""Run a command as a named transient systemd unit; a second run attaches to it."""

from __future__ import annotations

from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.gpuctl_hostio import HostError
from ansible.module_utils.gpuctl_unitrun import Ended, log_path, run_unit, unit_state

DOCUMENTATION = r"""
module: gpuctl_unit_run
short_description: Run a command as a named transient systemd unit
description:
  - The unit outlives the session that started it. When it already runs, the module waits for it and starts nothing.
  - Its status and output stay readable afterwards; an ended unit of the same name is forgotten first.
options:
  unit: {type: str, required: true, description: "Name of the unit, without .service."}
  argv: {type: list, elements: str, required: true, description: "The command. It must hold no secret."}
  timeout_s: {type: int, default: 600, description: "Seconds until the unit is stopped and the task fails."}
  code: {type: str, default: unit-failed, description: "Code of the failure when the command does not succeed."}
  fix: {type: str, default: "", description: "Remedy to name when the command does not succeed."}
  remove_after: {type: list, elements: str, default: [], description: "Files to remove when the command has ended."}
author: [gpuctl]
"""

EXAMPLES = r"""
- name: Create the cluster
  gpuctl_unit_run:
    unit: gpuctl-kubeadm-init
    argv: [kubeadm, init, --config, /etc/kubernetes/gpuctl/kubeadm.yaml]
"""

RETURN = r"""
rc: {type: int, returned: always, description: "Exit status of the command."}
attached: {type: bool, returned: always, description: "Whether an earlier run had started it."}
log: {type: list, elements: str, returned: always, description: "Its last 40 lines, secrets redacted."}
"""

LONGEST = 300  # characters of a line that a message carries: kubeadm writes all failed pulls into one
OPTIONS = {
    "unit": {"type": "str", "required": True},
    "argv": {"type": "list", "elements": "str", "required": True},
    "timeout_s": {"type": "int", "default": 600},
    "code": {"type": "str", "default": "unit-failed"},
    "fix": {"type": "str", "default": ""},
    "remove_after": {"type": "list", "elements": "str", "default": []},
}


def failure(unit: str, ended: Ended, code: str, fix: str) -> str:
    """The one line that names what went wrong: the first failed check that the command named, else its last error."""
    lines = [line.strip() for line in ended.log.splitlines() if line.strip() and "stack trace" not in line]
    checks = [line for line in lines if line.startswith("[ERROR")]
    errors = [line for line in lines if line.lower().startswith(("error", "fatal"))]
    said = (checks[:1] or errors[-1:] or lines[-1:] or ["it said nothing"])[0]
    shown = said if len(said) <= LONGEST else said[:LONGEST] + " …"
    return f"[{code}] {unit} ended with status {ended.state.rc}: {shown}; fix: {fix or 'see ' + log_path(unit)}"


def main() -> None:
    """Entry point of the module."""
    module = AnsibleModule(argument_spec=OPTIONS, supports_check_mode=True)
    unit, timeout_s = module.params["unit"], module.params["timeout_s"]
    try:
        if module.check_mode:
            module.exit_json(changed=True, rc=0, attached=unit_state(unit).running, log=[])
        try:
            ended = run_unit(unit, module.params["argv"], timeout_s)
        finally:
            remove_files(module.params["remove_after"])
    except HostError as error:
        module.fail_json(msg=error.as_text(), log=error.details.splitlines())
    facts = {"rc": ended.state.rc, "attached": ended.attached, "log": ended.log.splitlines()}
    if not ended.state.succeeded:
        module.fail_json(msg=failure(unit, ended, module.params["code"], module.params["fix"]), **facts)
    module.exit_json(changed=True, **facts)


def remove_files(paths: list[str]) -> None:
    """Remove what the command needed and nobody else may keep."""
    for path in paths:
        Path(path).unlink(missing_ok=True)


if __name__ == "__main__":
    main()
