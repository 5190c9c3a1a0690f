"""Computes on every GPU that this process sees, and says which of them computed right.

Runs inside a pod, with nothing but Python (3.8 or later) and the driver library that the container toolkit injects:
the CUDA driver API through ctypes, and a kernel as PTX text that the driver compiles for whatever card is there.
Prints one JSON document on standard output. Exit status: 0 all computed right, 1 something did not.

A child process asks the driver what there is, then one child per GPU computes, all at once: a call that hangs costs
its child, not the answer about the others.
"""

from __future__ import annotations

import argparse
import array
import ctypes
import json
import os
import select
import signal
import sys
import time
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # annotations are not evaluated, so that Python 3.8 need not know these spellings
    from collections.abc import Callable

    Document = dict[str, Any]

SCHEMA = 1
LIBRARY = "libcuda.so.1"
BLOCK = 256
ELEMENTS = (1 << 16) + 37
"""Not a multiple of the block, so that the last block is a partial one."""
TAIL = BLOCK
"""Elements behind the vectors that no thread may touch: a thread too many finds operands there, and its sum tells."""
POISON = -77777.25
DEADLINE_S = 60.0
"""Per GPU: making a context took up to 10 s on a host with 8 cards without persistence mode; the kernel takes none."""
POLL_S = 0.5
LOG_BYTES = 4096

# .target names the oldest architecture that driver branch 580 still drives; the driver compiles it for the card.
PTX = """
.version 6.0
.target sm_50
.address_size 64

.visible .entry vector_add(
    .param .u64 param_a,
    .param .u64 param_b,
    .param .u64 param_sum,
    .param .u32 param_count
)
{
    .reg .pred %p<2>;
    .reg .b32 %r<6>;
    .reg .b64 %rd<11>;
    .reg .f32 %f<4>;

    ld.param.u64 %rd1, [param_a];
    ld.param.u64 %rd2, [param_b];
    ld.param.u64 %rd3, [param_sum];
    ld.param.u32 %r1, [param_count];
    mov.u32 %r2, %ctaid.x;
    mov.u32 %r3, %ntid.x;
    mov.u32 %r4, %tid.x;
    mad.lo.s32 %r5, %r2, %r3, %r4;
    setp.ge.u32 %p1, %r5, %r1;
    @%p1 bra DONE;

    cvta.to.global.u64 %rd4, %rd1;
    cvta.to.global.u64 %rd5, %rd2;
    cvta.to.global.u64 %rd6, %rd3;
    mul.wide.u32 %rd7, %r5, 4;
    add.s64 %rd8, %rd4, %rd7;
    add.s64 %rd9, %rd5, %rd7;
    add.s64 %rd10, %rd6, %rd7;
    ld.global.f32 %f1, [%rd8];
    ld.global.f32 %f2, [%rd9];
    add.f32 %f3, %f1, %f2;
    st.global.f32 [%rd10], %f3;

DONE:
    ret;
}
"""
KERNEL = "vector_add"

_JIT_ERROR_LOG_BUFFER = 5  # CUjit_option of cuda.h
_JIT_ERROR_LOG_BUFFER_SIZE_BYTES = 6


