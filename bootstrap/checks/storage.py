"""Disk, memory, processors, swap, and what the kernel must offer."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from bootstrap.checks.common import Say, complete, free_at, gib, in_cluster
from bootstrap.checks.finding import Finding

if TYPE_CHECKING:
    from bootstrap.inventory.model import Host
    from bootstrap.probe.facts import HostFacts

GIB = 2**30
# Free space that a new host needs: packages and images of a GPU node are about 6 GiB, and the kubelet starts to evict
# below 10 % free. A host that is installed already only needs room for a repair.
ROOT_BYTES, IMAGES_BYTES, KUBELET_BYTES = 2 * GIB, 8 * GIB, 2 * GIB
USUAL = ("/", "/var/lib/containerd", "/var/lib/kubelet", "/var/lib/etcd")
ETCD_BYTES = 2 * GIB  # etcd's default quota
REPAIR_BYTES = GIB // 2
CONTROL_PLANE_BYTES = 1700 * 10**6  # kubeadm's own preflight: 1700 MB
WORKER_BYTES = 900 * 10**6
CONTROL_PLANE_CPUS = 2  # kubeadm's own preflight
MODULES = ("overlay", "br_netfilter", "vxlan")  # roles/kube_host


def disk(host: Host, facts: HostFacts) -> Iterator[Finding]:
    """Room for packages, images and data; one finding for the path that lacks most."""
    roots = facts.data_roots
    needs = {"/": ROOT_BYTES, roots.get("kubelet", "/var/lib/kubelet"): KUBELET_BYTES}
    if host.is_control_plane:
        needs[roots.get("etcd", "/var/lib/etcd")] = ETCD_BYTES
    images = containerd_root(host, facts)
    needs[images] = max(IMAGES_BYTES, needs.get(images, 0))
    if in_cluster(facts):
        needs = dict.fromkeys(needs, REPAIR_BYTES)
    free_of = {path: _free(facts, path) for path in needs}
    short = [
        (needs[path] - free, path, free) for path, free in free_of.items() if free is not None and free < needs[path]
    ]
    if short:
        _, path, free = max(short)
        yield Say(host.name, "disk-low").refuse(
            f"{path} has {gib(free)} free, {gib(needs[path])} are needed",
            f"free space there or enlarge the disk of {path}",
        )


def _free(facts: HostFacts, path: str) -> int | None:
    """The usual places are measured, each by itself; those that settings name are on a disk that is."""
    return facts.disk_free_bytes.get(path) if path in USUAL else free_at(facts, path)


def containerd_root(host: Host, facts: HostFacts) -> str:
    """The folder of images: as the inventory has it, else as a containerd that is there is configured."""
    wanted = str(host.settings.get("containerd_data_root", "/var/lib/containerd"))
    return wanted if "containerd_data_root" in host.explicit else facts.data_roots.get("containerd", wanted)


def memory(host: Host, facts: HostFacts) -> Iterator[Finding]:
    """Memory for the control plane, or for a node's own services."""
    need = CONTROL_PLANE_BYTES if host.is_control_plane else WORKER_BYTES
    if 0 < facts.memory_bytes < need:
        yield Say(host.name, "memory-low").refuse(
            f"it has {facts.memory_bytes / 10**6:.0f} MB of memory, {need / 10**6:.0f} MB are needed",
            "give the machine more memory",
        )


def processors(host: Host, facts: HostFacts) -> Iterator[Finding]:
    """Kubeadm wants two processors on a control plane."""
    if host.is_control_plane and 0 < facts.cpus < CONTROL_PLANE_CPUS:
        yield Say(host.name, "cpu-low").refuse(
            f"it has {facts.cpus} processor, a control plane needs {CONTROL_PLANE_CPUS}", "use a larger machine"
        )


def swap(host: Host, facts: HostFacts) -> Iterator[Finding]:
    """The kubelet does not start while swap is on, now or after the next boot."""
    if not facts.swap or host.settings.get("kube_host_swap") == "keep":
        return
    say, names = Say(host.name, "swap-on"), ", ".join(facts.swap)
    yield say.repair(f"swap is on: {names}", "switched off, also for the next boots")


def cgroups(host: Host, facts: HostFacts) -> Iterator[Finding]:
    """Kubelets from 1.35 on refuse cgroup v1 unless told."""
    if facts.cgroup_version == 1 and not host.settings.get("kubeadm_allow_cgroup_v1"):
        yield Say(host.name, "cgroup-v1").refuse(
            "it runs with cgroup v1, which the kubelet refuses",
            "boot it with systemd.unified_cgroup_hierarchy=1, or set kubeadm_allow_cgroup_v1=true",
        )


def kernel_modules(host: Host, facts: HostFacts) -> Iterator[Finding]:
    """Modules of the pod network; what cannot be found out counts as there: many kernels hide what is built in."""
    say = Say(host.name, "modules-missing")
    missing = [name for name in MODULES if facts.kernel_modules.get(name) == "missing"]
    loadable = [name for name in MODULES if facts.kernel_modules.get(name) == "loadable"]
    if missing:
        yield say.refuse(
            f"its kernel {facts.os.kernel} has no {', '.join(missing)}",
            f"install the package with the kernel's modules (linux-modules-extra-{facts.os.kernel}) or another kernel",
        )
    elif loadable and not complete(facts, "kube_host"):
        yield say.repair(f"not loaded: {', '.join(loadable)}", "loaded, also at the next boots")


def inotify(host: Host, facts: HostFacts) -> Iterator[Finding]:
    """Limits that pods of a GPU node run into."""
    low = [
        f"{name} is {facts.inotify[name]}"
        for name in ("max_user_instances", "max_user_watches")
        if name in facts.inotify and facts.inotify[name] < int(host.settings.get(f"kube_host_inotify_{name}", 0))
    ]
    if low and not complete(facts, "kube_host"):
        yield Say(host.name, "inotify-low").repair(f"fs.inotify: {', '.join(low)}", "raised, also for the next boots")
