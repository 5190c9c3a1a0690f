"""Module gpuctl_nfs_host: what a host needs beside packages to speak NFSv4, and that it offers nothing older."""

from __future__ import annotations

from typing import Any

from bootstrap.hostside import gpuctl_apt as apt
from bootstrap.hostside import gpuctl_kernelops as kernel
from bootstrap.hostside import gpuctl_receipts as receipts
from bootstrap.hostside import gpuctl_systemd as systemd
from bootstrap.hostside.gpuctl_hostio import HostError, read_text, run
from bootstrap.hostside.gpuctl_module import HostModule

DOCUMENTATION = r"""
module: gpuctl_nfs_host
short_description: Have the kernel's side of NFSv4, and none of what only NFSv3 needs
description:
  - Debian's packages bring rpcbind, which listens on all interfaces. Where it came with a component of gpuctl, it is
    masked; where it was there before, somebody needs it, and it stays as it is.
options:
  component:
    description: Role that asks.
    type: str
    required: true
  side:
    description: What the kernel must be able to do.
    type: str
    choices: [server, client]
    required: true
  state:
    description:
      - V(checked) fails when the kernel cannot do it, and changes nothing else.
      - V(absent) gives the masked units back.
    type: str
    choices: [checked, present, absent]
    default: present
"""

EXAMPLES = r"""
- name: See whether the kernel can mount NFSv4
  gpuctl_nfs_host:
    component: nfs_client
    side: client
    state: checked
"""

RETURN = r"""
actions:
  description: What was done (or, in check mode, would be).
  type: list
  elements: str
  returned: success
serves:
  description: Whether an NFS server is installed, which needs the client's package as well.
  type: bool
  returned: success
"""

_BOTH = ("nfs_server", "nfs_client")
_RPCBIND = "rpcbind"
_UNITS = ("rpcbind.socket", "rpcbind.service", "rpc-statd.service")
_MODULES = {"server": ("nfsd",), "client": ("nfsv4", "nfs")}
_FILE_SYSTEM = {"server": "nfsd", "client": "nfs4"}
_FIX = {
    "server": "boot a kernel with nfsd (containers get it from their host), or let another host be the nfs_server",
    "client": "boot a kernel with nfsv4 (cloud images: the full linux-image package), or set nfs_client_enabled: false",
}


def kernel_can(side: str) -> bool:
    """Whether the kernel has that side of NFSv4, after its modules were asked for."""
    if _has(_FILE_SYSTEM[side]):
        return True
    for name in _MODULES[side]:
        kernel.load_module(name)
    return _has(_FILE_SYSTEM[side])


def _has(file_system: str) -> bool:
    return f"nodev\t{file_system}\n" in read_text("/proc/filesystems")


def require_kernel(side: str) -> None:
    """Raises HostError [nfs-kernel-missing]."""
    if not kernel_can(side):
        verb = "serve" if side == "server" else "mount"
        names = " or ".join(_MODULES[side])
        raise HostError("nfs-kernel-missing", f"the kernel cannot {verb} NFSv4: it has no module {names}", _FIX[side])


def brought_rpcbind() -> bool:
    """Whether rpcbind came with one of the two components."""
    return any(_RPCBIND in receipts.read_before(name).get("dependencies", {}) for name in _BOTH)


def to_mask() -> list[str]:
    """The units of NFSv3 that came with us and can still run."""
    return [name for name, unit in _old_units().items() if unit.load != "masked"]


def _old_units() -> dict[str, systemd.Unit]:
    """The units of NFSv3 where they came with us, else none."""
    units = systemd.show(_UNITS) if brought_rpcbind() else {}
    return {name: unit for name, unit in units.items() if unit.exists}


def have(module: HostModule) -> list[str]:
    """Kernel there, old protocols off."""
    names = to_mask()
    if not module.check_mode:
        require_kernel(module.params["side"])
        for name in _old_units():  # also what the other component masked: the last to go gives it back
            receipts.remember_before(module.params["component"], "masked", name)
        if names:
            _systemctl(["mask", "--now"], names)
    return [f"mask {name}" for name in names]


def give_back(module: HostModule) -> list[str]:
    """Unmask, unless the other component still wants it so."""
    component = module.params["component"]
    other = next(name for name in _BOTH if name != component)
    if receipts.read(other):
        return []
    masked = [name for name in _UNITS if any(name in receipts.read_before(c).get("masked", {}) for c in _BOTH)]
    names = [name for name, unit in systemd.show(masked).items() if unit.load == "masked"] if masked else []
    if names and not module.check_mode:
        _systemctl(["unmask"], names)
    return [f"unmask {name}" for name in names]


def _systemctl(verb: list[str], names: list[str]) -> None:
    done = run(["systemctl", *verb, "--", *names], 60)
    if done.rc != 0:
        raise systemd.failure(names[0], f"systemctl {verb[0]} failed: {done.tail(1)}")


def main(module: HostModule) -> dict[str, Any]:
    """Check, have or give back."""
    state = module.params["state"]
    serves = "nfs-kernel-server" in apt.installed()
    if state == "checked":
        require_kernel(module.params["side"])
        return {"changed": False, "actions": [], "serves": serves}
    actions = have(module) if state == "present" else give_back(module)
    return {"changed": bool(actions), "actions": actions, "serves": serves}
