"""HostFacts from and to JSON. What a host prints is a stranger's: each value is read by its form, or is unknown.

Nothing raises for a value. The names of those that had no such form are in HostFacts.malformed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from bootstrap.probe import forms
from bootstrap.probe.facts import (
    ClusterTraces,
    ContainerdFacts,
    Drift,
    DriverFacts,
    HostFacts,
    KubeFacts,
    LostGpu,
    NodeFacts,
    NvmlGpu,
    OsFacts,
    PciGpu,
)
from bootstrap.probe.forms import form, one_of, text, whole
from bootstrap.probe.reader import Reader
from bootstrap.probe.receipt import component_names, read_receipts

_MODULE_STATES = one_of("loaded", "builtin", "loadable", "missing", "unknown")
_PROXIES = one_of("http_proxy", "https_proxy", "all_proxy", "no_proxy", "ftp_proxy")


def to_json(facts: HostFacts) -> dict[str, Any]:
    """The document that `from_json` reads."""
    found = asdict(facts)
    del found["way_notes"]  # of the machine that asked, not of the host
    found["receipts"] = {name: dict(receipt) for name, receipt in facts.receipts.items()}
    if facts.kube is not None:
        found["kube"]["receipts"] = {name: dict(receipt) for name, receipt in facts.kube.receipts.items()}
    return found


def from_json(host: str, found: Mapping[str, Any], clock_offset_s: float | None = None) -> HostFacts:
    """The facts of a host from the document that the probe printed there, or that `to_json` gave."""
    doc = Reader(found)
    told = doc.one("clock_offset_s", forms.number)
    return HostFacts(
        host=host,
        os=_os(doc.below("os")),
        hostname=doc.text("hostname", form(forms.VISIBLE)),
        machine_id=doc.one("machine_id", form(forms.MACHINE_ID)),
        product_uuid=doc.one("product_uuid", form(forms.FIRMWARE)),
        boot_id=doc.text("boot_id", form(forms.WORD)),
        macs=doc.many("macs", form(forms.MAC)),
        cpus=doc.count("cpus", whole),
        memory_bytes=doc.count("memory_bytes", whole),
        disk_free_bytes=doc.mapping("disk_free_bytes", text, whole),
        clock_offset_s=told if clock_offset_s is None else clock_offset_s,
        addresses=_addresses(doc),
        routes=doc.many("routes", forms.network),
        default_interface=doc.one("default_interface", form(forms.INTERFACE)),
        swap=doc.many("swap", text),
        cgroup_version=doc.one("cgroup_version", whole),
        kernel_modules=doc.mapping("kernel_modules", form(forms.WORD), _MODULE_STATES),
        inotify=doc.mapping("inotify", form(forms.WORD), whole),
        listeners=doc.mapping("listeners", forms.port, lambda name: text(name) or "?"),
        resolv_loop=doc.flag("resolv_loop"),
        firewall=doc.one("firewall", form(forms.OS_WORD)),
        proxies=doc.mapping("proxies", _PROXIES, text),
        package_lock=doc.one("package_lock", text),
        time_synchronised=doc.one("time_synchronised", forms.boolean),
        secure_boot=doc.one("secure_boot", forms.boolean),
        packages=doc.mapping("packages", form(forms.PACKAGE), form(forms.VERSION)),
        units=doc.mapping("units", form(forms.VISIBLE), form(forms.UNIT_STATE)),
        gpus=tuple(filter(None, map(_pci_gpu, doc.each("gpus")))),
        nvswitches=doc.count("nvswitches", whole),
        driver=_driver(doc.below("driver")),
        cluster=_cluster(doc.below("cluster")),
        receipts=read_receipts(doc.raw("receipts"), "host"),
        drift=_drifts(doc, "host"),
        lock_holder=doc.one("lock_holder", text),
        unfinished=doc.many("unfinished", text),
        root=doc.flag("root"),
        kube=_kube(doc.below("kube")) if isinstance(doc.raw("kube"), Mapping) else None,
        bpf_jit_harden=doc.one("bpf_jit_harden", whole),
        product_serial=doc.one("product_serial", form(forms.FIRMWARE)),
        container=doc.flag("container"),
        interface_macs=doc.mapping("interface_macs", form(forms.INTERFACE), form(forms.MAC)),
        data_roots=doc.mapping("data_roots", one_of("containerd", "docker", "kubelet", "etcd"), form(forms.FOLDER)),
        containerd=_containerd(doc.below("containerd")) if isinstance(doc.raw("containerd"), Mapping) else None,
        resolv_conf=doc.one("resolv_conf", form(forms.FOLDER)),
        nvlink_managers=doc.count("nvlink_managers", whole),
        module_key=doc.one("module_key", one_of("enrolled", "not-enrolled", "absent")),
        headers=doc.one("headers", one_of("installed", "offered", "missing")),
        nfs_roots=doc.many("nfs_roots", text),
        malformed=doc.malformed,
    )


def _os(doc: Reader) -> OsFacts:
    return OsFacts(
        id=doc.text("id", form(forms.OS_WORD)),
        version_id=doc.text("version_id", form(forms.OS_WORD)),
        codename=doc.text("codename", form(forms.OS_WORD)),
        pretty=doc.text("pretty", text),
        arch=doc.text("arch", form(forms.WORD)),
        kernel=doc.text("kernel", form(forms.WORD)),
    )


def _addresses(doc: Reader) -> dict[str, tuple[str, ...]]:
    inner = doc.below("addresses")
    names = doc.mapping("addresses", form(forms.INTERFACE), lambda listed: isinstance(listed, list | tuple) or None)
    return {name: inner.many(name, forms.interface_address) for name in names}


def _pci_gpu(doc: Reader) -> PciGpu | None:
    """A card; none without an address, which all else goes by."""
    address = doc.one("address", form(forms.PCI_ADDRESS))
    device = doc.text("device_id", form(forms.PCI_ID))
    return PciGpu(address, device, doc.one("driver", form(forms.WORD))) if address else None


def _nvml_gpu(doc: Reader) -> NvmlGpu:
    return NvmlGpu(
        index=doc.count("index", whole),
        uuid=doc.text("uuid", form(forms.WORD)),
        name=doc.text("name", text),
        pci=doc.text("pci", form(forms.PCI_ADDRESS)),
        memory_bytes=doc.one("memory_bytes", whole),
        compute_capability=doc.one("compute_capability", form(forms.CAPABILITY)),
        ecc_uncorrected=doc.one("ecc_uncorrected", whole),
        remap_pending=doc.one("remap_pending", forms.boolean),
        remap_failed=doc.one("remap_failed", forms.boolean),
        fabric_state=doc.one("fabric_state", whole),
        mig=doc.one("mig", forms.boolean),
    )


def _lost_gpu(doc: Reader) -> LostGpu:
    return LostGpu(
        index=doc.count("index", whole),
        uuid=doc.text("uuid", form(forms.WORD)),
        pci=doc.text("pci", form(forms.PCI_ADDRESS)),
        error=doc.text("error", text),
    )


def _driver(doc: Reader) -> DriverFacts:
    return DriverFacts(
        loaded_version=doc.one("loaded_version", form(forms.VERSION)),
        flavour=doc.one("flavour", one_of("open", "closed")),
        library_version=doc.one("library_version", form(forms.VERSION)),
        package_version=doc.one("package_version", form(forms.VERSION)),
        simulated=doc.flag("simulated"),
        nouveau=doc.flag("nouveau"),
        nouveau_draws=doc.flag("nouveau_draws"),
        foreign=doc.flag("foreign"),
        device_nodes=doc.many("device_nodes", form(forms.VISIBLE)),
        nvml_error=doc.one("nvml_error", text),
        nvml_code=doc.one("nvml_code", lambda code: -1 if code == -1 else whole(code)),
        lost=tuple(map(_lost_gpu, doc.each("lost"))),
        gpus=tuple(map(_nvml_gpu, doc.each("gpus"))),
    )


def _containerd(doc: Reader) -> ContainerdFacts:
    return ContainerdFacts(
        root=doc.one("root", form(forms.FOLDER)),
        state=doc.one("state", form(forms.FOLDER)),
        imports=doc.many("imports", form(forms.GLOB)),
        config=doc.one("config", form(forms.VISIBLE)),
        settings=doc.many("settings", text),
        error=doc.one("error", text),
    )


def _cluster(doc: Reader) -> ClusterTraces:
    return ClusterTraces(
        admin_conf=doc.flag("admin_conf"),
        kubelet_conf=doc.flag("kubelet_conf"),
        etcd_data=doc.flag("etcd_data"),
        ca_hash=doc.one("ca_hash", form(forms.DIGEST)),
        kubelet_ca_hash=doc.one("kubelet_ca_hash", form(forms.DIGEST)),
        server=doc.one("server", form(forms.SERVER)),
        init_unit=doc.one("init_unit", form(forms.OS_WORD)),
        node=doc.one("node", form(forms.NODE)),
    )


def _drifts(doc: Reader, scope: str) -> dict[str, tuple[Drift, ...]]:
    """Of the components that belong there; what else is listed is nobody's."""
    return {name: tuple(map(_drift, items)) for name, items in doc.lists_of("drift", component_names(scope)).items()}


