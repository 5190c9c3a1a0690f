"""Names and places of everything that a lab owns: whatever is named here can be found again after a crash."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from bootstrap.errors import usage_error

NAME_PATTERN = re.compile(r"[a-z0-9]{1,8}")
PREFIX = "gpuctl-"  # 7 characters: with a name of 8 a link name has the 15 that Linux allows
RUNTIME_ROOT = Path("/run/gpuctl-testvm")
MAX_HOSTS = 100
CONTROL_PLANE = "cp1"
MINIKUBE_HOST = "mk1"
LANES = ("kubeadm", "minikube")


def check_name(name: str) -> str:
    """Return `name`, or raise a usage error where it cannot name a lab."""
    if not NAME_PATTERN.fullmatch(name):
        raise usage_error(
            f"{name!r} is not a lab name", "use 1 to 8 characters of a-z and 0-9, for example --name lab2"
        )
    return name


def host_names(count: int, lane: str = "kubeadm") -> tuple[str, ...]:
    """`cp1`, then `gpu1`, `gpu2` …: `count` names; the one host of a minikube lane is `mk1`."""
    if lane == "minikube":
        return (MINIKUBE_HOST,)[:count]
    return (CONTROL_PLANE, *(f"gpu{i}" for i in range(1, count)))


def lab_object(lab: str) -> str:
    """Name of a lab's bridge and nft table."""
    return PREFIX + lab


def machine(lab: str, host: str) -> str:
    """Name of one host's container and of its cgroups; starts with `lab_object(lab) + "-"`."""
    return f"{PREFIX}{lab}-{host}"


def _xdg(variable: str, default: str) -> Path:
    value = os.environ.get(variable, "")
    # The XDG rules: a relative path counts as not set.
    return Path(value) if value.startswith("/") else Path.home() / default


def labs_root() -> Path:
    """Directory with one directory per lab: `$XDG_STATE_HOME/gpuctl/labs`."""
    return _xdg("XDG_STATE_HOME", ".local/state") / "gpuctl" / "labs"


def rootfs_cache() -> Path:
    """Directory with one root file system per recipe: `$XDG_CACHE_HOME/gpuctl/rootfs`."""
    return _xdg("XDG_CACHE_HOME", ".cache") / "gpuctl" / "rootfs"


def images_cache() -> Path:
    """Directory with one image of a virtual machine per recipe: `$XDG_CACHE_HOME/gpuctl/vm`."""
    return _xdg("XDG_CACHE_HOME", ".cache") / "gpuctl" / "vm"


@dataclass(frozen=True, slots=True)
class LabPaths:
    """Where one lab keeps its files: `state` survives a reboot of the machine, `runtime` does not."""

    name: str
    state: Path
    runtime: Path

    @classmethod
    def of(cls, name: str) -> LabPaths:
        """Paths of the lab `name`; a lab that another state directory started is found through its runtime link."""
        runtime = RUNTIME_ROOT / name
        link = runtime / "state"
        state = link.readlink() if link.is_symlink() else labs_root() / name
        return cls(name, state, runtime)

    @property
    def record(self) -> Path:
        """The lab's record (JSON)."""
        return self.state / "lab.json"

    @property
    def key(self) -> Path:
        """The lab's private ssh key."""
        return self.state / "id_ed25519"

    @property
    def known_hosts(self) -> Path:
        """The lab's own known_hosts."""
        return self.state / "known_hosts"

    @property
    def ca(self) -> Path:
        """The certificate of the lab's own authority (PEM)."""
        return self.state / "mirror" / "ca.pem"

    def host(self, host: str) -> Path:
        """Everything of one host."""
        return self.state / "hosts" / host

    def console(self, host: str) -> Path:
        """What a host's init and its supervisor wrote."""
        return self.host(host) / "console.log"
