"""Facts about NVIDIA GPUs and their driver: the PCI tree and files first, the driver's library last and in a child."""

from __future__ import annotations

import glob
import os
import re
from typing import Any

from .gpuctl_base import listdir, read_line, read_text
from .gpuctl_nvml import ask_nvml

PCI = "/sys/bus/pci/devices"
NVIDIA = "0x10de"
MELLANOX = "0x15b3"
CONNECTX = ("0x1021", "0x1023", "0x1025")  # ConnectX-7 and its successors
CONNECTORS = "/sys/class/drm"
VERSION = "/proc/driver/nvidia/version"
NVML_DEADLINE_S = 8.0  # without persistence daemon the driver takes about a second per GPU to wake up
LIBRARY_FOLDERS = (
    "/usr/lib/x86_64-linux-gnu",
    "/usr/lib/aarch64-linux-gnu",
    "/usr/lib64",
    "/usr/lib",
    "/usr/local/lib",
)


def pci_gpus() -> dict[str, Any]:
    """{"gpus": NVIDIA functions of class 0x03xx that are not handed to a virtual machine, "nvswitches": count}."""
    gpus, switches = [], 0
    for address in listdir(PCI):
        folder = os.path.join(PCI, address)
        if read_line(folder + "/vendor") != NVIDIA:
            continue
        kind = read_line(folder + "/class") or ""
        driver = _driver(folder)
        if kind.startswith("0x03") and driver != "vfio-pci":
            device = (read_line(folder + "/device") or "").replace("0x", "").lower()
            gpus.append({"address": address, "device_id": device, "driver": driver})
        switches += kind.startswith("0x0680")
    return {"gpus": gpus, "nvswitches": switches}


def nvlink_managers() -> int:
    """How many ConnectX functions manage NVSwitches that are no PCI devices of NVIDIA's (HGX with B200 and later).

    Their vital product data says SW_MNG. Only looked for beside GPUs: reading it takes the card milliseconds.
    """
    folders = [os.path.join(PCI, address) for address in listdir(PCI)]
    if not any(read_line(folder + "/vendor") == NVIDIA for folder in folders):
        return 0
    cards = [f for f in folders if read_line(f + "/vendor") == MELLANOX and read_line(f + "/device") in CONNECTX]
    return sum("SW_MNG" in (read_text(folder + "/vpd") or "") for folder in cards)


def _driver(folder: str) -> str | None:
    try:
        return os.path.basename(os.readlink(folder + "/driver"))
    except OSError:
        return None


def parse_module_version(text: str) -> tuple[str | None, str | None]:
    """(version, open | closed) from /proc/driver/nvidia/version."""
    match = re.search(r"^NVRM version:.*?\s(\d+\.\d+(?:\.\d+)?)\s", text + "\n", re.MULTILINE)
    if not match:
        return None, None
    return match.group(1), "open" if "Open Kernel Module" in match.group(0) else "closed"


def _library() -> tuple[str | None, str | None]:
    """(path, version) of libnvidia-ml.so.1, the version from the name of the file it leads to."""
    for folder in LIBRARY_FOLDERS:
        path = os.path.join(folder, "libnvidia-ml.so.1")
        if os.path.exists(path):
            match = re.search(r"\.so\.(\d+\.\d[\d.]*)$", os.path.realpath(path))
            return path, match.group(1) if match else None
    return None, None


def _owner(path: str) -> str | None:
    """The package that owns the library, looked for among the packages that may."""
    real = os.path.realpath(path)
    for listing in sorted(glob.glob("/var/lib/dpkg/info/*nvidia*.list")):
        lines = (read_text(listing) or "").split("\n")
        if path in lines or real in lines:
            return os.path.basename(listing)[: -len(".list")].split(":")[0]
    return None


def nouveau_draws() -> bool:
    """Whether a display is connected to a card that nouveau drives: the machine's own may be another maker's."""
    for path in glob.glob(CONNECTORS + "/card*-*/status"):
        driver = os.path.join(os.path.dirname(path), "device", "device", "driver")
        if os.path.basename(os.path.realpath(driver)) == "nouveau" and (read_text(path) or "").strip() == "connected":
            return True
    return False


def driver_facts(packages: dict[str, str]) -> dict[str, Any]:
    """The driver as far as it is there: module, library, package, device nodes, and what NVML says of the GPUs."""
    loaded, flavour = parse_module_version(read_text(VERSION) or "")
    library, library_version = _library()
    owner = _owner(library) if library else None
    package = packages.get(owner) if owner else None
    facts: dict[str, Any] = {
        "loaded_version": loaded,
        "flavour": flavour,
        "library_version": library_version,
        "package_version": package,
        "simulated": bool(package and package.endswith("+sim")),
        "nouveau": bool(re.search(r"^nouveau ", read_text("/proc/modules") or "", re.MULTILINE)),
        "nouveau_draws": nouveau_draws(),
        "foreign": os.path.exists("/usr/bin/nvidia-uninstall") or bool(library and owner is None),
        "device_nodes": sorted(glob.glob("/dev/nvidia*")),
        "nvml_error": None,
        "nvml_code": None,
        "gpus": [],
        "lost": [],
    }
    if loaded is not None:
        facts.update(ask_nvml(NVML_DEADLINE_S))
    return facts
