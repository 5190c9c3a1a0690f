"""The simulated hardware of one lab host: PCI devices, and the state that the driver doubles read.

What is written here is what a host shows before any driver is installed. The files belong to the lab, not to the
host: the host sees them through bind mounts and cannot write them. `state` is rewritten in place and never replaced,
because running containers hold it by inode.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import struct
import uuid
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from bootstrap import content

STATE_TARGET = "/opt/gpuctl-lab/gpus"
"""Where a lab host sees the state; the doubles know this path.

Nothing of it is below /var, /run or /tmp: minikube's node has mounts of its own there, which Docker makes after those
of CDI and so lays over them.
"""
PCI_TARGET = "/sys/bus/pci/devices"
PROC_TARGET = "/proc/driver"
MODULE_PROC = "/dev/gpuctl-lab/module"
"""Where /proc/driver/nvidia leads: nowhere until the driver package "loads" the module there; a reboot empties /dev."""
MAX_GPUS = 16
"""As many as the doubles keep room for (SIM_MAX_GPUS)."""

FAULTS = (
    "lost",  # fell off the bus: Xid 79; PCI still shows it
    "unplugged",  # gone from PCI and from the driver
    "ecc",  # uncorrectable memory error: Xid 48, and kernels fail
    "row-remap",  # a row could not be remapped: Xid 64
    "fabric",  # the host's fabric is not ready: CUDA error 802
    "hang",  # calls that touch this GPU do not return
    "wrong-result",  # one bit of a result is flipped
    "memory-unknown",  # the memory size is not reported
    "version-mismatch",  # kernel module and library differ, on the whole host
)


@dataclass(frozen=True, slots=True)
class Bind:
    """One bind mount of a lab host: `source` on this machine appears as `target` on the host."""

    source: Path
    target: str
    read_only: bool


@dataclass(frozen=True, slots=True)
class Model:
    """What is common to all cards of a model; the values are those that the real cards report."""

    name: str
    vendor: str
    device: str
    subsystem_vendor: str
    subsystem_device: str
    memory_mib: int
    compute_capability: str
    architecture: int
    brand: int
    multiprocessors: int
    fabric: bool
    power_limit_mw: int
    vbios: str


@dataclass(frozen=True, slots=True)
class Gpu:
    """One simulated card: its place on the bus and what tells it from the others."""

    minor: int
    bus: str
    uuid: str
    serial: str
    faults: tuple[str, ...] = ()


def doubles_dir() -> Path:
    """The directory with the doubles' sources and data."""
    return content.doubles_path() / "gpu"


@cache
def models() -> dict[str, Model]:
    """All models that can be simulated, by their short names."""
    rows = json.loads((doubles_dir() / "models.json").read_text(encoding="utf-8"))
    return {key: Model(**row) for key, row in rows.items()}


def prepare(host_dir: Path, model: str, count: int, seed: str) -> list[Bind]:
    """Plug `count` cards of `model` into the host whose files live in `host_dir`; returns the bind mounts it needs.

    With "none" or no card the host gets an empty PCI bus and no driver, so that it does not show this machine's own.
    The same `seed` and index give the same UUID. Faults that were set before are gone.

    Raises:
        ValueError: for a model that is not known, or a count outside 0..16.
    """
    if model != "none" and model not in models():
        raise ValueError(f"unknown GPU model {model!r}: known are {', '.join(models())} and none")
    if not 0 <= count <= MAX_GPUS:
        raise ValueError(f"a host takes 0 to {MAX_GPUS} GPUs, not {count}")
    gpus = [] if model == "none" else [_card(index, seed) for index in range(count)]
    for name in ("pci", "proc-driver", "gpus"):
        (host_dir / name).mkdir(parents=True, exist_ok=True)
    module_link = host_dir / "proc-driver" / "nvidia"
    module_link.unlink(missing_ok=True)
    module_link.symlink_to(MODULE_PROC)
    _write(host_dir, model, gpus)
    return [
        Bind(host_dir / "pci", PCI_TARGET, read_only=True),
        Bind(host_dir / "proc-driver", PROC_TARGET, read_only=True),
        Bind(host_dir / "gpus", STATE_TARGET, read_only=True),
    ]


def gpus(host_dir: Path) -> list[Gpu]:
    """The cards of a host, as its state file says."""
    found = []
    for line in _state_file(host_dir).read_text(encoding="ascii").splitlines():
        if line.startswith("gpu "):
            _, minor, bus, uid, serial, faults = line.split(" ")
            found.append(Gpu(int(minor), bus, uid, serial, tuple(f for f in faults.split(",") if f != "none")))
    return found


