"""Module gpuctl_kernel: kernel modules loaded, sysctls in force, swap off; or all of it put back."""

from __future__ import annotations

from typing import Any

from bootstrap.hostside import gpuctl_kernelops as kernel
from bootstrap.hostside import gpuctl_receipts as receipts
from bootstrap.hostside.gpuctl_hostio import HostError
from bootstrap.hostside.gpuctl_module import HostModule

DOCUMENTATION = r"""
module: gpuctl_kernel
short_description: Have kernel modules, sysctls and swap as a component needs them, now
description:
  - What makes it last over a reboot is files, which M(gpuctl_files) writes; swap is switched off for good here.
  - Modules that are built in count as there; sysctls that hold the value already are never written.
options:
  component:
    description: Role that owns the settings.
    type: str
    required: true
  state:
    description: V(restored) brings sysctls and swap back as they were; modules stay loaded.
    type: str
    choices: [present, restored]
    default: present
  modules:
    description: Kernel modules to load.
    type: list
    elements: str
    default: []
  sysctls:
    description: Keys and values to have exactly.
    type: dict
    default: {}
  at_least:
    description: Keys and smallest values; a larger value stays.
    type: dict
    default: {}
  required:
    description: Modules and sysctl keys without which the task fails; the others are only reported as missing.
    type: list
    elements: str
    default: []
  swap:
    description: V(off) switches swap off now and at every boot.
    type: str
    choices: ["off", "keep"]
    default: keep
"""

EXAMPLES = r"""
- name: Set the kernel up
  gpuctl_kernel:
    component: kube_host
    modules: [br_netfilter]
    sysctls: {net.ipv4.ip_forward: "1"}
    required: [br_netfilter, net.ipv4.ip_forward]
    swap: "off"
"""

RETURN = r"""
actions:
  description: What was changed (or, in check mode, would be).
  type: list
  elements: str
  returned: success
missing:
  description: Modules and sysctls that this kernel does not have, or does not let us set.
  type: list
  elements: str
  returned: success
"""


def have(module: HostModule) -> dict[str, Any]:
    """Load, set, switch off."""
    wanted = module.params
    actions, missing = _modules(module)
    exact = {str(key): str(value) for key, value in wanted["sysctls"].items()}
    for key, value in wanted["at_least"].items():
        now = kernel.sysctl_get(str(key))
        if now is None or not now.isdigit() or int(now) < int(value):
            exact[str(key)] = str(value)
    for key, value in exact.items():
        now = kernel.sysctl_get(key)
        if now == value:
            continue
        if now is not None and not module.check_mode:
            receipts.remember_before(wanted["component"], "sysctls", key, now)
        if now is None or not (module.check_mode or kernel.sysctl_set(key, value)):
            missing.append(key)
        else:
            actions.append(f"{key} {now} → {value}")
    lacking = [name for name in missing if name in wanted["required"]]
    if lacking and not module.check_mode:
        raise HostError(
            "modules-missing",
            f"the kernel has no {', '.join(lacking)}, or does not let it be set",
            "boot a kernel with these modules (on cloud images: install the full linux-image package)",
        )
    if wanted["swap"] == "off":
        actions += _swap(module)
    return {"changed": bool(actions), "actions": actions, "missing": missing}


def _modules(module: HostModule) -> tuple[list[str], list[str]]:
    actions, missing = [], []
    for name in module.params["modules"]:
        if module.check_mode:
            state = "present" if kernel.module_there(name) else "loaded"
        else:
            state = kernel.load_module(name)
        if state == "loaded":
            actions.append(f"load {name}")
        if state == "missing":
            missing.append(name)
    return actions, missing


def _swap(module: HostModule) -> list[str]:
    component = module.params["component"]
    change = kernel.swap_off(check=True)
    if not module.check_mode and change.changed:
        for line in change.fstab_lines:
            receipts.remember_before(component, "fstab", line)
        for unit in change.masked:
            receipts.remember_before(component, "masked", unit)
        kernel.swap_off(check=False)
    places = [*change.devices, *change.masked] or change.fstab_lines
    return [f"swap off: {place}" for place in places]


def undo(module: HostModule) -> dict[str, Any]:
    """Sysctls and swap as they were."""
    before, actions = receipts.read_before(module.params["component"]), []
    for key, value in before["sysctls"].items():
        if kernel.sysctl_get(key) != value and (module.check_mode or kernel.sysctl_set(key, value)):
            actions.append(f"{key} → {value}")
    masked = list(before.get("masked", {}))
    if (before["fstab"] or masked) and not module.check_mode and kernel.swap_restore(masked):
        actions.append("swap as before, from the next boot")
    return {"changed": bool(actions), "actions": actions, "missing": []}


def main(module: HostModule) -> dict[str, Any]:
    """Set the running kernel up, or back."""
    return have(module) if module.params["state"] == "present" else undo(module)
