"""HostFacts: what one probe saw on one host. Typed, frozen; the host prints it as the JSON of `from_json`.

`None` means "could not be read": unknown, never "absent" and never "unchanged".
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from bootstrap.probe.cards import branch_of, is_driven


@dataclass(frozen=True, slots=True)
class OsFacts:
    """/etc/os-release and uname."""

    id: str = ""  # debian, ubuntu
    version_id: str = ""  # 12, 24.04
    codename: str = ""
    pretty: str = ""
    arch: str = ""  # x86_64
    kernel: str = ""


@dataclass(frozen=True, slots=True)
class PciGpu:
    """An NVIDIA function of PCI class 0x03xx; `driver` is the bound kernel driver where it can be read."""

    address: str  # 0000:01:00.0
    device_id: str  # 20b0
    driver: str | None = None


@dataclass(frozen=True, slots=True)
class NvmlGpu:
    """One GPU as the driver's management library reports it."""

    index: int
    uuid: str
    name: str
    pci: str  # 0000:01:00.0
    memory_bytes: int | None
    compute_capability: str | None  # "8.0"
    ecc_uncorrected: int | None = None  # since the driver was loaded
    remap_pending: bool | None = None  # memory rows are replaced at the next reset
    remap_failed: bool | None = None  # there are none left to replace them by
    fabric_state: int | None = None  # nvmlGpuFabricState_t: 1 not started, 2 in progress, 3 completed
    mig: bool | None = None


@dataclass(frozen=True, slots=True)
class LostGpu:
    """A GPU that NVML counts and that does not answer, with what it said before: empty texts where it said nothing."""

    index: int
    uuid: str
    pci: str
    error: str  # NVML: GPU is lost (15)


@dataclass(frozen=True, slots=True)
class ContainerdFacts:
    """The configuration of a containerd that is there, its imported files and its unit's flags included."""

    root: str | None = None  # folder of images and containers
    state: str | None = None
    imports: tuple[str, ...] = ()  # patterns of further files, absolute
    config: str | None = None  # file that the running daemon was started with, where it is not the usual one
    settings: tuple[str, ...] = ()  # keys of the main file besides those above, such as plugins."…cri".registry
    error: str | None = None  # why the file cannot be read


@dataclass(frozen=True, slots=True)
class DriverFacts:
    """The NVIDIA driver as far as it is there."""

    loaded_version: str | None = None  # /proc/driver/nvidia/version
    flavour: str | None = None  # open | closed
    library_version: str | None = None  # of libnvidia-ml.so.1
    package_version: str | None = None  # of the package that owns it
    simulated: bool = False  # package version ends in +sim
    nouveau: bool = False
    nouveau_draws: bool = False  # a display is connected to a card of its
    foreign: bool = False  # files that no package owns (run-file install)
    device_nodes: tuple[str, ...] = ()
    nvml_error: str | None = None
    nvml_code: int | None = None  # nvmlReturn_t of that error; -1: no answer before the deadline
    gpus: tuple[NvmlGpu, ...] = ()
    lost: tuple[LostGpu, ...] = ()


@dataclass(frozen=True, slots=True)
class ClusterTraces:
    """What shows that the host is, or was, part of a Kubernetes cluster."""

    admin_conf: bool = False
    kubelet_conf: bool = False
    etcd_data: bool = False
    ca_hash: str | None = None  # sha256:<hex of the DER SubjectPublicKeyInfo>, /etc/kubernetes/pki/ca.crt
    kubelet_ca_hash: str | None = None  # the same, of the CA in kubelet.conf
    server: str | None = None  # server URL in kubelet.conf / admin.conf
    init_unit: str | None = None  # of the unit that runs kubeadm: running | exited | failed
    node: str | None = None  # the node's name in the kubelet's client certificate


@dataclass(frozen=True, slots=True)
class NodeFacts:
    """One Node object."""

    name: str
    ready: bool
    reason: str  # the kubelet's own words when not ready
    uid: str
    kubelet_version: str
    internal_ip: str
    allocatable_gpus: int
    capacity_gpus: int
    unschedulable: bool
    labels: Mapping[str, str]
    gpu_pods: int = 0  # running pods that hold a GPU
    other_gpus: int = 0  # allocatable of NVIDIA's resources by other names: shared, or MIG instances
    plugin_age_s: int | None = None  # for how long gpuctl's device plugin has run there; None where it does not


@dataclass(frozen=True, slots=True)
class KubeFacts:
    """What the API says, asked on a control plane host with its admin.conf. `error`: why it did not answer."""

    error: str | None = None
    version: str | None = None
    nodes: tuple[NodeFacts, ...] = ()
    receipts: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)  # component → receipt, from kube-system
    drift: Mapping[str, tuple[Drift, ...]] = field(default_factory=dict)  # component → objects that differ


