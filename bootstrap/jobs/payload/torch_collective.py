"""An all-reduce over all processes of a job by PyTorch: NCCL between the GPUs of a pod, gloo where it has none.

Runs inside pods of an image with PyTorch 1.13 or later, beside ranks.py. It starts a process per GPU itself: torchrun's
options differ too much between releases. Each knows the right sum; the largest vector is timed for the bus bandwidth as
NCCL's own tests define it. Prints one JSON line per pod; exit status 0 when the sum was right, 1 when anything was not.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bootstrap.jobs.payload.ranks import Place, place_of
else:
    sys.path.insert(0, str(Path(__file__).resolve().parent))
    from ranks import Place, place_of

SCHEMA = "gpuctl_collective"
PERIOD = 97
"""Process r adds (r + 1) * (i % PERIOD + 1) at place i: whole numbers, whose sum a double holds exactly."""
_TORCH_FIX = "name an image with PyTorch in it"
_ELEMENTS = 1 << 15
_ROUNDS = 5
_POLL_S = 0.1
_KILL_S = 10.0
_SHARE = 0.9  # of the pod's time: PyTorch gives up first, and knows what it waits for
_TAIL, _LINE = 1 << 16, 300


class LackingError(RuntimeError):
    """The image has no such module."""


def take_part(local: int, processes: int, place: Place, timeout_s: float, size: int) -> dict[str, Any]:
    """One process: its share of a pod's report."""
    import torch
    import torch.distributed as dist

    cuda = torch.cuda.is_available()
    backend = "nccl" if cuda else "gloo"
    device = torch.device("cuda", local) if cuda else torch.device("cpu")
    if cuda:
        torch.cuda.set_device(device)
    world = place.pods * processes
    dist.init_process_group(
        backend,
        init_method=f"tcp://{place.address}:{place.port}",
        rank=place.rank * processes + local,
        world_size=world,
        timeout=timedelta(seconds=timeout_s),
    )
    period = torch.arange(_ELEMENTS, dtype=torch.float64, device=device) % PERIOD + 1
    values = period * (dist.get_rank() + 1)
    dist.all_reduce(values)
    right = bool(torch.equal(values, period * (world * (world + 1) // 2)))
    large = torch.ones(size // 4, dtype=torch.float32, device=device)
    rate = None
    if world > 1:
        for _ in range(2):
            dist.all_reduce(large)
        _settle(cuda)
        begun = time.monotonic()
        for _ in range(_ROUNDS):
            dist.all_reduce(large)
        _settle(cuda)
        rate = 2 * (world - 1) / world * size * _ROUNDS / (time.monotonic() - begun)
    dist.barrier()
    dist.destroy_process_group()
    return {"transport": backend, "sum_right": right, "bytes_per_s": rate, "measured_bytes": size if rate else 0}


def _settle(cuda: bool) -> None:
    """Wait until the device has done what it was given."""
    if cuda:
        import torch

        torch.cuda.synchronize()


class Process:
    """One process of a pod. What it says goes into files: it would stand still at a pipe that nobody reads."""

    def __init__(self, local: int, processes: int, arguments: Sequence[str]) -> None:
        environment = {**os.environ, "GPUCTL_LOCAL": str(local), "GPUCTL_PROCESSES": str(processes)}
        self.local = local
        self._out, self._err = tempfile.TemporaryFile(), tempfile.TemporaryFile()  # noqa: SIM115 - as long as it runs
        command = [sys.executable, __file__, *arguments]
        self._child = subprocess.Popen(command, env=environment, stdout=self._out, stderr=self._err)

    def code(self) -> int | None:
        """Its exit status; None while it runs."""
        return self._child.poll()

    def end(self) -> None:
        """Kill it; one that hangs in a driver is left behind."""
        self._child.kill()
        with suppress(subprocess.TimeoutExpired):
            self._child.wait(_KILL_S)

    def last_words(self) -> str:
        """The last line of its standard error."""
        return (_tail(self._err) or [""])[-1][:_LINE]

    def report(self) -> dict[str, Any]:
        """Its answer: NCCL, too, writes to standard output. Raise RuntimeError when there is none."""
        lines = _tail(self._out)
        for line in reversed(lines):
            with suppress(ValueError):
                found = json.loads(line)
                if isinstance(found, dict) and "sum_right" in found:
                    return found
        last = lines[-1][:_LINE] if lines else "it said nothing"
        raise RuntimeError(f"process {self.local} ended without a report: {last}")


def _tail(stream: IO[bytes]) -> list[str]:
    """The last lines of a file whose place for writing is left alone."""
    size = os.fstat(stream.fileno()).st_size
    return os.pread(stream.fileno(), _TAIL, max(size - _TAIL, 0)).decode(errors="replace").strip().splitlines()


def run_pod(arguments: Sequence[str], timeout_s: float) -> dict[str, Any]:
    """Start a process per GPU; what the first of them reports. Raise RuntimeError with what a failed one said."""
    try:
        import torch
    except ModuleNotFoundError as error:
        raise LackingError(f"the image has no {error.name}") from error
    except ImportError as error:
        raise LackingError(f"the image's torch cannot be used: {error}") from error
    processes = max(torch.cuda.device_count(), 1)
    arguments = [*arguments, "--timeout", str(timeout_s * _SHARE)]
    end = time.monotonic() + timeout_s
    children: list[Process] = []
    try:
        children.extend(Process(local, processes, arguments) for local in range(processes))
        # One that failed leaves the others waiting for it.
        while None in (codes := [child.code() for child in children]) and not any(codes):
            if time.monotonic() > end:
                break
            time.sleep(_POLL_S)
    finally:
        for child in children:
            child.end()
    _refuse(children, codes, timeout_s)
    reports = [child.report() for child in children]
    return {**reports[0], "sum_right": all(report["sum_right"] for report in reports), "gpus": processes}


def _refuse(children: Sequence[Process], codes: Sequence[int | None], timeout_s: float) -> None:
    """Raise RuntimeError when one failed; one that failed by itself says more than one that was ended from outside."""
    for code, child in sorted(zip(codes, children), key=lambda ended: -(ended[0] or 0)):  # noqa: B905 - Python 3.8
        words = child.last_words()
        if code and code < 0:
            raise RuntimeError(f"process {child.local} was ended by signal {-code}" + (f": {words}" if words else ""))
        if code:
            raise RuntimeError(f"process {child.local}: {words or 'it said nothing'}")
    if None in codes:
        said = [f"; process {child.local} said last: {child.last_words()}" for child in children if child.last_words()]
        raise RuntimeError(f"no end within {timeout_s:g} s" + (said or [""])[0])


def main(arguments: Sequence[str]) -> int:
    """Be a process of a pod, or the pod: its report is one line on standard output."""
    parser = argparse.ArgumentParser(description="An all-reduce over the processes of a job, by PyTorch.")
    parser.add_argument("--timeout", type=float, default=120.0, help="seconds for all of it")
    parser.add_argument("--bytes", type=int, default=1 << 28, help="size of the vector that is timed")
    chosen = parser.parse_args(arguments)
    report: dict[str, Any] = {SCHEMA: 1, "host": socket.gethostname(), "transport": "torch"}
    error = ""
    try:
        place = place_of(os.environ)
        if "GPUCTL_LOCAL" in os.environ:
            local, processes = int(os.environ["GPUCTL_LOCAL"]), int(os.environ["GPUCTL_PROCESSES"])
            print(json.dumps(take_part(local, processes, place, chosen.timeout, chosen.bytes)))  # noqa: T201 - its answer
            return 0
        report.update(rank=place.rank, pods=place.pods, said_by=place.said_by)
        report.update(run_pod(arguments, chosen.timeout))
        if not report["sum_right"]:
            error, report["code"] = "the sum is wrong", "collective-sum-wrong"
    except (ValueError, OSError, RuntimeError) as failure:
        error, report["code"] = str(failure), "collective-failed"
        if isinstance(failure, LackingError):
            report["fix"] = _TORCH_FIX
    report["error"] = error
    print(json.dumps(report), flush=True)  # noqa: T201 - the log is its answer
    if error:
        sys.stderr.write(f"{error}\n")
    return 1 if error else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