class CudaError(Exception):
    """A driver call failed: `code` is a stable name of ours, the text has CUDA's."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code


class Driver:
    """The CUDA driver API of one process. Raises CudaError from every call that fails."""

    def __init__(self, library: str = LIBRARY) -> None:
        try:
            self._lib = ctypes.CDLL(library)
        except OSError as error:
            raise CudaError("no-device-in-pod", f"{library} cannot be loaded: {error}") from error

    def call(self, function: str, *arguments: Any) -> None:
        """Call one function of the API."""
        try:
            pointer = getattr(self._lib, function)
        except AttributeError as error:
            raise CudaError("compute-failed", f"{LIBRARY} has no {function}") from error
        result = pointer(*arguments)
        if result != 0:
            name = self._name(result)
            code = "no-device-in-pod" if name == "CUDA_ERROR_NO_DEVICE" else "compute-failed"
            raise CudaError(code, f"{function}: {name}")

    def _name(self, result: int) -> str:
        text = ctypes.c_char_p()
        if self._lib.cuGetErrorName(result, ctypes.byref(text)) != 0 or not text.value:
            return f"CUDA error {result}"
        return text.value.decode()


def init(library: str = LIBRARY) -> tuple[Driver, int]:
    """Start the driver; returns it and how many devices this process sees."""
    driver = Driver(library)
    driver.call("cuInit", 0)
    count = ctypes.c_int()
    driver.call("cuDeviceGetCount", ctypes.byref(count))
    if count.value == 0:
        raise CudaError("no-device-in-pod", "cuDeviceGetCount: 0 devices")
    return driver, count.value


def identify(driver: Driver, ordinal: int) -> Document:
    """Index, UUID (as NVML writes it), name and PCI address of a device."""
    device = ctypes.c_int()
    driver.call("cuDeviceGet", ctypes.byref(device), ordinal)
    name = ctypes.create_string_buffer(128)
    driver.call("cuDeviceGetName", name, len(name), device)
    raw = (ctypes.c_ubyte * 16)()
    driver.call("cuDeviceGetUuid", raw, device)
    bus = ctypes.create_string_buffer(32)
    driver.call("cuDeviceGetPCIBusId", bus, len(bus), device)
    return {
        "index": ordinal,
        "uuid": f"GPU-{uuid.UUID(bytes=bytes(raw))}",
        "name": name.value.decode(errors="replace"),
        "pci": bus.value.decode().lower(),
    }


def survey(library: str = LIBRARY) -> Document:
    """What the driver says is there, without computing."""
    driver, count = init(library)
    version = ctypes.c_int()
    driver.call("cuDriverGetVersion", ctypes.byref(version))
    return {"cuda_driver": version.value, "devices": [identify(driver, ordinal) for ordinal in range(count)]}


def operands(count: int) -> tuple[array.array[float], array.array[float], array.array[float]]:
    """Two vectors and their sum, all exact in 32-bit floats: multiples of 1/64 below 2^14, no two neighbours alike."""
    a = array.array("f", (((i * 2654435761) % (1 << 20)) / 64.0 + 1.0 for i in range(count)))
    b = array.array("f", (((i * 40503 + 12345) % (1 << 19)) / 64.0 + 2.0 for i in range(count)))
    return a, b, array.array("f", (a[i] + b[i] for i in range(count)))


def check(wanted: array.array[float], got: array.array[float]) -> None:
    """Compare every element, and the tail that must have stayed as it was; CudaError "compute-wrong" if any differs."""
    count = len(wanted)
    if got[:count] == wanted and all(value == POISON for value in got[count:]):
        return
    wrong = [i for i in range(count) if got[i] != wanted[i]]
    if not wrong:
        raise CudaError("compute-wrong", f"memory behind the result was written (element {count} and on)")
    first = wrong[0]
    text = f"{len(wrong)} of {count} elements wrong, the first is {first}: {got[first]!r} instead of {wanted[first]!r}"
    raise CudaError("compute-wrong", text)


def compute(driver: Driver, ordinal: int, ptx: str = PTX, count: int = ELEMENTS) -> None:
    """Add two vectors on one device and check the sum.

    Raises CudaError with what went wrong; the context then stays, because a broken one cannot always be released.
    """
    device, context = ctypes.c_int(), ctypes.c_void_p()
    driver.call("cuDeviceGet", ctypes.byref(device), ordinal)
    driver.call("cuDevicePrimaryCtxRetain", ctypes.byref(context), device)
    driver.call("cuCtxSetCurrent", context)
    _add_on_current(driver, ptx, count)
    driver.call("cuDevicePrimaryCtxRelease_v2", device)


def _add_on_current(driver: Driver, ptx: str, count: int) -> None:
    a, b, wanted = operands(count)
    for values in (a, b):
        values.extend([1.0] * TAIL)
    result = array.array("f", [POISON]) * (count + TAIL)
    module, function = _load(driver, ptx), ctypes.c_void_p()
    driver.call("cuModuleGetFunction", ctypes.byref(function), module, KERNEL.encode())
    buffers = [_upload(driver, values) for values in (a, b, result)]
    numbers = [*buffers, ctypes.c_uint32(count)]
    pointers = (ctypes.c_void_p * len(numbers))(*(ctypes.addressof(number) for number in numbers))
    blocks = (count + BLOCK - 1) // BLOCK
    driver.call("cuLaunchKernel", function, blocks, 1, 1, BLOCK, 1, 1, 0, None, pointers, None)
    driver.call("cuCtxSynchronize")
    size = len(result) * result.itemsize
    driver.call("cuMemcpyDtoH_v2", ctypes.c_void_p(result.buffer_info()[0]), buffers[2], ctypes.c_size_t(size))
    for buffer in buffers:
        driver.call("cuMemFree_v2", buffer)
    driver.call("cuModuleUnload", module)
    check(wanted, result)


def _load(driver: Driver, ptx: str) -> ctypes.c_void_p:
    module = ctypes.c_void_p()
    log = ctypes.create_string_buffer(LOG_BYTES)
    names = (ctypes.c_int * 2)(_JIT_ERROR_LOG_BUFFER, _JIT_ERROR_LOG_BUFFER_SIZE_BYTES)
    values = (ctypes.c_void_p * 2)(ctypes.addressof(log), LOG_BYTES)
    try:
        driver.call("cuModuleLoadDataEx", ctypes.byref(module), ptx.encode() + b"\0", 2, names, values)
    except CudaError as error:
        said = log.value.decode(errors="replace").strip()
        raise CudaError(error.code, f"{error}{': ' + said if said else ''}") from error
    return module


def _upload(driver: Driver, values: array.array[float]) -> ctypes.c_uint64:
    address = ctypes.c_uint64()
    size = ctypes.c_size_t(len(values) * values.itemsize)
    driver.call("cuMemAlloc_v2", ctypes.byref(address), size)
    driver.call("cuMemcpyHtoD_v2", address, ctypes.c_void_p(values.buffer_info()[0]), size)
    return address


def compute_document(ordinal: int, library: str = LIBRARY, ptx: str = PTX, count: int = ELEMENTS) -> Document:
    """Compute on one device; what came of it as a document, errors of the driver included."""
    start = time.monotonic()
    code, text = None, None
    try:
        driver, _ = init(library)
        compute(driver, ordinal, ptx, count)
    except CudaError as error:
        code, text = error.code, str(error)
    return {
        "ok": code is None,
        "code": code,
        "error": text,
        "elements": count,
        "elapsed_ms": round((time.monotonic() - start) * 1000, 1),
    }


def _survey_document(library: str) -> Document:
    try:
        return survey(library)
    except CudaError as error:
        return {"code": error.code, "error": str(error)}


class Child:
    """A function that runs in a process of its own and gives back a document."""

    def __init__(self, function: Callable[[], Document]) -> None:
        self._data = b""
        self._end, out = os.pipe()
        self._pid = os.fork()
        if self._pid == 0:
            os.close(self._end)
            status = 1
            try:
                with os.fdopen(out, "wb") as stream:
                    stream.write(json.dumps(function()).encode())
                status = 0
            finally:
                os._exit(status)
        os.close(out)

    def result(self, deadline: float) -> Document:
        """Its document, or one that says that it did not end by `deadline` (monotonic seconds) or died."""
        try:
            while select.select([self._end], [], [], max(0.0, deadline - time.monotonic()))[0]:
                chunk = os.read(self._end, 65536)
                if not chunk:
                    return self._ended()
                self._data += chunk
            os.kill(self._pid, signal.SIGKILL)
            # Not waited for: a process inside a hung driver call cannot be killed.
            os.waitpid(self._pid, os.WNOHANG)
            return {"ok": False, "code": "compute-failed", "error": "no answer from the driver before the deadline"}
        finally:
            os.close(self._end)

    def _ended(self) -> Document:
        _, status = os.waitpid(self._pid, 0)
        if self._data:
            document: Document = json.loads(self._data)
            return document
        how = f"signal {os.WTERMSIG(status)}" if os.WIFSIGNALED(status) else f"status {os.WEXITSTATUS(status)}"
        return {"ok": False, "code": "compute-failed", "error": f"the process that used the driver ended with {how}"}


def run(library: str = LIBRARY, deadline_s: float = DEADLINE_S, ptx: str = PTX, count: int = ELEMENTS) -> Document:
    """Compute on every device, each with its own deadline (seconds); the whole answer as one document."""
    found = Child(lambda: _survey_document(library)).result(time.monotonic() + deadline_s)
    document: Document = {"schema": SCHEMA, "ok": False, "code": None, "error": None, "cuda_driver": None}
    document["devices"] = []
    document.update({key: value for key, value in found.items() if key != "ok"})
    if document["code"] is not None:
        return document

    def worker(ordinal: int) -> Child:
        return Child(lambda: compute_document(ordinal, library, ptx, count))

    deadline = time.monotonic() + deadline_s
    children = [worker(device["index"]) for device in document["devices"]]
    for device in document["devices"]:
        device.update({"elements": count, "elapsed_ms": None, **children[device["index"]].result(deadline)})
    document["ok"] = all(device["ok"] for device in document["devices"])
    return document


def hold(seconds: float, barrier: str | None) -> None:
    """Keep the GPUs of this pod until `barrier` exists or `seconds` are over, so that no other pod gets the same."""
    end = time.monotonic() + seconds
    while time.monotonic() < end and not (barrier and Path(barrier).exists()):
        time.sleep(min(POLL_S, max(0.0, end - time.monotonic())))


def main(argv: list[str] | None = None) -> int:
    """Command line: see --help."""
    parser = argparse.ArgumentParser(description="Compute on every GPU that is seen; prints one JSON document.")
    parser.add_argument("--deadline", type=float, default=DEADLINE_S, help="seconds that one GPU may take")
    parser.add_argument("--hold", type=float, default=0.0, help="seconds to stay after the answer, keeping the GPUs")
    parser.add_argument("--barrier-file", help="end the hold as soon as this file exists")
    parser.add_argument("--library", default=LIBRARY, help="the driver library")
    options = parser.parse_args(argv)
    document = run(options.library, options.deadline)
    sys.stdout.write(json.dumps(document) + "\n")
    sys.stdout.flush()
    hold(options.hold, options.barrier_file)
    return 0 if document["ok"] else 1


if __name__ == "__main__":
    sys.exit(main())
