"""Module gpuctl_service: have units running and enabled, restarted when older than what they were made from."""

from __future__ import annotations

from typing import Any

from bootstrap.hostside import gpuctl_receipts as receipts
from bootstrap.hostside import gpuctl_systemd as systemd
from bootstrap.hostside.gpuctl_hostio import HostError
from bootstrap.hostside.gpuctl_module import HostModule

DOCUMENTATION = r"""
module: gpuctl_service
short_description: Have systemd units of a component in a state
description:
  - A unit that became active before one of O(newer_than) last changed is restarted, so a run that was killed between a
    file and the restart is made good by the next one.
  - Waits until the unit is active; a failure carries the unit's last journal lines.
options:
  component:
    description: Role that owns the units.
    type: str
    required: true
  name:
    description: Units.
    type: list
    elements: str
    required: true
  state:
    description: V(restored) brings back how the units were before the component came.
    type: str
    choices: [started, stopped, restored]
    default: started
  enabled:
    description: Whether the units start at boot; left alone when not given.
    type: bool
  newer_than:
    description: Files (globs allowed) that the running unit must be younger than.
    type: list
    elements: str
    default: []
  kick:
    description: Units that are started, too, without waiting for them and without counting as a change.
    type: list
    elements: str
    default: []
  timeout:
    description: Seconds until a unit must be active.
    type: int
    default: 60
"""

EXAMPLES = r"""
- name: Run containerd
  gpuctl_service:
    component: containerd
    name: [containerd.service]
    enabled: true
    newer_than: [/etc/containerd/config.toml]
"""

RETURN = r"""
actions:
  description: What was done (or, in check mode, would be), as "restart containerd.service".
  type: list
  elements: str
  returned: success
"""


def run_units(module: HostModule, units: dict[str, systemd.Unit]) -> list[str]:
    """Start, or restart, what has to be."""
    wanted, actions = module.params, []
    unknown = systemd.unknown(units)
    if unknown and not module.check_mode:
        raise HostError("service-failed", f"there is no unit {unknown[0]} on the host", "check what installs it")
    changed_at = systemd.newest_change(wanted["newer_than"])
    for name, unit in units.items():
        if wanted["enabled"] and unit.enabled not in ("enabled", "static", "generated", "indirect", "alias"):
            actions.append(f"enable {name}")
        if unit.active != "active":
            actions.append(f"start {name}")
        elif unit.since is not None and unit.since < changed_at:
            actions.append(f"restart {name}")
    if module.check_mode:
        return actions
    if any(unit.stale for unit in units.values()):
        systemd.control("daemon-reload", [])
    for action in actions:
        verb, name = action.split(" ", 1)
        if verb != "enable" and units[name].active == "failed":
            systemd.control("reset-failed", [name])
        systemd.control(verb, [name])
    waiting = [action.split(" ", 1)[1] for action in actions if not action.startswith("enable ")]
    kept = [name for name in waiting if not systemd.wait_active(name, wanted["timeout"]).condition]
    # A unit that its own condition keeps from starting (the time service in a container) is as it should be.
    return [action for action in actions if action.split(" ", 1) not in [["start", name] for name in kept]]


def stop_units(module: HostModule, units: dict[str, systemd.Unit]) -> list[str]:
    """Stop, and disable when asked to."""
    actions = [f"stop {name}" for name, unit in units.items() if unit.active in ("active", "activating", "failed")]
    if module.params["enabled"] is False:
        actions += [f"disable {name}" for name, unit in units.items() if unit.enabled == "enabled"]
    return _do(module, actions)


def restore_units(module: HostModule, units: dict[str, systemd.Unit]) -> list[str]:
    """As they were: what was not running stops, what was not enabled is disabled."""
    before, actions = receipts.read_before(module.params["component"])["units"], []
    for name, unit in units.items():
        if name not in before or not unit.exists:
            continue
        active, _, enabled = str(before[name]).partition(",")
        if active != "active" and unit.active == "active":
            actions.append(f"stop {name}")
        if enabled != "enabled" and unit.enabled == "enabled":
            actions.append(f"disable {name}")
    return _do(module, actions)


def _do(module: HostModule, actions: list[str]) -> list[str]:
    for action in [] if module.check_mode else actions:
        verb, name = action.split(" ", 1)
        systemd.control(verb, [name])
    return actions


def main(module: HostModule) -> dict[str, Any]:
    """Bring the units into the state that is asked for."""
    names, state = module.params["name"], module.params["state"]
    units = systemd.show(names)
    if state == "restored":
        actions = restore_units(module, units)
        return {"changed": bool(actions), "actions": actions}
    if not module.check_mode:
        for name, unit in units.items():
            receipts.remember_before(module.params["component"], "units", name, f"{unit.active},{unit.enabled or '-'}")
    actions = run_units(module, units) if state == "started" else stop_units(module, units)
    if module.params["kick"] and not module.check_mode:
        systemd.control("daemon-reload", [])
        systemd.run(["systemctl", "start", "--no-block", "--", *module.params["kick"]], 30)
    return {"changed": bool(actions), "actions": actions}
