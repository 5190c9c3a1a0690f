"""The probe's own questions to NVML, put to the double with each of its faults."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

import pytest

from bootstrap.hostside import gpuctl_nvml as nvml
from bootstrap.testvm.simgpu import hardware

from .conftest import Host

MODEL = "h100"


class Answering:
    """The double, in which some functions return another code: what other drivers do, and the double does not."""

    def __init__(self, library: ctypes.CDLL, codes: dict[str, int]) -> None:
        self._library, self._codes = library, codes

    def __getattr__(self, name: str) -> Any:
        if name in self._codes:
            return lambda *_: self._codes[name]
        return getattr(self._library, name)


@pytest.fixture
def ask(make_host: Callable[[str, int], Host], monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, Any]]:
    """What the probe learns of a host of two GPUs, the second of which has a fault; `codes`: function → its result."""

    def asked(fault: str = "", codes: dict[str, int] | None = None, deadline_s: float = 5.0) -> dict[str, Any]:
        host = make_host(MODEL, 2)
        if fault:
            hardware.set_fault(host.files, 1, fault)
        load = ctypes.CDLL
        monkeypatch.setattr(nvml.ctypes, "CDLL", lambda _: Answering(load(host.nvml), codes or {}))
        return nvml.ask_nvml(deadline_s)

    return asked


def test_sound_gpus_say_how_they_are(ask: Callable[..., dict[str, Any]]) -> None:
    found = ask()
    assert (found["nvml_error"], found["nvml_code"], found["lost"]) == (None, None, [])
    health = ("ecc_uncorrected", "remap_pending", "remap_failed", "fabric_state")
    assert [[gpu[key] for key in health] for gpu in found["gpus"]] == [[0, False, False, 3]] * 2


@pytest.mark.parametrize(
    ("fault", "key", "value"),
    [("ecc", "ecc_uncorrected", 1), ("row-remap", "remap_failed", True), ("memory-unknown", "memory_bytes", None)],
)
def test_what_is_wrong_with_one_gpu_is_told_of_that_one(
    ask: Callable[..., dict[str, Any]], fault: str, key: str, value: object
) -> None:
    first, second = ask(fault)["gpus"]
    assert second[key] == value
    assert first[key] != value


def test_a_fabric_that_is_not_ready_is_told(ask: Callable[..., dict[str, Any]]) -> None:
    assert {gpu["fabric_state"] for gpu in ask("fabric")["gpus"]} == {2}


def test_a_gpu_that_has_no_handle_is_lost(ask: Callable[..., dict[str, Any]]) -> None:
    found = ask("lost")
    assert [gpu["index"] for gpu in found["gpus"]] == [0]
    assert [(gpu["index"], gpu["code"]) for gpu in found["lost"]] == [(1, 15)]


@pytest.mark.parametrize("function", ["nvmlDeviceGetMemoryInfo", "nvmlDeviceGetTotalEccErrors"])
def test_a_gpu_whose_first_guarded_call_fails_is_lost_with_its_uuid(
    ask: Callable[..., dict[str, Any]], function: str
) -> None:
    found = ask(codes={function: 15})
    assert found["gpus"] == []
    assert [(bool(gpu["uuid"]), bool(gpu["pci"]), gpu["error"]) for gpu in found["lost"]] == [
        (True, True, "NVML: GPU is lost (15)")
    ] * 2


@pytest.mark.parametrize("function", ["nvmlDeviceGetMemoryInfo", "nvmlDeviceGetCudaComputeCapability"])
def test_only_not_supported_is_unknown(ask: Callable[..., dict[str, Any]], function: str) -> None:
    codes = {function: 3}
    assert len(ask(codes=codes)["gpus"]) == 2
    codes[function] = 999
    assert len(nvml.ask_nvml(5.0)["lost"]) == 2


def test_libraries_of_another_version_have_their_code(ask: Callable[..., dict[str, Any]]) -> None:
    found = ask("version-mismatch")
    assert (found["gpus"], found["nvml_code"]) == ([], 18)


def test_a_driver_that_hangs_has_no_answer(ask: Callable[..., dict[str, Any]]) -> None:
    assert ask("hang", deadline_s=0.5)["nvml_code"] == nvml.NO_ANSWER
