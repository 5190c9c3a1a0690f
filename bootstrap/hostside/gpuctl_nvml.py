"""What the driver's management library says of each GPU, asked in a child process that has a deadline.

A card that does not answer is told by what NVML says of it; only NVML_ERROR_NOT_SUPPORTED means that a value is not
known. Standard library only, Python 3.8 and later: this code runs on the hosts.
"""

from __future__ import annotations

import ctypes
import json
import os
import select
import signal
import time
from typing import Any, Callable

NOT_SUPPORTED = 3  # NVML_ERROR_NOT_SUPPORTED of nvml.h
NO_ANSWER = -1  # our own: the library did not come back
_UNCORRECTED, _VOLATILE = 1, 0  # NVML_MEMORY_ERROR_TYPE_UNCORRECTED, NVML_VOLATILE_ECC: since the driver was loaded


class NvmlError(Exception):
    """NVML returned something else than success; `code` is its nvmlReturn_t."""

    def __init__(self, text: str, code: int = 0) -> None:
        super().__init__(text)
        self.code = code


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


class _Fabric(ctypes.Structure):
    _fields_ = [  # nvmlGpuFabricInfo_t of nvml.h
        ("clusterUuid", ctypes.c_ubyte * 16),
        ("status", ctypes.c_uint),
        ("cliqueId", ctypes.c_uint),
        ("state", ctypes.c_ubyte),
    ]


def ask_nvml(deadline_s: float) -> dict[str, Any]:
    """{"gpus": [..], "lost": [..], "nvml_error": text or None, "nvml_code": number or None} within `deadline_s`."""
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
            return {**_nothing(), "nvml_error": "NVML did not answer in %d s" % deadline_s, "nvml_code": NO_ANSWER}
        chunk = os.read(reader, 1 << 16)
        if not chunk:
            break
        data += chunk
    os.close(reader)
    status = os.waitpid(child, 0)[1]
    if not data:
        return {**_nothing(), "nvml_error": "NVML ended its process (status %d)" % status}
    found: dict[str, Any] = json.loads(data.decode())
    return found


def _nothing() -> dict[str, Any]:
    return {"gpus": [], "lost": [], "nvml_error": None, "nvml_code": None}


def _child(reader: int, writer: int) -> None:
    """Ask, write the answer and leave without running anything of the parent's."""
    try:
        os.close(reader)
        answer = _nothing()
        try:
            answer["gpus"], answer["lost"] = query()
        except (OSError, AttributeError, ValueError, NvmlError) as error:
            answer["nvml_error"] = str(error)
            answer["nvml_code"] = getattr(error, "code", None) or None
        os.write(writer, json.dumps(answer).encode())
    finally:
        os._exit(0)


def query() -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The GPUs that answer, and those that do not.

    Raises OSError (no library), AttributeError (an old library) or NvmlError (no driver).
    """
    nvml = ctypes.CDLL("libnvidia-ml.so.1")
    nvml.nvmlErrorString.restype = ctypes.c_char_p
    check = _checker(nvml)
    check(nvml.nvmlInit_v2())
    count = ctypes.c_uint()
    check(nvml.nvmlDeviceGetCount_v2(ctypes.byref(count)))
    gpus, lost = [], []
    for index in range(count.value):
        known: dict[str, Any] = {"index": index, "uuid": "", "pci": ""}
        try:
            gpus.append(_device(nvml, check, index, known))
        except NvmlError as error:
            lost.append({**known, "error": str(error), "code": error.code})
    return gpus, lost


def _checker(nvml: ctypes.CDLL) -> Callable[[int], None]:
    def check(result: int) -> None:
        if result:
            raise NvmlError("NVML: %s (%d)" % (nvml.nvmlErrorString(result).decode(), result), result)

    return check


def _device(nvml: ctypes.CDLL, check: Callable[[int], None], index: int, known: dict[str, Any]) -> dict[str, Any]:
    """One GPU; `known` gets what it said before it stopped. Raises NvmlError when the card does not answer."""
    device, pci = ctypes.c_void_p(), _PciInfo()
    uuid, name = ctypes.create_string_buffer(96), ctypes.create_string_buffer(96)
    check(nvml.nvmlDeviceGetHandleByIndex_v2(index, ctypes.byref(device)))
    check(nvml.nvmlDeviceGetPciInfo_v3(device, ctypes.byref(pci)))
    known["pci"] = "%04x:%02x:%02x.0" % (pci.domain, pci.bus, pci.device)
    check(nvml.nvmlDeviceGetUUID(device, uuid, 96))
    known["uuid"] = uuid.value.decode()
    check(nvml.nvmlDeviceGetName(device, name, 96))
    memory, major, minor = _Memory(), ctypes.c_int(), ctypes.c_int()
    has_memory = _known(check, nvml.nvmlDeviceGetMemoryInfo(device, ctypes.byref(memory)))
    capability = nvml.nvmlDeviceGetCudaComputeCapability(device, ctypes.byref(major), ctypes.byref(minor))
    return {
        **known,
        "name": name.value.decode(),
        "memory_bytes": memory.total if has_memory else None,
        "compute_capability": "%d.%d" % (major.value, minor.value) if _known(check, capability) else None,
        **_health(nvml, check, device),
    }


def _known(check: Callable[[int], None], result: int) -> bool:
    """Whether the value is known; NvmlError where the card has not answered."""
    if result != NOT_SUPPORTED:
        check(result)
    return not result


def _health(nvml: ctypes.CDLL, check: Callable[[int], None], device: ctypes.c_void_p) -> dict[str, Any]:
    """Memory errors, remapped rows, the state of the fabric, MIG: None each where card or library does not say."""
    errors, fabric = ctypes.c_ulonglong(), _Fabric()
    corrected, uncorrected, pending, failed = (ctypes.c_uint() for _ in range(4))
    mig, mig_next = ctypes.c_uint(), ctypes.c_uint()
    rows = (corrected, uncorrected, pending, failed)

    def says(function: str, *arguments: Any) -> bool:
        call = getattr(nvml, function, None)
        return call is not None and _known(check, call(device, *arguments))

    has_errors = says("nvmlDeviceGetTotalEccErrors", _UNCORRECTED, _VOLATILE, ctypes.byref(errors))
    has_rows = says("nvmlDeviceGetRemappedRows", *map(ctypes.byref, rows))
    has_fabric = says("nvmlDeviceGetGpuFabricInfo", ctypes.byref(fabric))
    has_mig = says("nvmlDeviceGetMigMode", ctypes.byref(mig), ctypes.byref(mig_next))
    return {
        "ecc_uncorrected": errors.value if has_errors else None,
        "remap_pending": bool(pending.value) if has_rows else None,
        "remap_failed": bool(failed.value) if has_rows else None,
        "fabric_state": fabric.state if has_fabric else None,
        "mig": bool(mig.value) if has_mig else None,
    }
