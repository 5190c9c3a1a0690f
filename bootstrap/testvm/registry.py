"""Which labs there are, and what they are to be: their records, from the first moment on."""

from __future__ import annotations

import datetime
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import asdict, dataclass, replace

from bootstrap.errors import GpuctlError, Problem
from bootstrap.exit_codes import ExitCode
from bootstrap.testvm import machine, mirror, network, state
from bootstrap.testvm.names import CONTROL_PLANE, NAME_PATTERN, RUNTIME_ROOT, LabPaths, host_names, labs_root
from bootstrap.testvm.state import HostRecord, LabRecord


@dataclass(frozen=True, slots=True)
class Shape:
    """What a lab is asked to be, but for the number of hosts; memory and CPUs are 0 for containers."""

    gpus: int
    gpu_model: str
    components: str
    backend: str = "nspawn"
    memory_mib: int = 0
    cpus: int = 0
    lane: str = "kubeadm"


def new_record(paths: LabPaths, shape: Shape) -> LabRecord:
    """Choose the lab's subnet and write its record: from here on, `down` knows of it."""
    if shape.components == "mirror":
        mirror.current(shape.lane)  # refuses where there is none, before anything is made
    with state.lock(RUNTIME_ROOT):
        taken = [*network.taken_here(), *(other.subnet.network for other in records())]
        record = LabRecord(
            name=paths.name,
            created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            network=str(network.choose_subnet(paths.name, taken)),
            rootfs="",
            **asdict(shape),
        )
        link = paths.runtime / "state"
        if not link.is_symlink():
            link.symlink_to(paths.state)
        paths.state.mkdir(mode=0o700, parents=True, exist_ok=True)
        state.save(paths, record)
    return record


def records() -> tuple[LabRecord, ...]:
    """Every lab's record that can be read."""
    found: dict[str, LabRecord] = {}
    for name in known_names():
        try:
            record = state.load(LabPaths.of(name))
        except GpuctlError:
            continue
        if record:
            found[name] = record
    return tuple(found.values())


def known_names() -> tuple[str, ...]:
    """Names of labs that have a state or a runtime directory."""
    found = {*machine.other_labs("")}
    with suppress(OSError):  # not there, or gone with the last lab meanwhile
        found |= {entry.name for entry in labs_root().iterdir() if NAME_PATTERN.fullmatch(entry.name)}
    return tuple(sorted(found))


def check_same(record: LabRecord, shape: Shape) -> None:
    """Raise GpuctlError `lab-differs` where a lab was asked for that is there in another shape."""
    names = {"backend": "backend", "gpus": "GPUs per host", "gpu_model": "GPU model", "components": "components",
             "memory_mib": "MiB of memory per host", "cpus": "CPUs per host",
             "lane": "lane"}  # fmt: skip
    asked = {text: getattr(shape, field) for field, text in names.items()}
    has = {text: getattr(record, field) for field, text in names.items()}
    differing = [f"{what} {has[what]}, not {asked[what]}" for what in asked if asked[what] != has[what]]
    if differing:
        raise GpuctlError(
            ExitCode.PREFLIGHT,
            Problem(
                "lab-differs",
                f"lab {record.name} is there with {'; '.join(differing)}",
                f"ask for what it is, take another --name, or first: gpuctl testvm down --name {record.name}",
            ),
        )


def grow(paths: LabPaths, record: LabRecord, count: int) -> LabRecord:
    """Record the hosts that are missing up to `count`; a lab never shrinks."""
    names = host_names(count, record.lane)[len(record.hosts) :]
    if not names:
        return record
    added: list[HostRecord] = []
    for index, name in enumerate(names, start=len(record.hosts)):
        has_gpus = record.gpus > 0 and (name != CONTROL_PLANE or count == 1)
        model = record.gpu_model if has_gpus else "none"
        added.append(HostRecord(name, str(record.subnet.host(index)), record.gpus if has_gpus else 0, model))
    grown = replace(record, hosts=(*record.hosts, *added))
    state.save(paths, grown)
    return grown


def open_ports(paths: LabPaths, record: LabRecord, ports: Iterable[int]) -> LabRecord:
    """Record ports of this machine that the hosts may reach."""
    wanted = tuple(sorted({*record.open_ports, *ports}))
    if wanted != record.open_ports:
        record = replace(record, open_ports=wanted)
        state.save(paths, record)
    return record
