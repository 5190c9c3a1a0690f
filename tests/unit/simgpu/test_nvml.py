from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable
from typing import Any

import pytest

from bootstrap.testvm.simgpu import hardware

from .conftest import PROC_TEXT, Host, in_child

NOT_SUPPORTED, NOT_LOADED, TIMEOUT, LOST, MISMATCH = 3, 9, 10, 15, 18


class EventData(ctypes.Structure):
    _fields_ = (
        ("device", ctypes.c_void_p),
        ("type", ctypes.c_ulonglong),
        ("data", ctypes.c_ulonglong),
        ("gi", ctypes.c_uint),
        ("ci", ctypes.c_uint),
    )


class Memory(ctypes.Structure):
    _fields_ = (("total", ctypes.c_ulonglong), ("free", ctypes.c_ulonglong), ("used", ctypes.c_ulonglong))


def text(lib: ctypes.CDLL, function: str, *arguments: Any) -> str:
    buffer = ctypes.create_string_buffer(96)
    result = getattr(lib, function)(*arguments, buffer, 96)
    return buffer.value.decode() if result == 0 else f"error {result}"


def inspect(host: Host) -> dict[str, Any]:
    """What a caller of NVML sees: count, and per GPU what was asked, or the error of its handle."""

    def ask() -> dict[str, Any]:
        lib = ctypes.CDLL(host.nvml)
        init = lib.nvmlInit_v2()
        if init:
            return {"init": init}
        count = ctypes.c_uint()
        lib.nvmlDeviceGetCount_v2(ctypes.byref(count))
        return {
            "init": 0,
            "driver": text(lib, "nvmlSystemGetDriverVersion"),
            "gpus": [one(lib, i) for i in range(count.value)],
        }

    return in_child(ask)


def one(lib: ctypes.CDLL, index: int) -> dict[str, Any]:
    device = ctypes.c_void_p()
    result = lib.nvmlDeviceGetHandleByIndex_v2(index, ctypes.byref(device))
    if result:
        return {"handle": result}
    memory, major, minor, number = Memory(), ctypes.c_int(), ctypes.c_int(), ctypes.c_uint()
    memory_result = lib.nvmlDeviceGetMemoryInfo(device, ctypes.byref(memory))
    lib.nvmlDeviceGetCudaComputeCapability(device, ctypes.byref(major), ctypes.byref(minor))
    lib.nvmlDeviceGetMinorNumber(device, ctypes.byref(number))
    ecc = ctypes.c_ulonglong()
    lib.nvmlDeviceGetTotalEccErrors(device, 1, 0, ctypes.byref(ecc))
    rows = [ctypes.c_uint() for _ in range(4)]
    rows_result = lib.nvmlDeviceGetRemappedRows(device, *map(ctypes.byref, rows))
    fabric = (ctypes.c_ubyte * 40)()
    fabric_result = lib.nvmlDeviceGetGpuFabricInfo(device, fabric)
    return {
        "handle": 0,
        "name": text(lib, "nvmlDeviceGetName", device),
        "uuid": text(lib, "nvmlDeviceGetUUID", device),
        "memory_mib": None if memory_result else memory.total >> 20,
        "memory_result": memory_result,
        "capability": f"{major.value}.{minor.value}",
        "minor": number.value,
        "ecc": ecc.value,
        "rows_failed": rows[3].value if rows_result == 0 else None,
        "fabric": fabric[24] if fabric_result == 0 else None,
    }


@pytest.mark.parametrize(
    ("model", "name", "memory_mib", "capability"),
    [
        ("a100", "NVIDIA A100-SXM4-40GB", 40960, "8.0"),
        ("h100", "NVIDIA H100 80GB HBM3", 81559, "9.0"),
        ("t4", "Tesla T4", 15360, "7.5"),
    ],
)
def test_models(make_host: Callable[[str, int], Host], model: str, name: str, memory_mib: int, capability: str) -> None:
    host = make_host(model, 8)
    seen = inspect(host)
    assert seen["driver"] == "580.178.04"
    assert [gpu["uuid"] for gpu in seen["gpus"]] == [gpu.uuid for gpu in hardware.gpus(host.files)]
    assert {(gpu["name"], gpu["memory_mib"], gpu["capability"]) for gpu in seen["gpus"]} == {
        (name, memory_mib, capability)
    }


def test_a_process_sees_only_its_device_nodes(make_host: Callable[[str, int], Host]) -> None:
    host = make_host("a100", 8)
    host.give(2, 5)
    all_uuids = [gpu.uuid for gpu in hardware.gpus(host.files)]
    seen = inspect(host)["gpus"]
    assert [(gpu["minor"], gpu["uuid"]) for gpu in seen] == [(2, all_uuids[2]), (5, all_uuids[5])]


def test_no_module_or_another_version(host: Host) -> None:
    host.load_module(PROC_TEXT.replace("580.178.04", "580.150.02"))
    assert inspect(host) == {"init": MISMATCH}
    host.unload_module()
    assert inspect(host) == {"init": NOT_LOADED}


def test_each_fault_is_seen_where_it_belongs(host: Host) -> None:
    whole = inspect(host)["gpus"]
    assert [(gpu["ecc"], gpu["rows_failed"], gpu["fabric"]) for gpu in whole] == [(0, 0, 3), (0, 0, 3)]
    for fault in ("ecc", "row-remap", "memory-unknown"):
        hardware.set_fault(host.files, 1, fault)
    hardware.set_fault(host.files, 0, "fabric")
    first, second = inspect(host)["gpus"]
    assert (first["ecc"], first["rows_failed"], first["memory_result"], first["fabric"]) == (0, 0, 0, 2)
    assert (second["ecc"], second["rows_failed"], second["memory_result"]) == (1, 1, NOT_SUPPORTED)
    hardware.clear_faults(host.files)
    assert inspect(host)["gpus"] == whole
    hardware.set_fault(host.files, 0, "lost")
    assert [gpu["handle"] for gpu in inspect(host)["gpus"]] == [LOST, 0]
    hardware.set_fault(host.files, 0, "unplugged")
    assert [gpu["uuid"] for gpu in inspect(host)["gpus"]] == [whole[1]["uuid"]]
    hardware.set_fault(host.files, 1, "version-mismatch")
    assert inspect(host) == {"init": MISMATCH}