def set_fault(host_dir: Path, gpu_index: int, fault: str) -> None:
    """Give one card a fault, besides those it has; takes effect at once, also in containers that run.

    "fabric" and "version-mismatch" concern the whole host, whichever card carries them.

    Raises:
        ValueError: for a fault that is not in `FAULTS`, or a card that is not there.
    """
    if fault not in FAULTS:
        raise ValueError(f"unknown fault {fault!r}: known are {', '.join(FAULTS)}")
    cards = gpus(host_dir)
    if not 0 <= gpu_index < len(cards):
        raise ValueError(f"no GPU {gpu_index}: this host has {len(cards)}")
    card = cards[gpu_index]
    if fault not in card.faults:
        cards[gpu_index] = Gpu(card.minor, card.bus, card.uuid, card.serial, (*card.faults, fault))
    _write(host_dir, _model_of(host_dir), cards)


def clear_faults(host_dir: Path) -> None:
    """Make all cards of a host whole again, and plug unplugged ones back in."""
    cards = [Gpu(card.minor, card.bus, card.uuid, card.serial) for card in gpus(host_dir)]
    _write(host_dir, _model_of(host_dir), cards)


def _card(index: int, seed: str) -> Gpu:
    digest = hashlib.sha256(f"{seed}:{index}".encode()).digest()
    uid = uuid.UUID(bytes=digest[:16], version=4)
    serial = 1_320_000_000_000 + int.from_bytes(digest[16:20], "big")
    return Gpu(minor=index, bus=f"0000:{index + 1:02x}:00.0", uuid=f"GPU-{uid}", serial=str(serial))


def _state_file(host_dir: Path) -> Path:
    return host_dir / "gpus" / "state"


def _model_of(host_dir: Path) -> str:
    first = _state_file(host_dir).read_text(encoding="ascii").split("\n", 1)[0]
    return first.removeprefix("model ")


def _state_text(model: str, cards: list[Gpu]) -> str:
    lines = [f"model {model}"]
    if model != "none":
        m = models()[model]
        lines += [
            f"name {m.name}",
            f"pci {m.device} {m.vendor}",
            f"subsystem {m.subsystem_device} {m.subsystem_vendor}",
            f"fabric {int(m.fabric)}",
        ]
        lines += [f"{key} {getattr(m, key)}" for key in _PLAIN]
    lines += [f"gpu {c.minor} {c.bus} {c.uuid} {c.serial} {','.join(c.faults) or 'none'}" for c in cards]
    return "\n".join([*lines, "end", ""])


def _write(host_dir: Path, model: str, cards: list[Gpu]) -> None:
    """PCI first, then the state, in place: readers take a file without its last line for one being written."""
    _write_pci(host_dir / "pci", model, [card for card in cards if "unplugged" not in card.faults])
    data = _state_text(model, cards).encode("ascii")
    descriptor = os.open(_state_file(host_dir), os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, data, 0)
    finally:
        os.close(descriptor)


def _write_pci(pci: Path, model: str, cards: list[Gpu]) -> None:
    for stale in {entry.name for entry in pci.iterdir()} - {card.bus for card in cards}:
        shutil.rmtree(pci / stale)
    for card in cards:
        device = pci / card.bus
        device.mkdir(exist_ok=True)
        for name, value in _pci_files(models()[model]).items():
            (device / name).write_bytes(value if isinstance(value, bytes) else f"{value}\n".encode("ascii"))


def _pci_files(model: Model) -> dict[str, str | bytes]:
    """The attributes of a card below /sys/bus/pci/devices: class 0x030200 is a 3D controller."""
    regions = [f"0x{address:016x} 0x{address + size - 1:016x} 0x{flags:016x}" for address, size, flags in _REGIONS]
    ids = (int(model.vendor, 16), int(model.device, 16))
    subsystem = (int(model.subsystem_vendor, 16), int(model.subsystem_device, 16))
    head = struct.pack("<HHHHBBBB", *ids, 0x0006, 0x0010, 0xA1, 0x00, 0x02, 0x03)
    config = head.ljust(44, b"\0") + struct.pack("<HH", *subsystem)
    return {
        "vendor": model.vendor,
        "device": model.device,
        "subsystem_vendor": model.subsystem_vendor,
        "subsystem_device": model.subsystem_device,
        "class": "0x030200",
        "revision": "0xa1",
        "numa_node": "-1",
        "enable": "1",
        "resource": "\n".join(regions),
        "config": config.ljust(256, b"\0"),
        "modalias": f"pci:v{ids[0]:08X}d{ids[1]:08X}sv{subsystem[0]:08X}sd{subsystem[1]:08X}bc03sc02i00",
    }


_PLAIN = (
    "vbios", "memory_mib", "compute_capability", "architecture", "brand", "multiprocessors", "power_limit_mw",
)  # fmt: skip
_REGIONS = (
    (0xFB000000, 0x1000000, 0x40200),
    (0x24000000000, 0x1000000000, 0x14220C),
    (0x25000000000, 0x2000000, 0x14220C),
)
"""Start, length and flags of the three memory windows that a data-centre card has."""
