"""Each GPU by its UUID: whether pods may ask for it, who holds it, and whether it computed. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from bootstrap.verify.evidence import Evidence
from bootstrap.verify.results import GpuResult


def physical(device: str) -> str:
    """The UUID of the card behind a device of the plugin's: one that is shared has several, "UUID::N"."""
    return device.partition("::")[0]


def is_partitioned(evidence: Evidence) -> bool:
    """Whether pods ask for MIG instances."""
    listed = (evidence.runtime.registered or {}).get(evidence.resource, ())
    return "/mig-" in evidence.resource or any(device.startswith("MIG-") for device in listed)


def offered(evidence: Evidence) -> frozenset[str] | None:
    """The UUIDs that the kubelet offers; None where it is not known which they are."""
    node = evidence.node
    if node is None or not node.allocatable_gpus:
        return frozenset()
    known = frozenset(gpu.uuid for gpu in evidence.facts.driver.gpus)
    if node.allocatable_gpus >= len(evidence.expected) and len(known) == len(evidence.expected):
        return known
    listed = (evidence.runtime.registered or {}).get(evidence.resource)
    if listed is not None and len(listed) == node.allocatable_gpus:  # else it was written before the last change
        return frozenset(map(physical, listed))
    return None


def taken(evidence: Evidence) -> Mapping[str, str]:
    """UUID → pod, of GPUs that other pods hold and that no pod of ours computed on.

    Which pod has which is the kubelet's to say; where it does not, as many as are held have one of the holders.
    """
    computed = evidence.computed
    if computed is None or not computed.held:
        return {}
    reported = {str(device.get("uuid")) for device in computed.devices}
    names = {holder.uid: holder.name for holder in computed.held}
    given = {
        physical(device): names[holding.pod]
        for holding in evidence.runtime.held
        if holding.resource == evidence.resource and holding.pod in names
        for device in holding.ids
    }
    if given:
        return {uuid: name for uuid, name in given.items() if uuid not in reported}
    can = offered(evidence)
    open_ones = [
        gpu.uuid for gpu in evidence.facts.driver.gpus if gpu.uuid not in reported and (can is None or gpu.uuid in can)
    ]
    words = " or ".join(sorted({holder.name for holder in computed.held}))
    return dict.fromkeys(open_ones[: sum(holder.gpus for holder in computed.held)], words)


def gpu_results(evidence: Evidence) -> tuple[GpuResult, ...]:
    """One result per GPU that should be there."""
    listed = {gpu.pci: gpu for gpu in evidence.facts.driver.gpus}
    on_bus = {gpu.address for gpu in evidence.facts.counted_gpus}
    reports = {str(d.get("uuid")): d for d in evidence.computed.devices} if evidence.computed else {}
    can, holders = offered(evidence), taken(evidence)
    lost = {gpu.pci: gpu.error for gpu in evidence.facts.driver.lost}
    results = []
    for pci in sorted(evidence.expected | on_bus):
        gpu = listed.get(pci)
        report = reports.get(gpu.uuid) if gpu else None
        is_offered = gpu is not None and (report is not None or can is None or gpu.uuid in can)
        computed = bool(report and report.get("ok"))
        passed = pci in on_bus and is_offered and computed
        holder = holders.get(gpu.uuid, "") if gpu else ""
        why = lost.get(pci, evidence.facts.driver.nvml_error or "on the bus but not in NVML")
        detail = "" if passed or holder else _detail(pci in on_bus, gpu is not None, is_offered, report, why)
        results.append(
            GpuResult(
                pci=pci,
                uuid=gpu.uuid if gpu else None,
                index=gpu.index if gpu else None,
                name=gpu.name if gpu else "",
                allocatable=is_offered,
                computed=computed,
                passed=passed,
                detail=detail,
                taken_by=holder,
            )
        )
    return tuple(results)


def _detail(on_bus: bool, in_nvml: bool, is_offered: bool, report: Mapping[str, object] | None, why: str) -> str:
    if not on_bus:
        return "not on the PCI bus"
    if not in_nvml:
        return why
    if report:
        return str(report.get("error") or "wrong result")
    return "no pod computed on it" if is_offered else "pods cannot ask for it"
