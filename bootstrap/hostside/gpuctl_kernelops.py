"""Kernel modules, sysctls and swap on a host.

Standard library only, Python 3.8 and later: this code runs on the hosts. Lab hosts have no /sys/module and no
/lib/modules: what is built in shows only by what it brings (a file system, a sysctl).
"""

from __future__ import annotations

import os
import re
from typing import List, NamedTuple, Optional

from .gpuctl_base import sysctl_path
from .gpuctl_hostio import HostError, read_bytes, read_text, run, write_atomic

FSTAB = "/etc/fstab"
SWAPS = "/proc/swaps"
_LINE_END = re.compile("(\r\n|\n|\r)")  # kept when a text is taken apart, so that it comes back as it was
SWAP_MARK = "# gpuctl swap off: "
# What shows that a module works although no list of modules names it.
# Services that make swap at each boot: of zram-tools, zram-config, Raspberry Pi's and Armbian's images, and others.
SWAP_MAKERS = (
    *("armbian-zram-config.service", "dphys-swapfile.service", "rpi-swap.service", "swapspace.service"),
    *("systemd-swap.service", "zram-config.service", "zram-init.service", "zram-swap.service", "zram.service"),
    *("zramd.service", "zramswap.service", "zswap-arm.service"),
)
_COMES_UP = ("enabled", "enabled-runtime", "generated", "alias", "static", "indirect", "linked")
_SIGNS = {"br_netfilter": "/proc/sys/net/bridge/bridge-nf-call-iptables"}


def module_there(name: str) -> bool:
    """Whether the module is loaded or built in, as far as the host shows it."""
    loaded = {line.split(" ", 1)[0] for line in read_text("/proc/modules").splitlines()}
    if name in loaded or os.path.isdir(f"/sys/module/{name}"):
        return True
    if re.search(rf"^(nodev)?\t{re.escape(name)}$", read_text("/proc/filesystems"), re.MULTILINE):
        return True
    if name in _SIGNS and os.path.exists(_SIGNS[name]):
        return True
    builtin = read_text(f"/lib/modules/{os.uname().release}/modules.builtin").replace("-", "_")
    return f"/{name}.ko" in builtin


def load_module(name: str) -> str:
    """Load the module: "present", "loaded" or "missing"."""
    if module_there(name):
        return "present"
    done = run(["modprobe", "--", name], 60)
    return "loaded" if done.rc == 0 else "missing"


def sysctl_get(key: str) -> Optional[str]:
    """The value as it is now, blanks normalised; None when the kernel does not have it or hides it."""
    try:
        with open(sysctl_path(key), encoding="ascii", errors="replace") as stream:
            return " ".join(stream.read().split())
    except OSError:
        return None


def sysctl_set(key: str, value: str) -> bool:
    """Write the value; False when the kernel does not let us."""
    try:
        with open(sysctl_path(key), "w", encoding="ascii") as stream:
            stream.write(value)
    except OSError:
        return False
    return sysctl_get(key) == value


class SwapChange(NamedTuple):
    """What turning swap off changed: lines of fstab made comments, devices switched off, units masked."""

    fstab_lines: List[str]
    devices: List[str]
    masked: List[str]

    @property
    def changed(self) -> bool:
        """Whether anything had to be done."""
        return bool(self.fstab_lines or self.devices or self.masked)


def fstab_swap_lines(text: str) -> List[str]:
    """The lines of fstab that mount swap."""
    return [line for line in _LINE_END.split(text) if _mounts_swap(line)]


def _mounts_swap(line: str) -> bool:
    fields = line.split()
    return len(fields) >= 3 and not fields[0].startswith("#") and fields[2] == "swap"


def without_swap(text: str) -> str:
    """The text of fstab with its swap lines made comments that `with_swap` finds again."""
    return "".join(SWAP_MARK + part if _mounts_swap(part) else part for part in _LINE_END.split(text))


def with_swap(text: str) -> str:
    """The inverse of `without_swap`."""
    parts = _LINE_END.split(text)
    return "".join(part[len(SWAP_MARK) :] if part.startswith(SWAP_MARK) else part for part in parts)


def _fstab() -> str:
    """The table byte by byte: what is no UTF-8 in it comes back as it was."""
    return (read_bytes(FSTAB) or b"").decode("utf-8", "surrogateescape")


def _write_fstab(text: str) -> None:
    write_atomic(FSTAB, text.encode("utf-8", "surrogateescape"), os.stat(FSTAB).st_mode & 0o7777)


def active_swaps() -> List[str]:
    """Devices and files that are swapped to now."""
    return [line.split()[0] for line in read_text(SWAPS).splitlines()[1:] if line.strip()]


def swap_units() -> List[str]:
    """Units that would bring swap back at the next boot: swap units not made from fstab, and zram set-ups."""
    found = []
    done = run(["systemctl", "list-units", "--all", "--plain", "--no-legend", "--type=swap"], 30)
    names = [line.split()[0] for line in done.out.splitlines() if line.strip()]
    for name in names:
        source = run(["systemctl", "show", "--property=SourcePath,LoadState", "--", name], 15).out
        if "LoadState=loaded" in source and f"SourcePath={FSTAB}" not in source:
            found.append(name)
    states = run(["systemctl", "list-unit-files", "--plain", "--no-legend", "--", *SWAP_MAKERS], 30).out
    for line in states.splitlines():
        name, _, state = line.strip().partition(" ")
        if state.split(" ")[0] in _COMES_UP and name not in found:
            found.append(name)
    done = run(["systemctl", "list-units", "--all", "--plain", "--no-legend", "systemd-zram-setup@*.service"], 30)
    found += [line.split()[0] for line in done.out.splitlines() if " loaded " in line]
    return found


def swap_off(check: bool) -> SwapChange:
    """No swap now and after the next boot; HostError swap-on when the kernel refuses to give one up."""
    text = _fstab()
    lines, devices, units = fstab_swap_lines(text), active_swaps(), swap_units()
    change = SwapChange(lines, devices, units)
    if check or not change.changed:
        return change
    if lines:
        _write_fstab(without_swap(text))
        run(["systemctl", "daemon-reload"], 60)  # swap units are generated from fstab
    if units:
        run(["systemctl", "mask", "--now", "--", *units], 120)
    for device in active_swaps():  # some makers take their own away when they are stopped
        done = run(["swapoff", device], 600)  # what is swapped out has to be read back in first
        if done.rc != 0:
            raise HostError(
                "swap-on",
                f"swap on {device} cannot be switched off: {done.tail(1)}",
                "free memory on the host, or switch swap off by hand, and run gpuctl again",
            )
    return change


def swap_restore(masked: List[str]) -> bool:
    """Bring the swap lines of fstab back and unmask the units; whether there was any. Swap returns at the next boot."""
    text = _fstab()
    restored = with_swap(text)
    if restored != text:
        _write_fstab(restored)
    if masked:
        run(["systemctl", "unmask", "--", *masked], 60)
    return restored != text or bool(masked)
