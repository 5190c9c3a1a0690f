"""Every check, by a fault injected into facts that were recorded on real hosts: code, host, severity, remedy."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootstrap.checks.finding import Severity
from bootstrap.checks.preflight import CLUSTER_CHECKS, HOST_CHECKS, NODE_CHECKS, count_of_checks, preflight
from bootstrap.probe.facts import ClusterTraces, ContainerdFacts, DriverFacts, OsFacts, PciGpu, ProbeResult, Unreachable
from tests.unit.checks.recorded import facts_of, findings, fresh, lab, live

REFUSE, FIX, WARN = Severity.REFUSE, Severity.FIX, Severity.WARN
GPUS = (PciGpu("0000:01:00.0", "20b0"), PciGpu("0000:02:00.0", "20b0"))
DEBIAN = OsFacts("debian", "12", "bookworm", "Debian GNU/Linux 12 (bookworm)", "x86_64", "6.1.0-38-amd64")


@dataclass(frozen=True)
class Fault:
    code: str
    host: str
    severity: Severity
    changes: dict[str, Any]
    said: str  # part of the message
    fix: str  # part of the remedy
    settings: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.code}-{self.said.replace(' ', '_')}"


def card(*ids: str) -> tuple[PciGpu, ...]:
    return tuple(PciGpu(f"0000:0{n}:00.0", device) for n, device in enumerate(ids, 1))


def driver(**changes: Any) -> DriverFacts:
    return replace(DriverFacts(), **changes)


FAULTS = [
    Fault("sudo-denied", "gpu1", REFUSE, {"root": False}, "did not run as root", "ansible_become"),
    Fault(
        "os-unsupported", "gpu1", REFUSE, {"os": replace(DEBIAN, id="fedora", version_id="42", pretty="Fedora 42")},
        "Fedora 42", "Debian 12/13, Ubuntu 22.04/24.04/26.04",
    ),
    Fault("os-unsupported", "cp1", REFUSE, {"os": OsFacts()}, "unknown", "Debian"),
    Fault("arch-unsupported", "gpu1", REFUSE, {"os": replace(DEBIAN, arch="riscv64")}, "riscv64", "x86_64"),
    Fault("hostname-invalid", "gpu1", REFUSE, {"hostname": "gpu_1"}, "gpu_1", "hostnamectl"),
    Fault("hostname-invalid", "gpu1", REFUSE, {"hostname": "localhost"}, "localhost", "hostnamectl"),
    Fault("lock-held", "gpu1", REFUSE, {"lock_holder": "eve@desk since 2026-01-01"}, "eve@desk", "wait"),
    Fault("package-lock", "gpu1", FIX, {"package_lock": "apt-get (pid 12)"}, "apt-get (pid 12)", "300 s"),
    Fault("clock-skew", "gpu1", REFUSE, {"clock_offset_s": 400.0}, "400 s ahead", "timedatectl"),
    Fault("clock-skew", "gpu1", REFUSE, {"clock_offset_s": -400.0}, "400 s behind", "timedatectl"),
    Fault("clock-skew", "gpu1", WARN, {"clock_offset_s": 30.0}, "30 s ahead", "timesync"),
    Fault("clock-skew", "gpu1", FIX, {"time_synchronised": False}, "nothing keeps", "time service"),
    Fault("disk-low", "gpu1", REFUSE, {"disk_free_bytes": {"/": 10**8}}, "/ has 0.1 GiB", "free space"),
    Fault("disk-low", "cp1", REFUSE, {"disk_free_bytes": {"/var/lib/etcd": 10**9}}, "/var/lib/etcd", "free space"),
    Fault("memory-low", "cp1", REFUSE, {"memory_bytes": 10**9}, "1000 MB", "memory"),
    Fault("memory-low", "gpu1", REFUSE, {"memory_bytes": 5 * 10**8}, "500 MB", "memory"),
    Fault("cpu-low", "cp1", REFUSE, {"cpus": 1}, "1 processor", "larger"),
    Fault("swap-on", "gpu1", FIX, {"swap": ("/dev/sda2", "fstab:/dev/sda2")}, "/dev/sda2", "next boots"),
    Fault(
        "cgroup-v1", "gpu1", REFUSE, {}, "cgroup v1", "kubeadm_allow_cgroup_v1=true",
        {"kubeadm_allow_cgroup_v1": False},
    ),
    Fault(
        "modules-missing", "gpu1", REFUSE, {"kernel_modules": {"br_netfilter": "missing"}}, "br_netfilter", "modules"
    ),
    Fault("modules-missing", "gpu1", FIX, {"kernel_modules": {"vxlan": "loadable"}}, "vxlan", "loaded"),
    Fault("inotify-low", "gpu1", FIX, {"inotify": {"max_user_instances": 128}}, "128", "raised"),
    Fault("port-busy", "cp1", REFUSE, {"listeners": {6443: "haproxy"}}, "6443 (haproxy)", "stop that service"),
    Fault("port-busy", "cp1", REFUSE, {"listeners": {2379: "?"}}, "2379 (a process)", "stop that service"),
    Fault("port-busy", "gpu1", REFUSE, {"listeners": {10250: "k3s"}}, "10250 (k3s)", "stop that service"),
    Fault(
        "proxy-without-exclusions", "gpu1", REFUSE,
        {"proxies": {"https_proxy": "http://proxy:3128", "no_proxy": "localhost,127.0.0.1,10.0.0.0/8"}},
        "gpuctl-api", "no_proxy=localhost,127.0.0.1,10.0.0.0/8,",
    ),
    Fault(
        "cidr-overlap", "gpu1", REFUSE, {"routes": ("10.244.7.0/24",)}, "a route to 10.244.7.0/24", "cluster_pod_cidr"
    ),
    Fault(
        "cidr-overlap", "gpu1", REFUSE, {}, "10.202.66.12/24 on host0", "cluster_service_cidr",
        {"cluster_service_cidr": "10.202.0.0/16"},
    ),
    Fault(
        "interface-ambiguous", "gpu1", FIX, {"addresses": {"nat0": ("10.0.2.15/24",), "host0": ("10.202.66.12/24",)}},
        "host0, nat0", "10.202.66.12 on host0",
    ),
    Fault("interface-ambiguous", "gpu1", REFUSE, {"addresses": {"e9": ("10.9.9.9/24",)}}, "no interface", "ansible"),
    Fault("firewall-active", "gpu1", REFUSE, {"firewall": "ufw"}, "ufw is active", "ufw disable"),
    Fault("firewall-active", "cp1", REFUSE, {"firewall": "nftables-drop"}, "nftables-drop", "TCP 6443"),
    Fault(
        "resolv-loop", "gpu1", FIX, {"resolv_loop": True, "units": {"systemd-resolved.service": "active,enabled"}},
        "resolver on the host", "/run/systemd/resolve/resolv.conf",
    ),
    Fault("resolv-loop", "gpu1", REFUSE, {"resolv_loop": True, "units": {}}, "resolver on the host", "name servers"),
    Fault(
        "runtime-conflict", "gpu1", REFUSE, {"packages": {"docker.io": "20.10.24", "containerd": "1.6.20~ds1-1"}},
        "docker.io brings containerd 1.6.20", "apt-get remove docker.io",
    ),
    Fault(
        "runtime-conflict", "gpu1", REFUSE, {"units": {"snap.docker.dockerd.service": "active,enabled"}},
        "snap", "snap remove docker",
    ),
    Fault("secure-boot-unsigned", "gpu1", REFUSE, {"secure_boot": True}, "Secure Boot is on", "mokutil"),
    Fault(
        "gpu-unasked", "gpu1", Severity.WARN, {}, "can see all GPUs", "cdi-cri",
        {"nvidia_device_plugin_device_list_strategy": "envvar"},
    ),
    Fault("nouveau-loaded", "gpu1", FIX, {"driver": driver(nouveau=True)}, "nouveau holds", "--reboot"),
    Fault(
        "driver-foreign", "gpu1", REFUSE, {"driver": driver(foreign=True, loaded_version="580.1")},
        "without a package", "nvidia-uninstall",
    ),
    Fault(
        "driver-gpu-unsupported", "gpu1", REFUSE, {"gpus": card("1b06")}, "no longer drives Pascal",
        "nvidia_driver_branch=580", {"nvidia_driver_branch": "590"},
    ),
    Fault(
        "driver-gpu-unsupported", "gpu1", REFUSE, {"gpus": card("1db6")}, "no longer drives Volta",
        "nvidia_driver_branch=580", {"nvidia_driver_branch": "590"},
    ),
    Fault(
        "driver-gpu-unsupported", "gpu1", REFUSE, {"gpus": card("2901")}, "does not know Blackwell",
        "nvidia_driver_branch=570", {"nvidia_driver_branch": "550"},
    ),
    Fault(
        "driver-gpu-unsupported", "gpu1", REFUSE, {"gpus": card("1db6", "2901")}, "Volta and Blackwell",
        "different hosts",
    ),
    Fault(
        "driver-gpu-unsupported", "gpu1", REFUSE,
        {"gpus": card("2901"), "driver": driver(loaded_version="580.1", flavour="closed", library_version="580.1")},
        "closed module 580.1 does not drive Blackwell", "other flavour",
    ),
    Fault(
        "driver-lib-mismatch", "gpu1", REFUSE,
        {"driver": driver(loaded_version="570.1", library_version="580.2", flavour="open")},
        "module 570.1 is loaded, but the library is 580.2", "reboot",
    ),
    Fault(
        "driver-gpu-unsupported", "gpu1", REFUSE,
        {"gpus": card("2684"), "driver": driver(loaded_version="470.256.02", library_version="470.256.02")},
        "470.256.02 does not drive Ada", "remove the driver",
    ),
    Fault(
        "driver-gpu-unsupported", "gpu1", WARN,
        {"gpus": (PciGpu("0000:01:00.0", "128b", "nouveau"), PciGpu("0000:02:00.0", "2684"))},
        "(Kepler) does not count", "no picture from it",
    ),
    Fault("fabric-missing", "gpu1", FIX, {"nvswitches": 4}, "4 NVSwitches", "driver's version"),
    Fault(
        "fabric-missing", "gpu1", FIX, {"gpus": card("2901"), "nvlink_managers": 4}, "fabric manager with nvlsm",
        "driver's version",
    ),
    Fault(
        "secure-boot-unsigned", "gpu1", REFUSE, {"secure_boot": True, "module_key": "not-enrolled"},
        "key that signs a driver", "mokutil --import /var/lib/dkms/mok.pub; reboot",
    ),
    Fault(
        "headers-missing", "gpu1", REFUSE, {"headers": "missing"}, "offers linux-headers-6.18.44-fc-v657",
        "linux-headers-amd64, and reboot",
    ),
    Fault(
        "headers-missing", "gpu1", REFUSE, {"headers": "missing", "os": replace(DEBIAN, kernel="6.8.12-4-pve")},
        "linux-headers-6.8.12-4-pve", "apt-get install proxmox-headers-6.8.12-4-pve",
    ),
    Fault(
        "driver-version-conflict", "gpu1", REFUSE, {}, "550.163.01 is not of nvidia_driver_branch 580",
        "nvidia_driver_branch=550", {"nvidia_driver_version": "550.163.01"},
    ),
    Fault(
        "arch-unsupported", "gpu1", REFUSE, {"os": replace(DEBIAN, arch="aarch64"), "gpus": card("2342")}, "aarch64",
        "nvidia_driver_apt_source to one for aarch64",
    ),
    Fault(
        "driver-lib-missing", "gpu1", REFUSE,
        {"driver": driver(loaded_version="580.1", flavour="open", nvml_error="libnvidia-ml.so.1: cannot open")},
        "580.1 is loaded", "remove that container",
    ),
    Fault(
        "nvml-failed", "gpu1", WARN,
        {"driver": driver(loaded_version="580.1", library_version="580.1", flavour="open", nvml_error="NVML: x (999)")},
        "does not answer: NVML: x (999)", "dmesg",
    ),
    Fault(
        "driver-gpu-unsupported", "gpu1", WARN, {"gpus": card("128b", "2684")}, "0000:01:00.0 (Kepler) does not count",
        "nothing to do",
    ),
    Fault(
        "gpu-missing", "gpu1", REFUSE, {"gpus": card("102d")}, "no NVIDIA GPU that counts", "cluster_gpu=auto",
        {"cluster_gpu": "required"},
    ),
    Fault(
        "containerd-settings", "gpu1", WARN,
        {"packages": {"containerd.io": "2.1.4-1"}, "containerd": ContainerdFacts("/data", settings=("oom_score",))},
        "which sets oom_score", "/etc/containerd/conf.d",
    ),
    Fault(
        "containerd-settings", "gpu1", REFUSE,
        {"packages": {"containerd.io": "2.1.4-1"}, "containerd": ContainerdFacts("/data/containerd")},
        "images and containers in /data/containerd", "containerd_data_root=/data/containerd",
        {"containerd_data_root": "/data"},
    ),
    Fault(
        "containerd-settings", "gpu1", REFUSE,
        {"packages": {"containerd.io": "2.1.4-1"}, "containerd": ContainerdFacts(config="/opt/c.toml")},
        "--config /opt/c.toml", "move that file",
    ),
    Fault(
        "resolv-loop", "gpu1", WARN, {"resolv_loop": True, "receipts": {"kubeadm": {"state": "complete"}}},
        "its pods cannot reach", "name servers",
    ),
    Fault(
        "resolv-loop", "gpu1", FIX, {"resolv_loop": True, "resolv_conf": "/run/NetworkManager/no-stub-resolv.conf"},
        "resolver on the host", "/run/NetworkManager/no-stub-resolv.conf",
    ),
    Fault(
        "hostname-changed", "gpu1", REFUSE,
        {"receipts": {"kubeadm": {"state": "complete"}}, "hostname": "gpu9",
         "cluster": ClusterTraces(kubelet_conf=True, node="gpu1")},
        "node gpu1 of the cluster, and its hostname is gpu9", "hostnamectl set-hostname gpu1",
    ),
    Fault(
        "disk-low", "gpu1", REFUSE, {"disk_free_bytes": {"/": 10**11, "/data": 10**9}}, "/data/containerd has 0.9 GiB",
        "/data/containerd", {"containerd_data_root": "/data/containerd"},
    ),
    Fault(
        "gpu-missing", "gpu1", WARN,
        {"gpus": GPUS[:1], "receipts": {"nvidia_driver": {"state": "complete", "gpus": [g.address for g in GPUS]}}},
        "1 of 2 GPUs are on the bus; gone: 0000:02:00.0", "Xid",
    ),
    Fault("gpu-missing", "gpu1", REFUSE, {"gpus": ()}, "no NVIDIA", "cluster_gpu=auto", {"cluster_gpu": "required"}),
    Fault(
        "leftover-cluster", "gpu1", REFUSE,
        {"cluster": ClusterTraces(kubelet_conf=True, kubelet_ca_hash="sha256:other", server="https://old:6443")},
        "https://old:6443", "gpuctl reset --limit gpu1",
    ),
    Fault(
        "leftover-cluster", "cp1", REFUSE, {"cluster": ClusterTraces(etcd_data=True)}, "whose API does not answer",
        "gpuctl reset --limit cp1",
    ),
    Fault(
        "leftover-cluster", "gpu1", REFUSE, {"receipts": {"kubeadm": {"state": "complete", "machine_id": "another"}}},
        "copy of a machine", "gpuctl reset --limit gpu1",
    ),
    Fault(
        "facts-malformed", "gpu1", WARN, {"malformed": ("gpus.address", "macs")}, "gpus.address, macs",
        "look at that on the host",
    ),
]  # fmt: skip


def test_nothing_is_said_of_hosts_that_are_as_they_should_be() -> None:
    assert preflight(lab(), fresh()) == ()


@pytest.mark.parametrize("fault", FAULTS, ids=str)
def test_each_fault_is_named_on_its_host_alone(fault: Fault) -> None:
    found = findings(fault.host, fault.settings, **fault.changes)
    mine = [f for f in found if f.host == fault.host and f.code == fault.code]

    assert len(mine) == 1, found
    assert mine[0].severity is fault.severity
    assert fault.said in mine[0].message
    assert fault.fix in mine[0].fix
    if not fault.settings:  # settings concern every host
        assert {f.host for f in found} == {fault.host}


def test_hosts_that_did_not_answer_are_refused_with_their_reason_and_the_others_checked() -> None:
    probes = fresh() | {"gpu1": Unreachable("gpu1", "host-key-changed", "another key", "ssh-keygen -R gpu1")}
    probes["gpu2"] = replace(facts_of(probes, "gpu2"), swap=("/dev/sdb",))

    assert [(f.host, f.code, f.severity) for f in preflight(lab(), probes)] == [
        ("gpu1", "host-key-changed", REFUSE),
        ("gpu2", "swap-on", FIX),
    ]


@pytest.mark.parametrize("shared", ["machine_id", "hostname"])
def test_clones_are_named_on_both_hosts(shared: str) -> None:
    probes = fresh()
    same: dict[str, Any] = {shared: getattr(facts_of(probes, "gpu1"), shared)}
    probes["gpu2"] = replace(facts_of(probes, "gpu2"), **same)
    found = preflight(lab(), probes)

    assert [(f.host, f.code, f.severity) for f in found] == [
        ("gpu1", "identity-duplicate", REFUSE),
        ("gpu2", "identity-duplicate", REFUSE),
    ]
    assert "gpu2" in found[0].message
    assert "gpu1" in found[1].message


def test_two_names_of_one_machine_are_said_to_be_that_and_nothing_else() -> None:
    probes = fresh()
    probes["gpu2"] = replace(facts_of(probes, "gpu1"), host="gpu2")
    found = preflight(lab(), probes)

    assert [(f.host, f.code) for f in found] == [("gpu1", "identity-duplicate"), ("gpu2", "identity-duplicate")]
    assert all("one machine" in f.message for f in found)


def test_containers_of_one_machine_share_its_product_uuid_and_are_not_refused() -> None:
    uuid = "4c4c4544-0042-3510-8051-b4c04f4e3132"
    probes: dict[str, ProbeResult] = {n: replace(facts_of(fresh(), n), product_uuid=uuid) for n in fresh()}

    assert [(f.code, f.severity) for f in preflight(lab(), probes)] == [("identity-duplicate", WARN)]


def test_pod_and_service_ranges_that_overlap_concern_no_single_host() -> None:
    found = preflight(lab(cluster_pod_cidr="10.96.0.0/12"), fresh())

    assert [(f.host, f.code, f.severity) for f in found] == [(None, "cidr-overlap", REFUSE)]


def test_the_no_proxy_that_is_advised_is_enough() -> None:
    settings = {"https_proxy": "http://proxy:3128"}
    advised = findings("gpu1", proxies=settings)[0].fix.partition("no_proxy=")[2]

    assert findings("gpu1", proxies=settings | {"no_proxy": advised}) == ()


def test_a_running_cluster_is_not_a_fault() -> None:
    """Its own ports, data and certificates, as recorded on a control plane that runs."""
    probes = fresh()
    del probes["gpu2"]
    probes["cp1"] = replace(live("cp1"), routes=("10.244.1.0/24",))
    probes["gpu1"] = live("gpu1")

    assert preflight(lab(), probes) == ()


def test_a_worker_of_the_running_cluster_is_not_a_leftover() -> None:
    probes = fresh()
    cp1 = live("cp1")
    joined = ClusterTraces(kubelet_conf=True, kubelet_ca_hash=cp1.cluster.ca_hash, server="https://gpuctl-api:6443")
    probes |= {"cp1": cp1, "gpu1": replace(facts_of(probes, "gpu1"), cluster=joined)}

    assert preflight(lab(), probes) == ()


def test_a_worker_is_not_judged_while_a_control_plane_is_silent() -> None:
    probes = fresh()
    probes["cp1"] = Unreachable("cp1", "unreachable", "no answer", "start it")
    joined = ClusterTraces(kubelet_conf=True, kubelet_ca_hash="sha256:abc", server="https://gpuctl-api:6443")
    probes["gpu1"] = replace(facts_of(probes, "gpu1"), cluster=joined)

    assert [(f.host, f.code) for f in preflight(lab(), probes)] == [("cp1", "unreachable")]


def test_a_control_plane_without_its_kubeconfig_is_still_this_cluster() -> None:
    """The CA says whose node a worker is; the advice to reset it would destroy a living node."""
    probes = fresh()
    cp1 = live("cp1")
    bereft = replace(cp1.cluster, admin_conf=False)
    joined = ClusterTraces(kubelet_conf=True, kubelet_ca_hash=cp1.cluster.ca_hash, server="https://gpuctl-api:6443")
    probes["gpu1"] = replace(facts_of(probes, "gpu1"), cluster=joined)
    for receipts in (cp1.receipts, {}):
        probes["cp1"] = replace(cp1, cluster=bereft, kube=None, receipts=receipts)
        assert [f.host for f in preflight(lab(), probes) if f.code == "leftover-cluster" and f.host == "gpu1"] == []


def test_half_an_init_of_our_own_is_gone_on_with() -> None:
    begun = {"kubeadm": {"state": "begun", "machine_id": facts_of(fresh(), "cp1").machine_id}}
    traces = ClusterTraces(etcd_data=True, admin_conf=True)

    assert findings("cp1", receipts=begun, cluster=traces, listeners={6443: "kube-apiserver"}) == ()


def test_an_installed_host_needs_room_for_a_repair_only() -> None:
    begun = {"kubeadm": {"state": "complete"}}

    assert findings("gpu1", receipts=begun, disk_free_bytes={"/": 2**30}) == ()
    assert [f.code for f in findings("gpu1", receipts=begun, disk_free_bytes={"/": 2**28})] == ["disk-low"]


def test_a_good_driver_that_is_there_is_adopted_without_a_word() -> None:
    loaded = driver(loaded_version="570.1", library_version="570.1", flavour="closed")

    assert findings("gpu1", driver=loaded, secure_boot=True) == ()


def test_no_driver_question_is_asked_where_no_gpu_is_wanted() -> None:
    wanted = {"cluster_gpu": "none", "nvidia_driver_branch": "590"}

    assert findings("gpu1", wanted, secure_boot=True, driver=driver(nouveau=True), gpus=card("1b06")) == ()


def test_broken_lines_of_known_hosts_are_named() -> None:
    broken = tuple(f"/home/ada/.ssh/known_hosts:{n}: its key is no base64" for n in range(1, 9))
    probes = fresh()
    probes["gpu1"] = replace(facts_of(probes, "gpu1"), way_notes=broken)
    found = preflight(lab(), probes)

    assert [(f.host, f.code, f.severity) for f in found] == [("gpu1", "known-hosts-broken", WARN)]
    assert "known_hosts:5: its key is no base64 and 3 more" in found[0].message


def test_findings_come_in_the_order_of_the_inventory_and_once() -> None:
    probes = {name: replace(facts_of(fresh(), name), swap=("/dev/sda2",)) for name in ("gpu2", "cp1", "gpu1")}
    found = preflight(lab(), dict(probes))

    assert [f.host for f in found] == ["cp1", "gpu1", "gpu2"]
    assert len(set(found)) == len(found)


def test_the_count_is_of_checks_that_were_made() -> None:
    probes = fresh()
    per_host = len(HOST_CHECKS) + len(NODE_CHECKS) + len(CLUSTER_CHECKS)

    assert count_of_checks(lab(), probes) == 3 + 3 * per_host
    probes["gpu1"] = Unreachable("gpu1", "unreachable", "", "")
    assert count_of_checks(lab(), probes) == 3 + 2 * per_host


def test_every_check_has_an_injected_fault() -> None:
    """A check that no fault above sets off is a check that nothing tests."""
    silent = {*HOST_CHECKS, *NODE_CHECKS}  # those of a minikube host are in test_docker
    for fault in FAULTS:
        host = lab(**fault.settings).host(fault.host)
        facts = replace(facts_of(fresh(), fault.host), **fault.changes)
        silent -= {check for check in silent if list(check(host, facts))}

    assert {check.__name__ for check in silent} == {"ssh_options"}  # its own test is above


# What a person might have: cards, branch and version of the driver, state of the host.
CARDS = st.lists(
    st.sampled_from(["10d8", "06c0", "128b", "102d", "13f2", "1b06", "1db6", "1eb8", "20b0", "2684", "2b85", "ffff"]),
    min_size=1, max_size=3,
)  # fmt: skip
BRANCHES = st.sampled_from(["", "390", "470", "525", "550", "570", "580", "590", "595"])
VERSIONS = st.sampled_from(["", "470.256.02", "550.163.01", "580.178.04", "590.48.01"])


@given(ids=CARDS, branch=BRANCHES, version=VERSIONS)
def test_no_remedy_for_a_driver_leads_in_a_circle(ids: list[str], branch: str, version: str) -> None:
    """Each remedy is applied as it stands, until none is left that can be."""
    wanted = {"nvidia_driver_branch": branch} if branch else {}
    wanted |= {"nvidia_driver_version": version} if version else {}
    seen: list[tuple[str, ...]] = []
    while True:
        found = [f for f in findings("gpu1", wanted, gpus=card(*ids)) if f.severity is REFUSE and f.host == "gpu1"]
        state = (*sorted(f"{k}={v}" for k, v in wanted.items()), *(f.message for f in found))
        assert state not in seen, [*seen, state]
        seen.append(state)
        if not found or "different hosts" in found[0].fix:
            return
        if named := re.search(r"nvidia_driver_branch=(\d+)", found[0].fix):
            wanted["nvidia_driver_branch"] = named.group(1)
        if "leave nvidia_driver_version out" in found[0].fix:
            wanted.pop("nvidia_driver_version")


@given(ids=CARDS)
def test_with_the_default_branch_a_host_is_refused_only_for_cards_that_exclude_each_other(ids: list[str]) -> None:
    found = findings("gpu1", gpus=card(*ids))
    mixed = "2b85" in ids and bool({"13f2", "1b06", "1db6"} & set(ids))

    assert [f.fix.split(",")[0] for f in found if f.severity is REFUSE] == (
        ["put the cards into different hosts"] if mixed else []
    )
    old = {"10d8", "06c0", "128b", "102d"}
    assert sum(f.severity is WARN for f in found) == sum(device in old for device in ids)


def test_an_aarch64_host_with_a_driver_is_as_good_as_any() -> None:
    arm, loaded = (
        replace(DEBIAN, arch="aarch64"),
        driver(loaded_version="580.1", library_version="580.1", flavour="open"),
    )

    assert findings("gpu1", os=arm, gpus=card("2342"), driver=loaded) == ()
    assert findings("gpu1", {"nvidia_driver_apt_source": {"url": "https://m/sbsa"}}, os=arm, gpus=card("2941")) == ()
    assert findings("gpu1", {"cluster_gpu": "none"}, os=arm, gpus=card("2941")) == ()
