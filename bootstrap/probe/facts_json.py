"""HostFacts from and to JSON. A key that is missing or of the wrong kind reads as unknown; nothing raises for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any, TypeVar

from bootstrap.probe.facts import (
    ClusterTraces,
    Drift,
    DriverFacts,
    HostFacts,
    KubeFacts,
    NodeFacts,
    NvmlGpu,
    OsFacts,
    PciGpu,
)

T = TypeVar("T")


def to_json(facts: HostFacts) -> dict[str, Any]:
    """The document that `from_json` reads."""
    return asdict(facts)


def from_json(host: str, found: Mapping[str, Any], clock_offset_s: float | None = None) -> HostFacts:
    """The facts of a host from the document that the probe printed there, or that `to_json` gave."""
    offset = clock_offset_s if clock_offset_s is not None else _float(found.get("clock_offset_s"))
    network = found.get("addresses")
    return HostFacts(
        host=host,
        os=OsFacts(**_texts(found.get("os"), OsFacts.__slots__)),
        hostname=_text(found.get("hostname")),
        machine_id=_text_or_none(found.get("machine_id")),
        product_uuid=_text_or_none(found.get("product_uuid")),
        boot_id=_text(found.get("boot_id")),
        macs=_strings(found.get("macs")),
        cpus=_int(found.get("cpus")) or 0,
        memory_bytes=_int(found.get("memory_bytes")) or 0,
        disk_free_bytes=_mapping(found.get("disk_free_bytes"), _int),
        clock_offset_s=offset,
        addresses=_mapping(network, _strings),
        routes=_strings(found.get("routes")),
        default_interface=_text_or_none(found.get("default_interface")),
        swap=_strings(found.get("swap")),
        cgroup_version=_int(found.get("cgroup_version")),
        kernel_modules=_mapping(found.get("kernel_modules"), _text_or_none),
        inotify=_mapping(found.get("inotify"), _int),
        listeners=_ports(found.get("listeners")),
        resolv_loop=found.get("resolv_loop") is True,
        firewall=_text_or_none(found.get("firewall")),
        proxies=_mapping(found.get("proxies"), _text_or_none),
        package_lock=_text_or_none(found.get("package_lock")),
        time_synchronised=_bool(found.get("time_synchronised")),
        secure_boot=_bool(found.get("secure_boot")),
        packages=_mapping(found.get("packages"), _text_or_none),
        units=_mapping(found.get("units"), _text_or_none),
        gpus=_items(found.get("gpus"), _pci_gpu),
        nvswitches=_int(found.get("nvswitches")) or 0,
        driver=_driver(_dict(found.get("driver"))),
        cluster=_cluster(_dict(found.get("cluster"))),
        receipts=_mapping(found.get("receipts"), _dict),
        drift=_mapping(found.get("drift"), _drifts),
        lock_holder=_text_or_none(found.get("lock_holder")),
        unfinished=_strings(found.get("unfinished")),
        root=found.get("root") is True,
        kube=_kube(found.get("kube")),
        bpf_jit_harden=_int(found.get("bpf_jit_harden")),
    )


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _text_or_none(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


def _int(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _float(value: Any) -> float | None:
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def _bool(value: Any) -> bool | None:
    return value if isinstance(value, bool) else None


def _dict(value: Any) -> dict[str, Any]:
    return {str(k): v for k, v in value.items()} if isinstance(value, Mapping) else {}


def _list(value: Any) -> list[Any]:
    return list(value) if isinstance(value, (list, tuple)) else []


def _strings(value: Any) -> tuple[str, ...]:
    return tuple(item for item in _list(value) if isinstance(item, str))


def _texts(value: Any, names: tuple[str, ...]) -> dict[str, str]:
    return {name: _text(text) for name, text in _dict(value).items() if name in names}


def _mapping(value: Any, item: Callable[[Any], T | None]) -> dict[str, T]:
    """The entries whose value can be read."""
    read = {name: item(raw) for name, raw in _dict(value).items()}
    return {name: good for name, good in read.items() if good is not None}


def _items(value: Any, item: Callable[[dict[str, Any]], T]) -> tuple[T, ...]:
    return tuple(item(_dict(raw)) for raw in _list(value) if isinstance(raw, Mapping))


def _ports(value: Any) -> dict[int, str]:
    return {int(port): _text(name) or "?" for port, name in _dict(value).items() if port.isdecimal()}


def _pci_gpu(raw: dict[str, Any]) -> PciGpu:
    return PciGpu(_text(raw.get("address")), _text(raw.get("device_id")), _text_or_none(raw.get("driver")))


def _nvml_gpu(raw: dict[str, Any]) -> NvmlGpu:
    return NvmlGpu(
        index=_int(raw.get("index")) or 0,
        uuid=_text(raw.get("uuid")),
        name=_text(raw.get("name")),
        pci=_text(raw.get("pci")),
        memory_bytes=_int(raw.get("memory_bytes")),
        compute_capability=_text_or_none(raw.get("compute_capability")),
    )


def _driver(raw: dict[str, Any]) -> DriverFacts:
    return DriverFacts(
        loaded_version=_text_or_none(raw.get("loaded_version")),
        flavour=_text_or_none(raw.get("flavour")),
        library_version=_text_or_none(raw.get("library_version")),
        package_version=_text_or_none(raw.get("package_version")),
        simulated=raw.get("simulated") is True,
        nouveau=raw.get("nouveau") is True,
        nouveau_draws=raw.get("nouveau_draws") is True,
        foreign=raw.get("foreign") is True,
        device_nodes=_strings(raw.get("device_nodes")),
        nvml_error=_text_or_none(raw.get("nvml_error")),
        gpus=_items(raw.get("gpus"), _nvml_gpu),
    )


def _cluster(raw: dict[str, Any]) -> ClusterTraces:
    return ClusterTraces(
        admin_conf=raw.get("admin_conf") is True,
        kubelet_conf=raw.get("kubelet_conf") is True,
        etcd_data=raw.get("etcd_data") is True,
        ca_hash=_text_or_none(raw.get("ca_hash")),
        kubelet_ca_hash=_text_or_none(raw.get("kubelet_ca_hash")),
        server=_text_or_none(raw.get("server")),
        init_unit=_text_or_none(raw.get("init_unit")),
    )


def _drift(raw: dict[str, Any]) -> Drift:
    return Drift(_text(raw.get("key")), _text(raw.get("was")), _text(raw.get("now")), _text_or_none(raw.get("when")))


def _drifts(value: Any) -> tuple[Drift, ...]:
    return _items(value, _drift)


def _node(raw: dict[str, Any]) -> NodeFacts:
    return NodeFacts(
        name=_text(raw.get("name")),
        ready=raw.get("ready") is True,
        reason=_text(raw.get("reason")),
        uid=_text(raw.get("uid")),
        kubelet_version=_text(raw.get("kubelet_version")),
        internal_ip=_text(raw.get("internal_ip")),
        allocatable_gpus=_int(raw.get("allocatable_gpus")) or 0,
        capacity_gpus=_int(raw.get("capacity_gpus")) or 0,
        unschedulable=raw.get("unschedulable") is True,
        labels=_mapping(raw.get("labels"), lambda v: v if isinstance(v, str) else None),
        gpu_pods=_int(raw.get("gpu_pods")) or 0,
    )


def _kube(value: Any) -> KubeFacts | None:
    if not isinstance(value, Mapping):
        return None
    raw = _dict(value)
    return KubeFacts(
        error=_text_or_none(raw.get("error")),
        version=_text_or_none(raw.get("version")),
        nodes=_items(raw.get("nodes"), _node),
        receipts=_mapping(raw.get("receipts"), _dict),
        drift=_mapping(raw.get("drift"), _drifts),
    )
