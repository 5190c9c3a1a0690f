"""What all checks share: the shape of a check, and what a host's receipts say about it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bootstrap.checks.finding import Finding, Severity

if TYPE_CHECKING:
    from bootstrap.inventory.model import Host, Inventory
    from bootstrap.probe.facts import HostFacts

HostCheck = Callable[["Host", "HostFacts"], Iterable[Finding]]
ClusterCheck = Callable[["Inventory", Mapping[str, "HostFacts"]], Iterable[Finding]]


@dataclass(frozen=True, slots=True)
class Say:
    """Makes findings of one host and one code."""

    host: str | None
    code: str

    def refuse(self, message: str, fix: str) -> Finding:
        """Something that stops the run before any change."""
        return Finding(self.host, self.code, Severity.REFUSE, message, fix)

    def repair(self, message: str, fix: str) -> Finding:
        """Something that the run repairs on the way; `fix` says how."""
        return Finding(self.host, self.code, Severity.FIX, message, fix)

    def warn(self, message: str, fix: str) -> Finding:
        """Something to know that stops nothing."""
        return Finding(self.host, self.code, Severity.WARN, message, fix)


def complete(facts: HostFacts, component: str) -> bool:
    """Whether the component was installed to its end here."""
    return facts.receipts.get(component, {}).get("state") == "complete"


def begun(facts: HostFacts, component: str) -> bool:
    """Whether gpuctl ever started to install the component here."""
    return component in facts.receipts


def in_cluster(facts: HostFacts) -> bool:
    """Whether the host is, or is being made, a node: what Kubernetes itself put there is then no fault."""
    return facts.cluster.kubelet_conf or facts.cluster.admin_conf or begun(facts, "kubeadm")


def wants_driver(host: Host, facts: HostFacts) -> bool:
    """Whether this run would install a driver here: GPUs wanted and present, none loaded that is adopted."""
    settings = host.settings
    if settings.get("cluster_gpu") == "none" or not facts.counted_gpus:
        return False
    manage = settings.get("nvidia_driver_manage", "auto")
    adopted = manage == "auto" and facts.driver.loaded_version is not None and not facts.driver.foreign
    return manage != "never" and not adopted and not complete(facts, "nvidia_driver")


def free_at(facts: HostFacts, path: str) -> int | None:
    """Bytes free where a path is, or will be: of the nearest place above it that was measured; None without one."""
    place = path
    while place not in facts.disk_free_bytes and place != "/":
        place = place.rpartition("/")[0] or "/"
    return facts.disk_free_bytes.get(place)


def gib(size: float) -> str:
    """A size in bytes as people say it."""
    return f"{size / 2**30:.1f} GiB"
