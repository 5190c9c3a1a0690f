"""Run a command as a named transient systemd unit; a second run attaches to it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bootstrap.hostside.gpuctl_hostio import HostError
from bootstrap.hostside.gpuctl_module import HostModule
from bootstrap.hostside.gpuctl_unitrun import Ended, log_path, run_unit, unit_state

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


def failure(unit: str, ended: Ended, code: str, fix: str) -> HostError:
    """The failure that names what went wrong: the first failed check that the command named, else its last error."""
    lines = [line.strip() for line in ended.log.splitlines() if line.strip() and "stack trace" not in line]
    checks = [line for line in lines if line.startswith("[ERROR")]
    errors = [line for line in lines if line.lower().startswith(("error", "fatal"))]
    said = (checks[:1] or errors[-1:] or lines[-1:] or ["it said nothing"])[0]
    shown = said if len(said) <= LONGEST else said[:LONGEST] + " …"
    message = f"{unit} ended with status {ended.state.rc}: {shown}"
    return HostError(code, message, fix or f"see {log_path(unit)}", ended.log)


def main(module: HostModule) -> dict[str, Any]:
    """Run the command, or wait for the one that runs."""
    given = module.params
    if module.check_mode:
        return {"changed": True, "rc": 0, "attached": unit_state(given["unit"]).running, "log": []}
    try:
        ended = run_unit(given["unit"], given["argv"], given["timeout_s"])
    finally:
        remove_files(given["remove_after"])
    if not ended.state.succeeded:
        raise failure(given["unit"], ended, given["code"], given["fix"])
    return {"changed": True, "rc": ended.state.rc, "attached": ended.attached, "log": ended.log.splitlines()}


def remove_files(paths: list[str]) -> None:
    """Remove what the command needed and nobody else may keep."""
    for path in paths:
        Path(path).unlink(missing_ok=True)
