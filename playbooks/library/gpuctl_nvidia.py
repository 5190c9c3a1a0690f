"""Module gpuctl_nvidia: have the NVIDIA kernel module loaded and equal to its libraries, or say why not."""

from __future__ import annotations

from typing import Any

from bootstrap.hostside import gpuctl_nvidia as nvidia
from bootstrap.hostside.gpuctl_hostio import HostError, run
from bootstrap.hostside.gpuctl_module import HostModule

DOCUMENTATION = r"""
module: gpuctl_nvidia
short_description: Have the NVIDIA kernel module loaded and equal to its libraries
description:
  - Never reboots. What a reboot is needed for is returned, and decided upon by the role.
options:
  state:
    description: V(loaded) loads what is installed; V(adopted) only asserts that a driver that was there is good.
    type: str
    choices: [loaded, adopted]
    default: loaded
  flavour:
    description: Kernel module that is wanted.
    type: str
    choices: [open, closed]
  blacklist:
    description: File that keeps nouveau away; the initramfs must not be older than it.
    type: path
"""

EXAMPLES = r"""
- name: Load the driver
  gpuctl_nvidia:
    flavour: open
    blacklist: /etc/modprobe.d/gpuctl-nouveau.conf
"""

RETURN = r"""
reboot_required:
  description: Whether only a reboot makes the installed driver the running one.
  type: bool
  returned: success
reason:
  description: Why.
  type: str
  returned: success
version:
  description: Version of the loaded module.
  type: str
  returned: success
"""


def load(module: HostModule) -> dict[str, Any]:
    """Load the module and make its device nodes."""
    actions, blacklist = [], module.params["blacklist"]
    image = nvidia.initramfs_outdated(blacklist) if blacklist else None
    if image:
        actions.append(f"rebuild {image}")
        if not module.check_mode:
            nvidia.rebuild_initramfs()
    now = nvidia.driver()
    if now.module is None:
        if nvidia.nouveau_loaded() and (module.check_mode or run(["modprobe", "-r", "nouveau"], 60).rc != 0):
            return _answer(actions, now, "nouveau drives the GPUs and cannot be unloaded")
        actions.append("load the kernel module")
        if not module.check_mode:
            nvidia.load()
            now = nvidia.driver()
    minors = nvidia.missing_nodes()
    if minors:
        actions.append("make device nodes")
        if not module.check_mode:
            nvidia.make_nodes(minors)
    return _answer(actions, now, _stale(now, module.params["flavour"]))


def _stale(now: nvidia.Driver, flavour: str | None) -> str:
    if now.module and now.library and now.module != now.library:
        return f"the kernel runs driver {now.module}, installed is {now.library}"
    if now.module and flavour and now.flavour and now.flavour != flavour:
        return f"the kernel runs the {now.flavour} module, installed is the {flavour} one"
    return ""


def _answer(actions: list[str], now: nvidia.Driver, reason: str) -> dict[str, Any]:
    return {
        "changed": bool(actions),
        "actions": actions,
        "reboot_required": bool(reason),
        "reason": reason,
        "version": now.module or "",
    }


def adopt() -> dict[str, Any]:
    """Assert that the driver that is there works as far as the kernel and the libraries show; change nothing."""
    now = nvidia.driver()
    if now.module is None:
        raise HostError(
            "driver-not-loaded",
            "the NVIDIA driver on the host is not gpuctl's and its module is not loaded",
            "load it (modprobe nvidia), or set nvidia_driver_manage to always to have gpuctl install one",
        )
    if now.library != now.module:
        raise HostError(
            "driver-lib-mismatch",
            f"the kernel runs driver {now.module}, the libraries are {now.library or 'missing'}",
            "reboot the host, or complete its driver's upgrade",
        )
    return _answer([], now, "")


def main(module: HostModule) -> dict[str, Any]:
    """Load the driver, or look at one that was there."""
    return load(module) if module.params["state"] == "loaded" else adopt()
