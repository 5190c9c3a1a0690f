"""The NVIDIA driver and its CDI specification on a host: load, compare, renew.

Standard library only, Python 3.8 and later: this code runs on the hosts.
"""

from __future__ import annotations

import os
import re
from typing import List, NamedTuple, Optional

from .gpuctl_facts_gpu import VERSION, driver_facts
from .gpuctl_hostio import HostError, Ran, read_text, run

GPUS = "/proc/driver/nvidia/gpus"
BOOT = "/boot"
CDI_SPEC = "/var/run/cdi/nvidia.yaml"
CDI_UNIT = "nvidia-cdi-refresh.service"
INITRAMFS_TIMEOUT_S = 600  # a slow disk takes minutes to write it
LOAD_TIMEOUT_S = 120  # eight GPUs with firmware take about 20 s


class Driver(NamedTuple):
    """What is loaded and what is installed; None where it is not."""

    module: Optional[str]
    flavour: Optional[str]  # open | closed
    library: Optional[str]


def driver() -> Driver:
    """The driver as it stands."""
    found = driver_facts({})
    return Driver(found.get("loaded_version"), found.get("flavour"), found.get("library_version"))


def nouveau_loaded() -> bool:
    """Whether the other driver for these GPUs is in the kernel."""
    return any(line.startswith("nouveau ") for line in read_text("/proc/modules").splitlines())


def initramfs_outdated(blacklist: str) -> Optional[str]:
    """The running kernel's initramfs when it is older than the blacklist that has to be in it, else None."""
    image = f"{BOOT}/initrd.img-{os.uname().release}"
    if not (os.path.exists(image) and os.path.exists(blacklist)):
        return None
    return image if os.stat(image).st_mtime < os.stat(blacklist).st_mtime else None


def rebuild_initramfs() -> None:
    """Write the running kernel's initramfs anew; HostError step-failed."""
    done = run(["update-initramfs", "-u", "-k", os.uname().release], INITRAMFS_TIMEOUT_S)
    if done.rc != 0:
        raise HostError("step-failed", f"update-initramfs failed: {done.tail(1)}", "see below", done.tail())


def load() -> None:
    """Load the kernel module; HostError says why it cannot be."""
    done = run(["modprobe", "nvidia"], LOAD_TIMEOUT_S)
    if done.rc != 0 or not os.path.exists(VERSION):
        raise _not_loaded(done)


def _not_loaded(done: Ran) -> HostError:
    said, kernel = done.tail(3), os.uname().release
    if "Key was rejected" in said or "Required key not available" in said:
        return HostError(
            "secure-boot-unsigned",
            "Secure Boot refuses the driver's kernel module: its signature is not enrolled",
            "enrol the key at the console (mokutil --import, reboot), or switch Secure Boot off",
            said,
        )
    if "not found" in said:
        built = run(["dkms", "status"], 30).out
        return HostError(
            "headers-missing",
            f"no driver module was built for kernel {kernel}",
            f"install linux-headers-{kernel} (or boot the kernel whose headers are installed) and run gpuctl again",
            f"{said}\n{built}".strip(),
        )
    return HostError(
        "driver-not-loaded",
        f"the driver's kernel module does not load: {done.tail(1) or 'no GPU answered'}",
        "see `dmesg | grep -i nvrm` on the host",
        said,
    )


def missing_nodes() -> List[int]:
    """Minor numbers of GPUs without a device node."""
    minors = []
    for address in sorted(os.listdir(GPUS)) if os.path.isdir(GPUS) else []:
        found = re.search(r"^Device Minor:\s*(\d+)", read_text(f"{GPUS}/{address}/information"), re.MULTILINE)
        if found and not os.path.exists(f"/dev/nvidia{found.group(1)}"):
            minors.append(int(found.group(1)))
    return minors


def make_nodes(minors: List[int]) -> None:
    """Create the device nodes that are missing; HostError device-nodes-missing."""
    words = [word for minor in minors for word in ("-c", str(minor))]
    done = run(["nvidia-modprobe", "-u", *words], LOAD_TIMEOUT_S)
    if done.rc != 0:
        raise HostError(
            "device-nodes-missing",
            f"nvidia-modprobe cannot make the device nodes: {done.tail(1)}",
            "see `dmesg | grep -i nvrm` on the host",
            done.tail(),
        )


def cdi_fault(path: str = CDI_SPEC) -> Optional[HostError]:
    """What is wrong with the CDI specification: it is missing, or names files or GPUs that are gone; None: nothing."""
    text = read_text(path)
    if not text:
        return HostError("cdi-missing", f"there is no CDI specification {path}", _CDI_FIX)
    named = {match.strip("\"' ") for match in re.findall(r"^\s*(?:- )?hostPath: (.+)$", text, re.MULTILINE)}
    gone = sorted(name for name in named if name.startswith("/") and not os.path.exists(name))
    if gone:
        return HostError("cdi-stale", f"the CDI specification {path} names {gone[0]}, which is gone", _CDI_FIX)
    nodes = set(re.findall(r"path: [\"']?/dev/nvidia(\d+)\b", text))
    have = len(os.listdir(GPUS)) if os.path.isdir(GPUS) else len(nodes)
    if len(nodes) != have:
        message = f"the CDI specification {path} names {len(nodes)} GPUs, the driver has {have}"
        return HostError("cdi-stale", message, _CDI_FIX)
    return None


_CDI_FIX = f"see `journalctl -u {CDI_UNIT}` on the host; `nvidia-ctk cdi generate` makes it by hand"


def renew_cdi(path: str = CDI_SPEC) -> None:
    """Make the CDI specification anew, by the toolkit's own unit where it has one; HostError cdi-missing."""
    done = run(["systemctl", "restart", CDI_UNIT], 120)
    if done.rc != 0 or cdi_fault(path):
        done = run(["nvidia-ctk", "cdi", "generate", f"--output={path}"], 120)
    if done.rc != 0:
        raise HostError("cdi-missing", f"nvidia-ctk cdi generate failed: {done.tail(1)}", _CDI_FIX, done.tail())
