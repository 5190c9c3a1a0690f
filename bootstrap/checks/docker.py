"""The host of a minikube cluster: is there a Docker that can stay, or room and a way for one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from bootstrap.checks.common import Say, begun, free_at, gib
from bootstrap.checks.finding import Finding

if TYPE_CHECKING:
    from bootstrap.inventory.model import Host
    from bootstrap.probe.facts import HostFacts

AT_LEAST = 25  # the oldest engine with CDI (roles/docker)
ENGINE_PACKAGES = ("docker-ce", "docker.io", "moby-engine")
# minikube's node image, images of Kubernetes and of one framework for GPUs.
ROOM_BYTES = 20 * 2**30
DATA = "/var/lib/docker"
UNIT = "docker.service"
_RUNTIMES = ("containerd", "runc")


def engine(facts: HostFacts) -> tuple[str, str]:
    """Name and version of the package that holds Docker's engine; empty without one."""
    return next(((name, facts.packages[name]) for name in ENGINE_PACKAGES if name in facts.packages), ("", ""))


def has_engine(facts: HostFacts) -> bool:
    """Whether Docker is there: one of the packages, or a unit without any of them."""
    return bool(engine(facts)[0]) or UNIT in facts.units


def major(version: str) -> int:
    """The first number of upstream's version: 28 of 5:28.5.2-1."""
    number = version.split(":")[-1].split(".")[0]
    return int(number) if number.isdecimal() else 0


def too_old(host: Host, facts: HostFacts) -> Iterator[Finding]:
    """An engine without CDI: it is somebody's, so it is not replaced unasked."""
    name, version = engine(facts)
    if name and major(version) < AT_LEAST:
        yield Say(host.name, "minikube-docker-old").refuse(
            f"{name} {version} is too old: Docker {AT_LEAST} or newer is needed",
            f"upgrade it there, or run there: apt-get remove {name} (its containers stop)",
        )


def rivals(host: Host, facts: HostFacts) -> Iterator[Finding]:
    """What calls itself docker and is none, or is one that Debian's packages cannot stand beside."""
    say = Say(host.name, "runtime-conflict")
    if facts.units.get("snap.docker.dockerd.service", "").startswith("active"):
        yield say.refuse(
            "Docker is installed as a snap, which cannot give GPUs to containers", "run there: snap remove docker"
        )
    if "podman-docker" in facts.packages and not engine(facts)[0]:
        yield say.refuse("its command docker is podman's", "run there: apt-get remove podman-docker")


def thrown_out(host: Host, facts: HostFacts) -> Iterator[Finding]:
    """The distribution's containerd or runc, which Docker's own packages replace, and with it what runs on them."""
    there = [name for name in _RUNTIMES if name in facts.packages]
    if there and not has_engine(facts) and host.settings["docker_source"] == "docker":
        # Debian 12 has Docker 20.10, which is too old; all later ones and those of Ubuntu that gpuctl knows are not.
        too_old = (facts.os.id, facts.os.version_id) == ("debian", "12")
        keep = "" if too_old else "set docker_source=distribution, which keeps it, or "
        yield Say(host.name, "runtime-conflict").refuse(
            f"containerd.io, which Docker's own packages need, would replace the {' and '.join(there)} that is there",
            f"{keep}run there: apt-get remove {' '.join(there)}",
        )


def kubelet(host: Host, facts: HostFacts) -> Iterator[Finding]:
    """A node of a cluster: Docker would change its containerd, and two schedulers would give the same GPUs away."""
    if facts.cluster.kubelet_conf or facts.cluster.admin_conf:
        yield Say(host.name, "leftover-cluster").refuse(
            f"it is a node of a Kubernetes cluster ({facts.cluster.server or 'unknown server'})",
            "use another machine; if nobody needs that cluster, "
            + ("`gpuctl reset` with its inventory" if "kubeadm" in facts.receipts else "run there: kubeadm reset"),
        )


def masked(host: Host, facts: HostFacts) -> Iterator[Finding]:
    """Somebody wants it not to run, which is not for gpuctl to undo."""
    if "masked" in facts.units.get(UNIT, ""):
        yield Say(host.name, "minikube-docker-away").refuse(
            "docker.service is masked, so Docker cannot run", "run there: systemctl unmask docker.service docker.socket"
        )


def hardened(host: Host, facts: HostFacts) -> Iterator[Finding]:
    """The kernel hardens what BPF programs are compiled to; a minikube node with GPUs cannot work with that."""
    if not facts.counted_gpus or host.settings["cluster_gpu"] == "none":
        return
    if facts.bpf_jit_harden and not host.settings["kube_host_bpf_jit_harden_off"]:
        yield Say(host.name, "minikube-bpf-jit-harden").refuse(
            f"net.core.bpf_jit_harden is {facts.bpf_jit_harden}, and a minikube node with GPUs fails with that",
            "set kube_host_bpf_jit_harden_off=true, or run there: sysctl -w net.core.bpf_jit_harden=0",
        )


def docker_root(host: Host, facts: HostFacts) -> str:
    """Docker's data folder: as docker_daemon_config will have it, else as it is configured on the host."""
    wanted = (host.settings.get("docker_daemon_config") or {}).get("data-root")
    return str(wanted or facts.data_roots.get("docker", DATA))


def room(host: Host, facts: HostFacts) -> Iterator[Finding]:
    """Space for images: a warning, since many hosts have most of them already."""
    place = docker_root(host, facts)
    free = free_at(facts, place)
    if free is not None and free < ROOM_BYTES and not begun(facts, "minikube"):
        yield Say(host.name, "disk-low").warn(
            f"{place} has {gib(free)} free; a node with images for GPUs takes {gib(ROOM_BYTES)}",
            f"free space there (`docker system df` shows what images take), or enlarge the disk of {place}",
        )
