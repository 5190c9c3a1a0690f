"""Facts and inventories for unit tests, small and complete; change what matters with dataclasses.replace."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jinja2 import Environment

from bootstrap.inventory.model import Connection, Host, Inventory
from bootstrap.inventory.schema import variables
from bootstrap.probe.facts import ClusterTraces, DriverFacts, HostFacts, NodeFacts, NvmlGpu, OsFacts, PciGpu

GIB = 2**30


def nvml_gpu(index: int, host: str = "gpu1") -> NvmlGpu:
    return NvmlGpu(index, f"GPU-{host}-{index}", "NVIDIA A100-SXM4-40GB", pci_address(index), 40 * GIB, "8.0")


def pci_address(index: int) -> str:
    return f"0000:{index + 1:02x}:00.0"


def host_facts(host: str = "gpu1", *, gpus: int = 0, address: str = "198.51.100.11", **changes: Any) -> HostFacts:
    values: dict[str, Any] = {
        "host": host,
        "os": OsFacts("debian", "12", "bookworm", "Debian GNU/Linux 12 (bookworm)", "x86_64", "6.1.0-38-amd64"),
        "hostname": host,
        "machine_id": f"{abs(hash(host)):032x}"[:32],
        "product_uuid": None,
        "boot_id": "b",
        "macs": (),
        "cpus": 4,
        "memory_bytes": 16 * GIB,
        "disk_free_bytes": {"/var/lib/containerd": 100 * GIB},
        "clock_offset_s": 0.0,
        "addresses": {"eth0": (f"{address}/24",), "lo": ("127.0.0.1/8",)},
        "routes": ("198.51.100.0/24",),
        "default_interface": "eth0",
        "swap": (),
        "cgroup_version": 2,
        "kernel_modules": {},
        "inotify": {},
        "listeners": {},
        "resolv_loop": False,
        "firewall": None,
        "proxies": {},
        "package_lock": None,
        "time_synchronised": True,
        "secure_boot": False,
        "packages": {},
        "units": {},
        "gpus": tuple(PciGpu(pci_address(i), "20b0", None) for i in range(gpus)),
        "nvswitches": 0,
        "driver": DriverFacts(),
        "cluster": ClusterTraces(),
        "receipts": {},
        "drift": {},
        "lock_holder": None,
        "unfinished": (),
        "root": True,
        "kube": None,
    }
    return HostFacts(**{**values, **changes})


def loaded_driver(gpus: int, host: str = "gpu1", *, simulated: bool = True) -> DriverFacts:
    return DriverFacts(
        loaded_version="580.178.04",
        flavour="open",
        library_version="580.178.04",
        package_version="580.178.04-1+sim" if simulated else "580.178.04-1",
        simulated=simulated,
        device_nodes=tuple(f"/dev/nvidia{i}" for i in range(gpus)),
        gpus=tuple(nvml_gpu(i, host) for i in range(gpus)),
    )


def node(name: str, *, gpus: int = 0, address: str = "198.51.100.11", **changes: Any) -> NodeFacts:
    values: dict[str, Any] = {
        "name": name,
        "ready": True,
        "reason": "",
        "uid": f"uid-{name}",
        "kubelet_version": "v1.36.3",
        "internal_ip": address,
        "allocatable_gpus": gpus,
        "capacity_gpus": gpus,
        "unschedulable": False,
        "labels": {"nvidia.com/gpu.present": "true"} if gpus else {},
    }
    return NodeFacts(**{**values, **changes})


def rendered(value: Any, values: dict[str, Any]) -> Any:
    """What Ansible makes of a default that is made of another variable."""
    if isinstance(value, dict):
        return {key: rendered(item, values) for key, item in value.items()}
    if isinstance(value, str) and "{{" in value:
        return Environment(autoescape=False).from_string(value).render(values)  # noqa: S701 - no HTML
    return value


def default_settings(**changes: Any) -> dict[str, Any]:
    values = {name: variable.default for name, variable in variables().items()} | changes
    return {name: rendered(value, values) for name, value in values.items()}


def minikube_inventory(
    name: str = "box", address: str = "198.51.100.20", *, explicit: dict[str, Any] | None = None
) -> Inventory:
    """The one host of a minikube cluster."""
    chosen = explicit or {}
    host = Host(
        name=name,
        groups=frozenset({"minikube"}),
        connection=Connection(address=address, user="root"),
        settings=default_settings(**chosen),
        explicit=frozenset(chosen),
        origins=dict.fromkeys(chosen, "minikube.ini:9"),
        connection_vars={"ansible_host": address},
    )
    return Inventory(Path("minikube.ini"), (host,))


def inventory(
    control_plane: dict[str, str], workers: dict[str, str], *, explicit: dict[str, Any] | None = None
) -> Inventory:
    """Hosts by name → address; `explicit` are settings that the file sets for all."""
    chosen = explicit or {}

    def host(name: str, address: str, group: str) -> Host:
        return Host(
            name=name,
            groups=frozenset({group}),
            connection=Connection(address=address, user="root"),
            settings=default_settings(**chosen),
            explicit=frozenset(chosen),
            origins=dict.fromkeys(chosen, "lab.ini:9"),
            connection_vars={"ansible_host": address},
        )

    hosts = [host(n, a, "control_plane") for n, a in control_plane.items()]
    hosts += [host(n, a, "workers") for n, a in workers.items()]
    return Inventory(Path("lab.ini"), tuple(hosts))