def _drift(doc: Reader) -> Drift:
    return Drift(doc.text("key", text), doc.text("was", text), doc.text("now", text), doc.one("when", form(forms.WORD)))


def _node(doc: Reader) -> NodeFacts | None:
    """A node; none without a name."""
    name = doc.one("name", form(forms.NODE))
    if name is None:
        return None
    return NodeFacts(
        name=name,
        ready=doc.flag("ready"),
        reason=doc.text("reason", text),
        uid=doc.text("uid", form(forms.WORD)),
        kubelet_version=doc.text("kubelet_version", form(forms.VERSION)),
        internal_ip=doc.text("internal_ip", forms.address),
        allocatable_gpus=doc.count("allocatable_gpus", whole),
        capacity_gpus=doc.count("capacity_gpus", whole),
        unschedulable=doc.flag("unschedulable"),
        labels=doc.mapping("labels", form(forms.LABEL_KEY), form(forms.LABEL_VALUE)),
        gpu_pods=doc.count("gpu_pods", whole),
        other_gpus=doc.count("other_gpus", whole),
        plugin_age_s=doc.one("plugin_age_s", whole),
    )


def _kube(doc: Reader) -> KubeFacts:
    return KubeFacts(
        error=doc.one("error", text),
        version=doc.one("version", form(forms.VERSION)),
        nodes=tuple(filter(None, map(_node, doc.each("nodes")))),
        receipts=read_receipts(doc.raw("receipts"), "cluster"),
        drift=_drifts(doc, "cluster"),
    )
