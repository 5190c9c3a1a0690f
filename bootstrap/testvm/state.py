"""What a lab remembers between commands, and the locks that keep two commands apart."""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from ipaddress import IPv4Network
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bootstrap.errors import GpuctlError, Problem
from bootstrap.exit_codes import ExitCode
from bootstrap.testvm.network import Subnet

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bootstrap.testvm.names import LabPaths

SCHEMA = 1
LOCK_WAIT_S = 1800.0  # as long as the slowest thing that a holder does (the root file system)


@dataclass(frozen=True, slots=True)
class HostRecord:
    """One host as it was asked for."""

    name: str
    address: str
    gpus: int
    model: str


@dataclass(frozen=True, slots=True)
class LabRecord:
    """One lab as it was asked for; written before anything of it is made."""

    name: str
    created: str
    components: str
    gpus: int
    gpu_model: str
    network: str
    rootfs: str
    hosts: tuple[HostRecord, ...] = ()
    inventory: str = ""
    inventories: tuple[tuple[str, str], ...] = ()  # path, SHA-256 of what we wrote there
    mirror_root: str = ""
    mirror_port: int = 0
    mirror_fingerprint: str = ""
    backend: str = "nspawn"
    memory_mib: int = 0  # per host, of virtual machines only
    cpus: int = 0
    lane: str = "kubeadm"  # or minikube: what the hosts are for
    open_ports: tuple[int, ...] = ()  # TCP ports of this machine that the hosts may reach, beside the mirror's

    @property
    def subnet(self) -> Subnet:
        """The lab's addresses."""
        return Subnet(IPv4Network(self.network))

    @property
    def mirror_url(self) -> str:
        """Address of the lab's mirror; empty without one."""
        return f"https://{self.subnet.gateway}:{self.mirror_port}" if self.mirror_port else ""

    @property
    def ports(self) -> tuple[int, ...]:
        """All TCP ports of this machine that the hosts may reach."""
        return (*self.open_ports, *([self.mirror_port] if self.mirror_port else []))


class RecordError(ValueError):
    """A text is not a lab's record."""


def parse(text: str) -> LabRecord:
    """Read a record. Raises RecordError for anything that `dump` did not write."""
    try:
        data: dict[str, Any] = json.loads(text)
        if data.pop("schema") != SCHEMA:
            raise ValueError("written by another version of gpuctl")
        data["hosts"] = tuple(HostRecord(**host) for host in data["hosts"])
        data["inventories"] = tuple((str(path), str(digest)) for path, digest in data["inventories"])
        data["open_ports"] = tuple(int(port) for port in data.get("open_ports", ()))
        record = LabRecord(**data)
        IPv4Network(record.network)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise RecordError(f"not a lab record: {error}") from error
    return record


def dump(record: LabRecord) -> str:
    """The JSON form of a record."""
    return json.dumps({"schema": SCHEMA} | asdict(record), indent=1) + "\n"


def load(paths: LabPaths) -> LabRecord | None:
    """The record of a lab, None where there is none; raises GpuctlError `lab-state-broken` for an unreadable one."""
    try:
        return parse(paths.record.read_text())
    except FileNotFoundError:
        return None
    except (OSError, RecordError, UnicodeDecodeError) as error:
        raise GpuctlError(
            ExitCode.PREFLIGHT,
            Problem(
                "lab-state-broken",
                f"the record of lab {paths.name} cannot be read: {error}",
                f"gpuctl testvm down --name {paths.name}",
                at=str(paths.record),
            ),
        ) from error


def save(paths: LabPaths, record: LabRecord) -> None:
    """Write a record so that a crash leaves the old one or the new one."""
    write(paths.record, dump(record))


def write(path: Path, text: str, mode: int = 0o600) -> None:
    """Replace a small file in one step."""
    part = path.with_name(path.name + ".part")
    fd = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    with os.fdopen(fd, "w") as out:
        out.write(text)
        os.fchmod(fd, mode)
    part.rename(path)


@contextmanager
def lock(directory: Path, waiting: Callable[[], None] = lambda: None, wait_s: float = LOCK_WAIT_S) -> Iterator[None]:
    """Hold a directory (made if absent) for one command; a killed holder lets go at once.

    The directory itself is the lock, so there is no lock file to leave behind. Raises GpuctlError `lab-busy`.
    """
    until = time.monotonic() + wait_s
    told = False
    while True:
        directory.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        fd = -1
        try:
            directory.mkdir(mode=0o700, exist_ok=True)
            fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Whoever held it before may have removed it: then this is a lock on nothing.
            if os.path.samestat(os.fstat(fd), directory.stat()):
                break
        except FileNotFoundError:
            pass
        except BlockingIOError:
            if not told:
                waiting()
                told = True
        if fd >= 0:
            os.close(fd)
        if time.monotonic() > until:
            raise GpuctlError(
                ExitCode.STEP_FAILED,
                Problem(
                    "lab-busy", f"another gpuctl has held {directory} for {wait_s:.0f} s", "wait for it, or end it"
                ),
            )
        time.sleep(0.05)
    try:
        yield
    finally:
        os.close(fd)
