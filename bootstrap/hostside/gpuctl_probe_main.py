"""The probe: looks at this host, changes nothing, and prints one JSON document."""

from __future__ import annotations

import json
import os
import sys
import time
from typing import Any, Callable, Mapping

from . import gpuctl_facts_cluster as cluster
from . import gpuctl_facts_gpu as gpu
from . import gpuctl_facts_kernel as kernel
from . import gpuctl_facts_network as network
from . import gpuctl_facts_os as system
from . import gpuctl_facts_runtime as runtime
from .gpuctl_base import read_text
from .gpuctl_evidence import Sources, compare, take
from .gpuctl_kube import KubeError
from .gpuctl_nfsexports import pseudo_roots
from .gpuctl_receipts import read_all

SCHEMA = 1
FAILURES = (OSError, ValueError, LookupError, TypeError, AttributeError, KubeError)
UNITS = (
    "containerd.service",
    "docker.service",
    "display-manager.service",
    "kubelet.service",
    "firewalld.service",
    "ufw.service",
    "nftables.service",
    "systemd-timesyncd.service",
    "chrony.service",
    "chronyd.service",
    "ntp.service",
    "ntpsec.service",
    "openntpd.service",
    "systemd-resolved.service",
    "nvidia-persistenced.service",
    "nvidia-fabricmanager.service",
    "unattended-upgrades.service",
    "snap.docker.dockerd.service",
    *cluster.INIT_UNITS,
)
PACKAGES = (
    "containerd",
    "cri-tools",
    "cuda-",
    "docker",
    "kube",
    "kubernetes-cni",
    "libcuda1",
    "libnvidia",
    "linux-headers",
    "moby",
    "nvidia",
    "podman",
    "runc",
    "xserver-xorg-video-nvidia",
    "gdm3",
    "lightdm",
    "sddm",
)


class Collector:
    """Runs each reader; one that fails leaves its facts unknown and its reason under "errors"."""

    def __init__(self) -> None:
        self.facts: dict[str, Any] = {"schema": SCHEMA, "errors": {}}

    def one(self, name: str, reader: Callable[[], Any], default: Any = None) -> Any:
        """Store what a reader returns under one name, and return it."""
        try:
            found = reader()
        except FAILURES as error:
            self.facts["errors"][name] = "%s: %s" % (type(error).__name__, error)
            found = default
        self.facts[name] = found
        return found

    def many(self, name: str, reader: Callable[[], Mapping[str, Any]], default: Mapping[str, Any]) -> None:
        """Store all keys of the mapping that a reader returns."""
        self.one(name, reader, default)
        self.facts.update(self.facts.pop(name) or default)


def collect() -> dict[str, Any]:
    """Everything about this host, as the JSON form of HostFacts. Never raises for what a host can cause."""
    started = time.time()
    sources, seen = Sources(), Collector()
    seen.one("root", lambda: os.geteuid() == 0, default=False)
    seen.one("os", system.os_facts, {})
    seen.many("identity", system.identity, {"hostname": "", "boot_id": "", "cpus": 0})
    seen.one("memory_bytes", system.memory_bytes)
    settled = seen.one("containerd", runtime.containerd)
    places = seen.one("data_roots", lambda: runtime.data_roots(settled), {}) or {}
    seen.one("disk_free_bytes", lambda: system.disk_free([*places.values(), *runtime.links_at_the_top()]), {})
    seen.one("nfs_roots", pseudo_roots, [])
    seen.one("swap", system.swap, [])
    seen.one("cgroup_version", lambda: system.cgroup_version(read_text("/proc/self/mountinfo")))
    seen.one("kernel_modules", system.kernel_modules, {})
    for name in ("inotify", "bpf_jit_harden", "secure_boot", "time_synchronised"):
        seen.one(name, getattr(system, name))
    for name in ("package_lock", "lock_holder", "unfinished"):
        seen.one(name, getattr(system, name))
    for name in ("addresses", "macs", "interface_macs", "listeners", "resolv_loop", "resolv_conf", "proxies"):
        seen.one(name, getattr(network, name))
    seen.many("network", network.routes, {"routes": [], "default_interface": None})
    receipts = seen.one("receipts", read_all, {}) or {}
    specs = {name: receipt.get("evidence_spec") or {} for name, receipt in receipts.items()}
    asked = [unit for spec in specs.values() for unit in spec.get("units") or ()]
    seen.one("units", lambda: _units(sources, asked), {})
    seen.one("packages", lambda: _packages(sources), {})
    seen.one("drift", lambda: {name: _drift(receipts[name], specs[name], sources) for name in receipts}, {})
    seen.one("firewall", lambda: network.firewall(seen.facts["units"] or {}))
    seen.many("pci", gpu.pci_gpus, {"gpus": [], "nvswitches": 0})
    seen.one("cluster", lambda: cluster.traces(seen.facts["units"] or {}), {})
    seen.one("kube", cluster.kube_facts)
    seen.one("nvlink_managers", gpu.nvlink_managers, 0)
    seen.one("module_key", kernel.module_key)
    seen.one("headers", lambda: _headers(seen.facts["gpus"]))
    seen.one("driver", lambda: gpu.driver_facts(sources.installed()), {})
    seen.facts.update(clock_start=started, clock_end=time.time())
    return seen.facts


def _headers(gpus: list[Any]) -> str | None:
    """Asked where a driver may have to be built: apt takes a moment to answer."""
    return kernel.headers(os.uname().release) if gpus and not os.path.exists(gpu.VERSION) else None


def _units(sources: Sources, more: list[str]) -> dict[str, str]:
    sources.load_units([*UNITS, *more])
    states = {name: sources.unit(name) for name in UNITS}
    return {name: state for name, state in states.items() if state != "absent"}


def _packages(sources: Sources) -> dict[str, str]:
    return {name: version for name, version in sources.installed().items() if name.startswith(PACKAGES)}


def _drift(receipt: Mapping[str, Any], spec: Mapping[str, Any], sources: Sources) -> list[dict[str, str | None]]:
    if receipt.get("state") != "complete":
        return []
    return compare(receipt.get("evidence") or {}, take(spec, sources))


def main() -> None:
    """Print the document on one line of standard output."""
    sys.stdout.write(json.dumps(collect(), sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
