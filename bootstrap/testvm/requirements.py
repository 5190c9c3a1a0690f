"""What a machine must have for test hosts; everything that is missing is reported at once, with its remedy."""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Mapping
from pathlib import Path

from bootstrap.errors import GpuctlError, Problem
from bootstrap.exit_codes import ExitCode
from bootstrap.testvm import cgroups, procs

# Tool → Debian package.
TOOLS = {
    "ip": "iproute2",
    "mmdebstrap": "mmdebstrap",
    "mount": "mount",
    "nft": "nftables",
    "setpriv": "util-linux",
    "setsid": "util-linux",
    "ssh": "openssh-client",
    "unshare": "util-linux",
}
TOOLS_OF: Mapping[str, Mapping[str, str]] = {
    "nspawn": {"systemd-nspawn": "systemd-container"},
    "qemu": {"qemu-system-x86_64": "qemu-system-x86", "mke2fs": "e2fsprogs", "dpkg-deb": "dpkg", "chroot": "coreutils"},
}
TUN = Path("/dev/net/tun")
KEYRING_PACKAGE = "debian-archive-keyring"
FREE_GIB = 6.0  # root file system 0.4 GiB, a cluster of three hosts about 4 GiB, and the kubelets' 1 GiB reserve


def missing_tools(backend: str = "nspawn") -> tuple[str, ...]:
    """Debian packages that hold tools which hosts of this kind need and which are not on this machine."""
    path = procs.environment()["PATH"]
    found = {
        package for tool, package in {**TOOLS, **TOOLS_OF[backend]}.items() if shutil.which(tool, path=path) is None
    }
    if not Path("/usr/share/keyrings/debian-archive-keyring.gpg").exists():
        found.add(KEYRING_PACKAGE)
    return tuple(sorted(found))


def file_system(path: Path, mountinfo: str) -> str:
    """Type of the file system that holds `path`, read from the text of /proc/self/mountinfo."""
    best, kind = "", "unknown"
    for line in mountinfo.splitlines():
        fields, _, rest = line.partition(" - ")
        point = fields.split()[4] if len(fields.split()) > 4 else ""
        inside = path.is_relative_to(point) if point else False
        if inside and len(point) >= len(best):
            best, kind = point, rest.split()[0]
    return kind


def _problems_of_machines() -> tuple[Problem, ...]:
    """What keeps this machine from running virtual machines, apart from packages."""
    found: list[Problem] = []
    if platform.machine() != "x86_64":
        what = f"virtual machines are made for x86_64 only, this machine is {platform.machine()}"
        found.append(Problem("vm-unsupported", what, "use --backend nspawn"))
    if not TUN.exists():
        found.append(Problem("vm-unsupported", f"{TUN} is not there: virtual machines have no network", "modprobe tun"))
    return tuple(found)


def problems(state_root: Path, backend: str = "nspawn") -> tuple[Problem, ...]:
    """All that keeps labs from working here; `state_root` is where their files go."""
    found: list[Problem] = []
    if os.geteuid() != 0:
        found.append(Problem("not-root", "test hosts need root (mounts, network, cgroups)", "run it with sudo"))
    if backend == "qemu":
        found += _problems_of_machines()
    if packages := missing_tools(backend):
        found.append(
            Problem(
                "tool-missing", f"packages are missing: {', '.join(packages)}", f"apt-get install {' '.join(packages)}"
            )
        )
    if not cgroups.hierarchies():
        found.append(
            Problem("cgroup-missing", "no cgroup file system is mounted", "mount -t cgroup2 cgroup2 /sys/fs/cgroup")
        )
    existing = next(place for place in (state_root, *state_root.parents) if place.exists())
    kind = file_system(existing.resolve(), cgroups.MOUNTINFO.read_text())
    if kind in {"overlay", "nfs", "nfs4", "9p", "fuse"}:
        found.append(
            Problem(
                "state-filesystem",
                f"{state_root} is on {kind}, which cannot hold a host's writable layer",
                "set XDG_STATE_HOME to a directory on ext4 or xfs",
            )
        )
    free = shutil.disk_usage(existing).free / 2**30
    if free < FREE_GIB:
        found.append(
            Problem(
                "disk-low",
                f"{free:.1f} GiB free at {existing}, {FREE_GIB:.0f} needed",
                "free space, or move XDG_STATE_HOME",
            )
        )
    return tuple(found)


def check(state_root: Path, backend: str = "nspawn") -> None:
    """Raise GpuctlError (exit 4) with everything that is missing."""
    if found := problems(state_root, backend):
        raise GpuctlError(ExitCode.PREFLIGHT, *found)
