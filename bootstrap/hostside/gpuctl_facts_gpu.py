"""Facts about NVIDIA GPUs and their driver: the PCI tree and files first, the driver's library last and in a child."""

from __future__ import annotations

import ctypes
import glob
import json
import os
import re
import select
import signal
import time
from typing import Any, Callable

from .gpuctl_base import listdir, read_line, read_text

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
        "gpus": [],
    }
    if loaded is not None:
        facts.update(ask_nvml(NVML_DEADLINE_S))
    return facts


def ask_nvml(deadline_s: float) -> dict[str, Any]:
    """{"gpus": [..], "nvml_error": text or None}, asked in a child process that has `deadline_s` seconds."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        _child(reader, writer)
    os.close(writer)
    data, ends = b"", time.monotonic() + deadline_s
    while True:
        left = ends - time.monotonic()
        if left <= 0 or not select.select([reader], [], [], left)[0]:
            os.kill(child, signal.SIGKILL)  # not waited for: a process stuck in the driver cannot be reaped
            os.close(reader)
            return {"gpus": [], "nvml_error": "NVML did not answer in %d s" % deadline_s}
        chunk = os.read(reader, 1 << 16)
        if not chunk:
            break
        data += chunk
    os.close(reader)
    status = os.waitpid(child, 0)[1]
    if not data:
        return {"gpus": [], "nvml_error": "NVML ended its process (status %d)" % status}
    found: dict[str, Any] = json.loads(data.decode())
    return found


def _child(reader: int, writer: int) -> None:
    """Ask, write the answer and leave without running anything of the parent's."""
    try:
        os.close(reader)
        answer: dict[str, Any] = {"gpus": [], "nvml_error": None}
        try:
            answer["gpus"] = _query()
        except (OSError, AttributeError, ValueError, NvmlError) as error:
            answer["nvml_error"] = str(error)
        os.write(writer, json.dumps(answer).encode())
    finally:
        os._exit(0)


class NvmlError(Exception):
    """NVML returned something else than success."""


class _PciInfo(ctypes.Structure):
    _fields_ = [  # nvmlPciInfo_t of nvml.h
        ("busIdLegacy", ctypes.c_char * 16),
        ("domain", ctypes.c_uint),
        ("bus", ctypes.c_uint),
        ("device", ctypes.c_uint),
        ("pciDeviceId", ctypes.c_uint),
        ("pciSubSystemId", ctypes.c_uint),
        ("busId", ctypes.c_char * 32),
    ]


class _Memory(ctypes.Structure):
    _fields_ = [("total", ctypes.c_ulonglong), ("free", ctypes.c_ulonglong), ("used", ctypes.c_ulonglong)]


def _query() -> list[dict[str, Any]]:
    """All GPUs that answer. Raises OSError (no library), AttributeError (old library) or NvmlError (no driver)."""
    nvml = ctypes.CDLL("libnvidia-ml.so.1")
    nvml.nvmlErrorString.restype = ctypes.c_char_p

    def check(result: int) -> None:
        if result:
            raise NvmlError("NVML: %s (%d)" % (nvml.nvmlErrorString(result).decode(), result))

    check(nvml.nvmlInit_v2())
    count = ctypes.c_uint()
    check(nvml.nvmlDeviceGetCount_v2(ctypes.byref(count)))
    gpus = []
    for index in range(count.value):
        try:
            gpus.append(_device(nvml, check, index))
        except NvmlError:
            continue  # it is on the bus and not in the answer: that difference names it
    return gpus


def _device(nvml: ctypes.CDLL, check: Callable[[int], None], index: int) -> dict[str, Any]:
    """One GPU. Raises NvmlError when the card does not answer."""
    device, pci = ctypes.c_void_p(), _PciInfo()
    uuid, name = ctypes.create_string_buffer(96), ctypes.create_string_buffer(96)
    check(nvml.nvmlDeviceGetHandleByIndex_v2(index, ctypes.byref(device)))
    check(nvml.nvmlDeviceGetUUID(device, uuid, 96))
    check(nvml.nvmlDeviceGetName(device, name, 96))
    check(nvml.nvmlDeviceGetPciInfo_v3(device, ctypes.byref(pci)))
    return {
        "index": index,
        "uuid": uuid.value.decode(),
        "name": name.value.decode(),
        "pci": "%04x:%02x:%02x.0" % (pci.domain, pci.bus, pci.device),
        "memory_bytes": _memory(nvml, device),
        "compute_capability": _capability(nvml, device),
    }


def _memory(nvml: ctypes.CDLL, device: ctypes.c_void_p) -> int | None:
    memory = _Memory()
    failed = nvml.nvmlDeviceGetMemoryInfo(device, ctypes.byref(memory))
    return None if failed else memory.total


def _capability(nvml: ctypes.CDLL, device: ctypes.c_void_p) -> str | None:
    major, minor = ctypes.c_int(), ctypes.c_int()
    failed = nvml.nvmlDeviceGetCudaComputeCapability(device, ctypes.byref(major), ctypes.byref(minor))
    return None if failed else "%d.%d" % (major.value, minor.value)
