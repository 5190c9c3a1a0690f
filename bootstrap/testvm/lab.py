"""Labs: test hosts with a network, keys, a mirror and an inventory, brought up and taken down as one."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bootstrap.errors import GpuctlError, Problem, usage_error
from bootstrap.exit_codes import ExitCode
from bootstrap.testvm import (
    cgroups,
    firewall,
    inventory_file,
    mirror,
    network,
    provision,
    registry,
    requirements,
    shapes,
    ssh,
    state,
    sweep,
)
from bootstrap.testvm.names import RUNTIME_ROOT, LabPaths, check_name, labs_root
from bootstrap.testvm.nspawn import NspawnBackend
from bootstrap.testvm.qemu import QemuBackend
from bootstrap.testvm.shapes import Machines as Machines
from bootstrap.testvm.state import HostRecord, LabRecord
from bootstrap.testvm.supervised import Supervised

if TYPE_CHECKING:
    from bootstrap.testvm.backend import Backend

Report = Callable[[str, str], None]
BACKENDS: Mapping[str, Backend] = {"nspawn": NspawnBackend(), "qemu": QemuBackend()}
_REBOOT_WAIT_S = 90.0  # orderly shutdown; systemd itself gives a stuck unit 90 s


@dataclass(frozen=True, slots=True)
class LabHost:
    """One host of a lab; `state` is running, booting (no ssh yet) or stopped."""

    name: str
    address: str
    state: str
    gpus: int
    model: str


@dataclass(frozen=True, slots=True)
class Lab:
    """A lab as it is now; `created` is an ISO 8601 time, `components` is mirror or official."""

    name: str
    hosts: tuple[LabHost, ...]
    inventory: Path
    created: str
    components: str
    subnet: str
    backend: str = "nspawn"
    lane: str = "kubeadm"


CONTAINERS = Machines()


def up(
    name: str = "lab",
    hosts: int | None = None,
    gpus: int | None = None,
    gpu_model: str = "a100",
    components: str = "mirror",
    inventory: Path = Path("lab.ini"),
    machines: Machines = CONTAINERS,
    report: Report = lambda _host, _text: None,
    open_ports: tuple[int, ...] = (),
) -> Lab:
    """Bring a lab up until each host takes ssh, or complete, or confirm, what is there of it.

    `hosts` is 3 unless told, 1 for minikube; `gpus` is per worker (per host for a lab of one): 8 unless told, none on
    virtual machines; `open_ports` are TCP ports of this machine that hosts may reach as well. Raises GpuctlError: wrong
    arguments (exit 2), an inventory that is not ours (3), a machine that cannot hold test hosts (4), a host that does
    not start (5).
    """
    check_name(name)
    count = shapes.host_count(hosts, machines.lane)
    shape = shapes.checked(gpus, gpu_model, components, machines)
    inventory = inventory.absolute()
    if not inventory.parent.is_dir():
        raise usage_error(f"{inventory.parent} is not a directory", "name a file in one that exists with --inventory")
    requirements.check(labs_root(), shape.backend)
    with state.lock(RUNTIME_ROOT / name, lambda: report("lab", f"another gpuctl works on lab {name}: waiting for it")):
        paths = LabPaths.of(name)
        record = state.load(paths)
        try:
            inventory_file.check_free(inventory, record)
            if record is None:
                record = registry.new_record(paths, shape)
            registry.check_same(record, shape)
            record = registry.grow(paths, record, count)
            record = registry.open_ports(paths, record, open_ports)
            record = _complete(paths, record, report)
            v1 = record.backend == "nspawn" and cgroups.uses_v1()  # a virtual machine has its own, which is v2
            record = inventory_file.write(paths, record, inventory, cgroup_v1=v1, report=report)
            return _lab(paths, record)
        finally:
            if not paths.record.exists():
                sweep.forget(paths)  # refused before anything was made


def _complete(paths: LabPaths, record: LabRecord, report: Report) -> LabRecord:
    """Bring network, mirror and hosts to what the record says; return it with what was found on the way."""
    link = paths.runtime / "state"
    if not link.is_symlink():
        link.symlink_to(paths.state)
    if not network.is_up(record.name, record.subnet):
        provision.connect(record, report)
    backend = BACKENDS[record.backend]
    down = [host for host in record.hosts if not backend.is_running(paths, host.name)]
    if down:
        record = provision.lay_out(paths, record, backend, report)
    if record.components == "mirror":
        record = mirror.ensure(paths, record)
    firewall.open_ports(record.name, record.ports)
    started = time.monotonic()
    for host in down:
        report(host.name, "booting")
        backend.start(paths, host.name)
    greet_s = backend.patience.greet_s
    asleep = [host for host in record.hosts if host in down or not ssh.banner(host.address, greet_s)]
    _wait_all(paths, backend, asleep, started, report)
    return record


def _wait_all(paths: LabPaths, backend: Backend, hosts: list[HostRecord], started: float, report: Report) -> None:
    """Wait for ssh on all hosts at once; raises GpuctlError with the problems of all that do not come."""
    cancelled = threading.Event()

    def one(host: HostRecord) -> Problem | None:
        def alive() -> bool:
            return not cancelled.is_set() and backend.is_running(paths, host.name)

        try:
            ssh.wait(paths, host, alive, patience=backend.patience)
        except GpuctlError as error:
            return error.problems[0]
        report(host.name, f"ssh after {time.monotonic() - started:.1f} s")
        return None

    if not hosts:
        return
    with ThreadPoolExecutor(max_workers=len(hosts)) as pool:
        try:
            found = [problem for problem in pool.map(one, hosts) if problem]
        except BaseException:
            cancelled.set()  # Ctrl-C: the threads end now, not at their deadline
            raise
    if found:
        raise GpuctlError(ExitCode.STEP_FAILED, *found)


def _lab(paths: LabPaths, record: LabRecord) -> Lab:
    backend = BACKENDS[record.backend]
    with ThreadPoolExecutor(max_workers=max(1, len(record.hosts))) as pool:
        states = tuple(pool.map(lambda host: _host_state(paths, backend, host), record.hosts))
    pairs = zip(record.hosts, states, strict=True)
    hosts = tuple(LabHost(host.name, host.address, now, host.gpus, host.model) for host, now in pairs)
    return Lab(
        record.name, hosts, Path(record.inventory), record.created, record.components, record.network, record.backend,
        record.lane,
    )  # fmt: skip


def _host_state(paths: LabPaths, backend: Backend, host: HostRecord) -> str:
    if not backend.is_running(paths, host.name):
        return "stopped"
    return "running" if ssh.banner(host.address, backend.patience.greet_s) else "booting"


def list_labs() -> tuple[Lab, ...]:
    """Every lab of this machine that can be read, as it is now; changes nothing and waits for nobody."""
    return tuple(_lab(LabPaths.of(record.name), record) for record in registry.records())


def _find(name: str, host: str) -> tuple[LabPaths, Backend, HostRecord]:
    paths = LabPaths.of(check_name(name))
    record = state.load(paths)
    if record is None:
        raise GpuctlError(
            ExitCode.USAGE, Problem("lab-missing", f"there is no lab {name}", f"gpuctl testvm up --name {name}")
        )
    for known in record.hosts:
        if known.name == host:
            return paths, BACKENDS[record.backend], known
    names = ", ".join(known.name for known in record.hosts)
    raise GpuctlError(ExitCode.USAGE, Problem("host-missing", f"lab {name} has no host {host}", f"one of {names}"))


def ssh_command(name: str, host: str) -> list[str]:
    """The ssh command line (argv) to root on a host; append what to run there."""
    paths, _, known = _find(name, host)
    return ssh.command(paths, known.address)


def reboot(name: str, host: str, report: Report = lambda _host, _text: None) -> float:
    """Reboot a host (start it, if it is down) and wait for its ssh; return the seconds that took.

    A host that does not shut down within 90 s is power-cycled. Raises GpuctlError where it does not come back.
    """
    _find(name, host)
    with state.lock(RUNTIME_ROOT / name):
        paths, backend, known = _find(name, host)
        started = time.monotonic()
        before = _boots(paths, host)
        report(host, "rebooting")
        backend.reboot(paths, host)
        while _boots(paths, host) == before and time.monotonic() - started < _REBOOT_WAIT_S:
            if not backend.is_running(paths, host):
                break
            time.sleep(0.05)
        if _boots(paths, host) == before:
            report(host, "did not shut down: switched off and on")
            backend.destroy(paths, host)
            backend.start(paths, host)
        _wait_all(paths, backend, [known], started, report)
        return time.monotonic() - started


def _boots(paths: LabPaths, host: str) -> tuple[int, int]:
    """What tells one boot from the next: the supervisor's process id and its count of boots."""
    try:
        status = json.loads((paths.runtime / host / "status.json").read_text())
        return int(status["supervisor"]), int(status["boots"])
    except (OSError, ValueError, KeyError):
        return (0, 0)


def down(name: str | None = None, report: Report = lambda _host, _text: None) -> tuple[str, ...]:
    """Take a lab down (all labs for None): nothing of it stays, whatever state it is in.

    Returns the names of labs of which something was there. Raises GpuctlError `down-incomplete` where a process does
    not end; running it again continues.
    """
    if os.geteuid() != 0:
        raise GpuctlError(ExitCode.PREFLIGHT, Problem("not-root", "test hosts need root", "run it with sudo"))
    names = sweep.all_names() if name is None else (check_name(name),)
    return tuple(lab for lab in names if sweep.down(lab, Supervised(), report))