def test_hang_lasts_until_the_fault_is_cleared(host: Host) -> None:
    hardware.set_fault(host.files, 0, "hang")

    def start() -> dict[str, Any]:
        return {"init": ctypes.CDLL(host.nvml).nvmlInit_v2()}

    assert in_child(start, seconds=0.6)["code"] == "compute-failed"
    clearing = threading.Timer(0.3, hardware.clear_faults, [host.files])
    clearing.start()
    assert in_child(start, seconds=10) == {"init": 0}
    clearing.join()


@pytest.mark.parametrize(("fault", "xid"), [("lost", 79), ("ecc", 48), ("row-remap", 64)])
def test_waiting_for_events(host: Host, fault: str, xid: int) -> None:
    def wait() -> dict[str, Any]:
        lib = ctypes.CDLL(host.nvml)
        lib.nvmlInit_v2()
        events, data, device = ctypes.c_void_p(), EventData(), ctypes.c_void_p()
        lib.nvmlEventSetCreate(ctypes.byref(events))
        for index in range(2):
            lib.nvmlDeviceGetHandleByIndex_v2(index, ctypes.byref(device))
            assert lib.nvmlDeviceRegisterEvents(device, ctypes.c_ulonglong(8), events) == 0
        quiet = lib.nvmlEventSetWait_v2(events, ctypes.byref(data), 100)
        hardware.set_fault(host.files, 1, fault)
        told = lib.nvmlEventSetWait_v2(events, ctypes.byref(data), 3000)
        uuid = text(lib, "nvmlDeviceGetUUID", ctypes.c_void_p(data.device))
        again = lib.nvmlEventSetWait_v2(events, ctypes.byref(data), 100)
        return {"quiet": quiet, "told": told, "xid": data.data, "uuid": uuid, "again": again}

    expected = {"quiet": TIMEOUT, "told": 0, "xid": xid, "uuid": hardware.gpus(host.files)[1].uuid, "again": TIMEOUT}
    assert in_child(wait) == expected


def test_every_function_of_the_library_is_there_and_the_rest_is_not_supported(host: Host) -> None:
    names = (hardware.doubles_dir() / "nvml_symbols.txt").read_text(encoding="ascii").split()
    assert len(names) > 350

    def look() -> dict[str, Any]:
        lib = ctypes.CDLL(host.nvml)
        lib.nvmlInit_v2()
        missing = [name for name in names if not hasattr(lib, name)]
        return {"missing": missing, "mig": lib.nvmlDeviceGetMigMode(None, None, None)}

    assert in_child(look) == {"missing": [], "mig": NOT_SUPPORTED}


def test_a_card_found_by_its_uuid_is_a_whole_one(host: Host) -> None:
    uuid = hardware.gpus(host.files)[1].uuid

    def look() -> dict[str, Any]:
        lib = ctypes.CDLL(host.nvml)
        lib.nvmlInit_v2()
        device, is_mig = ctypes.c_void_p(), ctypes.c_uint(7)
        found = lib.nvmlDeviceGetHandleByUUID(uuid.encode(), ctypes.byref(device))
        asked = lib.nvmlDeviceIsMigDeviceHandle(device, ctypes.byref(is_mig))
        return {"found": found, "asked": asked, "mig": is_mig.value}

    assert in_child(look) == {"found": 0, "asked": 0, "mig": 0}


def test_smi_prints_from_the_same_state(host: Host) -> None:
    uuids = [gpu.uuid for gpu in hardware.gpus(host.files)]
    listing = host.smi("-L")
    assert listing.stdout.splitlines() == [
        f"GPU {i}: NVIDIA H100 80GB HBM3 (UUID: {uuid})" for i, uuid in enumerate(uuids)
    ]
    query = "--query-gpu=index,uuid,memory.total,driver_version,pci.bus_id"
    rows = host.smi(query, "--format=csv,noheader,nounits").stdout.splitlines()
    assert rows[1] == f"1, {uuids[1]}, 81559, 580.178.04, 00000000:02:00.0"
    assert host.smi(query, "--format=csv").stdout.splitlines()[1].split(", ")[2] == "81559 MiB"
    assert "Driver Version: 580.178.04" in host.smi().stdout
    assert uuids[1] in host.smi("-q", "-i", "1").stdout
    hardware.set_fault(host.files, 0, "memory-unknown")
    assert "[N/A]" in host.smi("--query-gpu=memory.total", "--format=csv,noheader").stdout


def test_smi_fails_as_the_real_one(host: Host) -> None:
    assert host.smi("--query-gpu=nonsense", "--format=csv").returncode == 2
    hardware.set_fault(host.files, 0, "lost")
    lost = host.smi("-L")
    assert (lost.returncode, "GPU is lost" in lost.stdout) == (LOST, True)
    hardware.set_fault(host.files, 0, "version-mismatch")
    mismatch = host.smi()
    assert (mismatch.returncode, "Driver/library version mismatch" in mismatch.stdout) == (MISMATCH, True)
    host.unload_module()
    assert host.smi().returncode == NOT_LOADED
