"""Preflight: every check over every host, all findings in one report, before anything is changed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from bootstrap.checks import cluster, docker, driver, gpu, hosts, identity, launch, network, nfs, packages, storage
from bootstrap.checks.common import ClusterCheck, HostCheck
from bootstrap.checks.finding import Finding, Severity
from bootstrap.probe.facts import HostFacts, ProbeResult, Unreachable

if TYPE_CHECKING:
    from bootstrap.inventory.model import Host, Inventory

HOST_CHECKS: tuple[HostCheck, ...] = (
    hosts.root,
    hosts.operating_system,
    hosts.architecture,
    hosts.hostname,
    hosts.lock,
    hosts.package_lock,
    hosts.ssh_options,
    hosts.malformed,
)
GPU_CHECKS: tuple[HostCheck, ...] = (
    gpu.missing,
    gpu.left_out,
    gpu.unsupported,
    gpu.nouveau,
    gpu.foreign,
    gpu.mismatch,
    driver.library,
    driver.versions,
    driver.sources,
    driver.secure_boot,
    driver.headers,
    gpu.fabric,
)
# What only a node of the cluster must fulfil.
NODE_CHECKS: tuple[HostCheck, ...] = (
    storage.disk,
    storage.memory,
    storage.processors,
    storage.swap,
    storage.cgroups,
    storage.kernel_modules,
    storage.inotify,
    network.ports,
    network.interfaces,
    network.firewall,
    network.resolver,
    packages.container_runtime,
    packages.kept_containerd,
    gpu.unasked,
    *GPU_CHECKS,
)
# What the host of a minikube cluster must fulfil: the node is a container, so little else of the host matters.
MINIKUBE_CHECKS: tuple[HostCheck, ...] = (
    docker.too_old,
    docker.rivals,
    docker.thrown_out,
    docker.kubelet,
    docker.masked,
    docker.hardened,
    docker.room,
    gpu.display,
    driver.minikube_program,
    *GPU_CHECKS,
)
CLUSTER_CHECKS: tuple[ClusterCheck, ...] = (
    identity.duplicates,
    identity.renamed,
    identity.foreign_receipts,
    hosts.clocks,
    network.proxies,
    network.ranges,
    cluster.leftovers,
    nfs.pseudo_root,
    launch.unencrypted_key,
)


def preflight(inventory: Inventory, probes: Mapping[str, ProbeResult]) -> tuple[Finding, ...]:
    """All findings, in the order of the inventory's hosts; what concerns no one host comes last. Pure."""
    facts = {name: found for name, found in probes.items() if isinstance(found, HostFacts)}
    findings = [
        Finding(name, found.code, Severity.REFUSE, found.message, found.fix)
        for name, found in probes.items()
        if isinstance(found, Unreachable)
    ]
    for host in inventory.hosts:
        if host.name in facts:
            findings += [finding for check in _checks_of(host) for finding in check(host, facts[host.name])]
    findings += hosts.inventory_notes(inventory)
    findings += [finding for check in CLUSTER_CHECKS for finding in check(inventory, facts)]
    order = {host.name: position for position, host in enumerate(inventory.hosts)}
    unique = dict.fromkeys(findings)
    return tuple(sorted(unique, key=lambda finding: order.get(finding.host or "", len(order))))


def count_of_checks(inventory: Inventory, probes: Mapping[str, ProbeResult]) -> int:
    """How many checks `preflight` makes: reachability and each host check per host, and those over all hosts."""
    answered = [host for host in inventory.hosts if isinstance(probes.get(host.name), HostFacts)]
    return len(inventory.hosts) + sum(len(_checks_of(host)) + len(CLUSTER_CHECKS) for host in answered)


def _checks_of(host: Host) -> tuple[HostCheck, ...]:
    if host.is_minikube:
        return (*HOST_CHECKS, *MINIKUBE_CHECKS)
    return (*HOST_CHECKS, *NODE_CHECKS) if host.is_node else HOST_CHECKS
