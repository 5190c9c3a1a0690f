"""The files that make one host out of the shared root file system.

They form a layer of their own below the host's writable one, which so holds only what happened since its first boot.
"""

from __future__ import annotations

import json
import uuid
from dataclasses import dataclass
from pathlib import Path

from bootstrap.testvm.state import HostRecord, write


@dataclass(frozen=True, slots=True)
class HostBind:
    """A directory of this machine that a host sees.

    nspawn cannot put one below /proc or /sys (its source is out of reach by then): such a bind goes to a place in
    /run first, from where the host's own first unit moves it on.
    """

    index: int
    source: str
    target: str
    read_only: bool

    @property
    def staged(self) -> bool:
        """Whether it takes the way over /run."""
        return self.target.startswith(("/proc/", "/sys/"))

    @property
    def stage(self) -> str:
        """The place in /run."""
        return f"/run/gpuctl-lab/binds/{self.index}"

    @property
    def option(self) -> str:
        """The option for nspawn."""
        target = self.stage if self.staged else self.target
        return f"--bind{'-ro' if self.read_only else ''}={self.source}:{target}"


@dataclass(frozen=True, slots=True)
class SeedFacts:
    """What a host's own files say; `neighbours` are all hosts of the lab, `mtu` is in bytes."""

    lab: str
    host: HostRecord
    neighbours: tuple[HostRecord, ...]
    gateway: str
    resolvers: tuple[str, ...]
    authorized_key: str
    host_key: Path
    mtu: int
    cgroup_v1: bool
    kernel_binds: tuple[HostBind, ...] = ()
    is_machine: bool = False  # a virtual machine: a kernel of its own, and a network that is up before init


# nspawn hands out these read-only; a cluster node must be able to write them. Only the host's own part is behind them.
_MOUNTS = """\
#!/bin/sh
# Laid down by the lab: what a physical host has from its kernel.
set -eu
mount --make-rshared /
mount -o remount,bind,rw /proc/sys
"""
_MOUNTS_V1 = """\
for controller in /sys/fs/cgroup/*/; do
  mount -o remount,bind,rw "$controller"
done
"""
_UNIT = """\
[Unit]
Description=Writable kernel interfaces (lab host)
DefaultDependencies=no
Before=sysinit.target

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/usr/local/lib/gpuctl-lab/mounts
"""
# Without CAP_SYS_RESOURCE runc may not lower an OOM score; the machine decides that, not the user's settings.
_CONTAINERD = """\
version = 3

[plugins."io.containerd.cri.v1.runtime"]
  restrict_oom_score_adj = true
"""


def _mounts(facts: SeedFacts) -> str:
    lines = [_MOUNTS, _MOUNTS_V1 if facts.cgroup_v1 else ""]
    for bind in facts.kernel_binds:
        lines.append(f"mount --bind {bind.stage} {bind.target}\n")
        lines += [f"mount -o remount,bind,ro {bind.target}\n"] if bind.read_only else []
    return "".join(lines)


def files(facts: SeedFacts) -> dict[str, tuple[str, int]]:
    """Path without the leading slash → (text, mode) of every file but keys."""
    host = facts.host
    hosts = "".join(f"{other.address} {other.name}\n" for other in facts.neighbours)
    common = {
        "etc/hostname": (f"{host.name}\n", 0o644),
        "etc/hosts": (f"127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n{hosts}", 0o644),
        "etc/machine-id": (f"{uuid.uuid4().hex}\n", 0o444),
        "etc/resolv.conf": ("".join(f"nameserver {address}\n" for address in facts.resolvers), 0o644),
        "etc/network/interfaces": (_interfaces(facts), 0o644),
        "etc/gpuctl-lab.json": (json.dumps({"name": facts.lab, "host": host.name}) + "\n", 0o644),
        "root/.ssh/authorized_keys": (facts.authorized_key, 0o600),
        "etc/ssh/ssh_host_ed25519_key": (facts.host_key.read_text(), 0o600),
        "etc/ssh/ssh_host_ed25519_key.pub": (facts.host_key.with_name(facts.host_key.name + ".pub").read_text(), 0o644),
    }
    if facts.is_machine:
        return common
    return common | {
        "etc/containerd/conf.d/10-lab.toml": (_CONTAINERD, 0o644),
        "etc/systemd/system/gpuctl-lab-mounts.service": (_UNIT, 0o644),
        "usr/local/lib/gpuctl-lab/mounts": (_mounts(facts), 0o755),
    }


def _interfaces(facts: SeedFacts) -> str:
    loopback = "auto lo\niface lo inet loopback\n\n"
    if facts.is_machine:
        return f"{loopback}# The lab sets it up before init starts.\niface eth0 inet manual\n"
    return (
        f"{loopback}auto host0\niface host0 inet static\n  address {facts.host.address}/24\n"
        f"  gateway {facts.gateway}\n  mtu {facts.mtu}\n"
    )


def lay(root: Path, facts: SeedFacts) -> None:
    """Write the layer into the directory `root`."""
    for name, (text, mode) in files(facts).items():
        place = root / name
        place.parent.mkdir(parents=True, exist_ok=True)
        write(place, text, mode)
    # The layer's directories take the place of the root file system's, with their modes.
    for directory in (root / "root", root / "root/.ssh"):
        directory.chmod(0o700)
    wants = root / "etc/systemd/system/sysinit.target.wants/gpuctl-lab-mounts.service"
    wants.parent.mkdir(parents=True, exist_ok=True)
    wants.unlink(missing_ok=True)
    wants.symlink_to("/etc/systemd/system/gpuctl-lab-mounts.service")