@dataclass(frozen=True, slots=True)
class Drift:
    """One piece of evidence that is not as the receipt has it. `key` is kind:name, such as unit:containerd.service."""

    key: str
    was: str
    now: str
    when: str | None = None  # modification time, UTC ISO 8601, for files


@dataclass(frozen=True, slots=True)
class HostFacts:
    """Everything one probe saw on one host."""

    host: str
    os: OsFacts
    hostname: str
    machine_id: str | None
    product_uuid: str | None
    boot_id: str
    macs: tuple[str, ...]
    cpus: int
    memory_bytes: int
    disk_free_bytes: Mapping[str, int]  # data path → free bytes
    clock_offset_s: float | None  # host clock minus ours, round trip halved
    addresses: Mapping[str, tuple[str, ...]]  # interface → CIDR addresses
    routes: tuple[str, ...]  # destination CIDRs
    default_interface: str | None
    swap: tuple[str, ...]  # active swap devices and swap entries of fstab
    cgroup_version: int | None
    kernel_modules: Mapping[str, str]  # name → loaded | builtin | loadable | missing | unknown
    inotify: Mapping[str, int]
    listeners: Mapping[int, str]  # TCP port → process (or "?")
    resolv_loop: bool
    firewall: str | None  # ufw | firewalld | nftables-drop | None
    proxies: Mapping[str, str]  # *_proxy of /etc/environment and systemd
    package_lock: str | None  # who holds the dpkg lock
    time_synchronised: bool | None
    secure_boot: bool | None
    packages: Mapping[str, str]  # installed packages of interest → version
    units: Mapping[str, str]  # unit → active/enabled state, "active,enabled"
    gpus: tuple[PciGpu, ...]
    nvswitches: int
    driver: DriverFacts
    cluster: ClusterTraces
    receipts: Mapping[str, Mapping[str, Any]]  # component → receipt as it stands on the host
    drift: Mapping[str, tuple[Drift, ...]]  # component → evidence that changed since the receipt
    lock_holder: str | None  # who holds the gpuctl lock, and since when
    unfinished: tuple[str, ...]  # processes of an earlier run that still work on the host
    root: bool  # whether the probe ran as root (else much is unknown)
    kube: KubeFacts | None = None
    bpf_jit_harden: int | None = None  # net.core's; None where the kernel hides it
    way_notes: tuple[str, ...] = ()  # what was passed over on the way there; of this machine, not the host's words
    malformed: tuple[str, ...] = ()  # the places whose values had no such form, and count as unknown
    product_serial: str | None = None
    container: bool = False  # a container, which shows its machine's firmware
    interface_macs: Mapping[str, str] = field(default_factory=dict)  # interface with an address → its MAC
    data_roots: Mapping[str, str] = field(default_factory=dict)  # containerd, docker, kubelet, etcd → folder in use
    containerd: ContainerdFacts | None = None  # None: no containerd, or nothing configured
    resolv_conf: str | None = None  # file whose name servers pods can reach, where /etc/resolv.conf names a local one
    nvlink_managers: int = 0  # ConnectX functions that manage NVSwitches which are no PCI devices of NVIDIA's
    module_key: str | None = None  # key that DKMS signs modules with: enrolled | not-enrolled | absent
    headers: str | None = None  # of the running kernel: installed | offered | missing
    nfs_roots: tuple[str, ...] = ()  # exports with fsid=0 as "path client"

    @property
    def counted_gpus(self) -> tuple[PciGpu, ...]:
        """The cards that are GPUs of the cluster: a current driver branch drives them, or the host's driver does."""
        return tuple(gpu for gpu in self.gpus if self._counts(gpu))

    @property
    def left_out_gpus(self) -> tuple[PciGpu, ...]:
        """The cards that no driver drives which can be had, such as an old one for the display."""
        return tuple(gpu for gpu in self.gpus if not self._counts(gpu))

    def _counts(self, gpu: PciGpu) -> bool:
        return is_driven(gpu.device_id, (branch_of(self.driver.loaded_version),))

    @property
    def address_list(self) -> tuple[str, ...]:
        """All addresses without prefix length."""
        return tuple(a.split("/")[0] for addresses in self.addresses.values() for a in addresses)

    @property
    def primary_address(self) -> str | None:
        """The IPv4 address of the interface by which the default route leaves."""
        for candidate in self.addresses.get(self.default_interface or "", ()):
            address = ipaddress.ip_interface(candidate).ip  # which is one: from_json has seen to it
            if address.version == 4 and not address.is_loopback:
                return str(address)
        return None


@dataclass(frozen=True, slots=True)
class Unreachable:
    """A host that could not be probed.

    `code` is unreachable, host-key-changed, host-key-unknown, auth-failed, sudo-denied, python-missing or probe-failed.
    """

    host: str
    code: str
    message: str
    fix: str


ProbeResult = HostFacts | Unreachable
