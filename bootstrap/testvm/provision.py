"""Make the parts of a lab that hosts need before they start: network, keys, root file system, files."""

from __future__ import annotations

import socket
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from bootstrap.errors import GpuctlError, Problem
from bootstrap.exit_codes import ExitCode
from bootstrap.testvm import cgroups, machine, network, rootfs, ssh, state
from bootstrap.testvm.apt_sources import machine_sources
from bootstrap.testvm.backend import Backend, HostSpec
from bootstrap.testvm.firewall import Allowed
from bootstrap.testvm.names import RUNTIME_ROOT, LabPaths, lab_object, rootfs_cache
from bootstrap.testvm.seed import SeedFacts

if TYPE_CHECKING:
    from bootstrap.testvm.state import HostRecord, LabRecord

Report = Callable[[str, str], None]
_PORTS = {"http": 80, "https": 443}


def connect(record: LabRecord, report: Report) -> None:
    """Make the lab's network. Raises GpuctlError `subnet-in-use` where a route has come in the way since."""
    subnet = record.subnet
    with state.lock(RUNTIME_ROOT):
        here = network.links(lab_object(record.name))
        if not here and any(subnet.network.overlaps(other) for other in network.taken_here()):
            raise GpuctlError(
                ExitCode.PREFLIGHT,
                Problem(
                    "subnet-in-use",
                    f"lab {record.name} has {subnet.network}, which a route of this machine uses by now",
                    f"gpuctl testvm down --name {record.name}, then up again",
                ),
            )
        machine.prepare()
        network.ensure(record.name, subnet, reachable(), record.ports)
    report("lab", f"network {subnet.network}")


def reachable() -> tuple[Allowed, ...]:
    """What hosts must reach even where it is private: name servers, the package archive and its proxy."""
    found = [Allowed(address, 53) for address in _resolvers()]
    sources = machine_sources()
    for uri in (*sources.uris, *filter(None, [sources.proxy])):
        parts = urlsplit(uri)
        port = parts.port or _PORTS.get(parts.scheme)
        if parts.hostname and port:
            found += [Allowed(address, port) for address in _addresses(parts.hostname, port)]
    return tuple(dict.fromkeys(found))


def _addresses(name: str, port: int) -> tuple[str, ...]:
    try:
        answers = socket.getaddrinfo(name, port, socket.AF_INET, socket.SOCK_STREAM)
    except OSError:
        return ()
    return tuple(sorted({str(answer[4][0]) for answer in answers}))


def _resolvers() -> tuple[str, ...]:
    found = network.resolvers(Path("/"))
    if not found:
        raise GpuctlError(
            ExitCode.PREFLIGHT,
            Problem(
                "resolver-none",
                "this machine has no name server that other hosts can reach (only loopback addresses)",
                "name one in /etc/resolv.conf, for example the router's address",
            ),
        )
    return found


def lay_out(paths: LabPaths, record: LabRecord, backend: Backend, report: Report) -> LabRecord:
    """Make keys, the root file system and the files of hosts that have none; return the record that names them."""
    ssh.make_key(paths.key, f"gpuctl lab {record.name}")
    for host in record.hosts:
        paths.host(host.name).mkdir(mode=0o700, parents=True, exist_ok=True)
        ssh.make_key(_host_key(paths, host.name), host.name)
    ssh.write_known_hosts(paths, record.hosts, lambda name: _host_key(paths, name).with_suffix(".pub"))
    missing = [host for host in record.hosts if not backend.is_created(paths, host.name)]
    if not missing:
        return record
    # A host that is added later gets the same root file system as the others, whatever the recipe is by then.
    root = Path(record.rootfs) if record.rootfs else rootfs.ensure(rootfs_cache(), rootfs.recipe(), report)
    if not record.rootfs:
        record = replace(record, rootfs=str(root))
        state.save(paths, record)
    backend.prepare(root, report)
    for host in missing:
        backend.create(_spec(paths, record, host, root))
    return record


def _host_key(paths: LabPaths, host: str) -> Path:
    return paths.host(host) / "ssh_host_ed25519_key"


def _spec(paths: LabPaths, record: LabRecord, host: HostRecord, root: Path) -> HostSpec:
    facts = SeedFacts(
        lab=record.name,
        host=host,
        neighbours=record.hosts,
        gateway=str(record.subnet.gateway),
        resolvers=_resolvers(),
        authorized_key=paths.key.with_name(paths.key.name + ".pub").read_text(),
        host_key=_host_key(paths, host.name),
        mtu=network.uplink_mtu(),
        cgroup_v1=cgroups.uses_v1(),
    )
    return HostSpec(paths, host, root, facts, record.memory_mib, record.cpus)
