"""What a lab may be asked to be: checked, and with its defaults."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from bootstrap.errors import usage_error
from bootstrap.testvm import qemu
from bootstrap.testvm.names import LANES, MAX_HOSTS
from bootstrap.testvm.registry import Shape

BACKENDS = ("nspawn", "qemu")
GPU_MODELS = ("a100", "h100", "t4", "none")
COMPONENTS = ("mirror", "official")
MAX_GPUS = 16  # the largest boards (HGX, DGX-2) carry 8 or 16
MIN_MEMORY_MIB = 384  # below this Debian's kernel and package manager run out of memory
GPUS = 8


@dataclass(frozen=True, slots=True)
class Machines:
    """What kind of hosts a lab has, and for which lane; memory and CPUs are a virtual machine's, 0 is the default."""

    backend: str = "nspawn"
    memory_mib: int = 0
    cpus: int = 0
    lane: str = "kubeadm"


def host_count(hosts: int | None, lane: str) -> int:
    """How many hosts: three unless told, one for minikube. Raises GpuctlError (exit 2)."""
    if lane == "minikube":
        if hosts not in (None, 1):
            raise usage_error(f"minikube runs on one host, not on {hosts}", "leave --hosts out")
        return 1
    count = 3 if hosts is None else hosts
    if not 1 <= count <= MAX_HOSTS:
        raise usage_error(f"a lab has 1 to {MAX_HOSTS} hosts, not {count}")
    return count


def checked(gpus: int | None, gpu_model: str, components: str, machines: Machines) -> Shape:
    """What was asked for, checked and with its defaults. Raises GpuctlError (exit 2)."""
    _one_of("backend", machines.backend, BACKENDS)
    _one_of("lane", machines.lane, LANES)
    if gpus is not None and not 0 <= gpus <= MAX_GPUS:
        raise usage_error(f"a test host has 0 to {MAX_GPUS} GPUs, not {gpus}")
    _one_of("GPU model", gpu_model, GPU_MODELS)
    _one_of("source of components", components, COMPONENTS)
    if machines.backend == "qemu":
        return _of_machines(gpus, components, machines)
    if machines.memory_mib or machines.cpus:
        raise usage_error("containers have the memory and the CPUs of this machine", "leave --memory and --cpus out")
    count = 0 if gpu_model == "none" else GPUS if gpus is None else gpus
    return Shape(count, gpu_model if count else "none", components, lane=machines.lane)


def _one_of(what: str, value: str, known: Collection[str]) -> None:
    if value not in known:
        raise usage_error(f"unknown {what} {value!r}", f"one of {', '.join(known)}")


def _of_machines(gpus: int | None, components: str, machines: Machines) -> Shape:
    if machines.lane == "minikube":
        raise usage_error("the test host of minikube is a container", "leave --backend out")
    if gpus:
        raise usage_error(
            "virtual machines have no simulated GPUs: those need hosts that share this machine's kernel",
            "leave --gpus out (or 0), or take --backend nspawn",
        )
    memory, cpus = machines.memory_mib or qemu.MEMORY_MIB, machines.cpus or qemu.CPUS
    if memory < MIN_MEMORY_MIB:
        raise usage_error(f"a virtual machine needs {MIN_MEMORY_MIB} MiB of memory or more, not {memory}")
    if not 1 <= cpus <= 64:
        raise usage_error(f"a virtual machine has 1 to 64 CPUs, not {cpus}")
    return Shape(0, "none", components, machines.backend, memory, cpus)
