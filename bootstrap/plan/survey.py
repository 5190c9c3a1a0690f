"""The stations before any change: inventory, probe, checks, plan. Shared by bootstrap, plan, reset and verify."""

from __future__ import annotations

import datetime
import time
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from bootstrap.access import Access
from bootstrap.checks.finding import Finding, Severity
from bootstrap.errors import GpuctlError, Problem, usage_error
from bootstrap.exit_codes import ExitCode
from bootstrap.inventory.model import Inventory
from bootstrap.plan.absence import blocks_everything, problem_of_absent
from bootstrap.plan.arguments import expected_gpus
from bootstrap.plan.cluster_view import ClusterView, node_name, view_cluster
from bootstrap.plan.planner import Decision, decide
from bootstrap.plan.summary import HostSummary, NodeState, Preflight, Readiness
from bootstrap.probe.facts import HostFacts, KubeFacts, ProbeResult, Unreachable


@dataclass(frozen=True, slots=True)
class Survey:
    """What was seen and decided before any change. `decision` is None when something refuses.

    `absent` are hosts that could not be probed, where the others are gone on with.
    """

    inventory: Inventory
    probes: Mapping[str, ProbeResult]
    preflight: Preflight
    decision: Decision | None
    problems: tuple[Problem, ...]
    absent: tuple[Problem, ...] = ()

    @property
    def facts(self) -> dict[str, HostFacts]:
        """The hosts that answered."""
        return {name: probe for name, probe in self.probes.items() if isinstance(probe, HostFacts)}

    @property
    def hosts(self) -> tuple[HostSummary, ...]:
        """One line per host, in the order of the inventory."""
        return tuple(summarise(self.probes[host.name]) for host in self.inventory.hosts)


def probe_hosts(
    inventory: Inventory, access: Access, before: Mapping[str, ProbeResult] | None = None
) -> dict[str, ProbeResult]:
    """Probe all hosts at once. Those that could not be probed `before` are not asked again."""
    from bootstrap.probe.run import probe_all

    lost = {name: probe for name, probe in (before or {}).items() if isinstance(probe, Unreachable)}
    found = probe_all(
        [host for host in inventory.hosts if host.name not in lost],
        become_password=access.become_password,
        accept_new_host_keys=access.accept_new_host_keys,
    )
    return {host.name: lost.get(host.name) or found[host.name] for host in inventory.hosts}


def examine(
    inventory: Inventory,
    probes: Mapping[str, ProbeResult],
    *,
    limit: Collection[str] = (),
    disrupt: bool = False,
    reboot: bool = False,
) -> Survey:
    """Run the checks and the planner over probed hosts; every refusal of every host is in `problems`."""
    from bootstrap.checks.preflight import count_of_checks, preflight

    facts = {name: probe for name, probe in probes.items() if isinstance(probe, HostFacts)}
    lost = [probe for probe in probes.values() if isinstance(probe, Unreachable)]
    findings = preflight(inventory, probes)
    absent: tuple[Problem, ...] = ()
    if lost and not blocks_everything(inventory, facts, lost, _view_of(inventory, facts)):
        findings = tuple(finding for finding in findings if finding.host in facts or finding.host is None)
        absent = tuple(map(problem_of_absent, lost))
    problems = [problem_of(finding) for finding in findings if finding.severity is Severity.REFUSE]
    decision = None
    deciding = (inventory.minikube,) if inventory.minikube else inventory.control_plane
    if any(host.name in facts for host in deciding):
        try:
            decision = decide(inventory, facts, limit=limit, disrupt=disrupt, reboot=reboot)
        except GpuctlError as error:
            known = {(p.host, p.code) for p in problems}
            problems += [p for p in error.problems if (p.host, p.code) not in known]
    checks = Preflight(count_of_checks(inventory, probes), tuple(findings))
    return Survey(inventory, probes, checks, None if problems else decision, tuple(problems), absent)


def _view_of(inventory: Inventory, facts: Mapping[str, HostFacts]) -> ClusterView | None:
    """The cluster, None where it cannot be known."""
    if not any(host.name in facts for host in inventory.control_plane):
        return None
    try:
        return view_cluster(inventory, facts)
    except GpuctlError:  # different clusters: told by the planner
        return None


def resolve_limit(inventory: Inventory, limit: Iterable[str]) -> frozenset[str]:
    """Host names that --limit names, groups spelled out; empty means all.

    Raises:
        GpuctlError: a name is neither a host nor a group (exit 2).
    """
    chosen: set[str] = set()
    for name in limit:
        members = {host.name for host in inventory.hosts if name == host.name or name in host.groups}
        if not members:
            hosts = ", ".join(host.name for host in inventory.hosts)
            raise usage_error(
                f"--limit {name}: no host or group of that name in {inventory.path}", f"hosts are: {hosts}"
            )
        chosen |= members
    return frozenset(chosen)


def problem_of(finding: Finding) -> Problem:
    """A refusing finding as the problem that stops the run."""
    return Problem(finding.code, finding.message, finding.fix, finding.host)


def refuse(problems: Iterable[Problem]) -> None:
    """Raise GpuctlError (preflight, exit 4) when there is any problem."""
    if found := tuple(problems):
        raise GpuctlError(ExitCode.PREFLIGHT, *found)


def readiness(
    inventory: Inventory, facts: Mapping[str, HostFacts], kube: KubeFacts | None, limit: Collection[str] = ()
) -> Readiness:
    """The nodes of the inventory (of --limit, if given) as the API has them, with the GPUs that each should offer."""
    nodes = {node.name: node for node in kube.nodes} if kube else {}
    states = []
    for host in inventory.nodes:
        if host.name not in facts or (limit and host.name not in limit):
            continue
        mine = facts[host.name]
        expected = len(expected_gpus(mine)) if host.settings["cluster_gpu"] != "none" else 0
        node = nodes.get(node_name(mine))
        if node is None:
            reason = kube.error if kube and kube.error else "is not a node of the cluster"
            states.append(NodeState(node_name(mine), False, reason, 0, expected))
        else:
            states.append(NodeState(node.name, node.ready, node.reason, node.allocatable_gpus, expected))
    return Readiness(tuple(states))


def not_ready(state: Readiness) -> tuple[Problem, ...]:
    """What keeps the cluster from being ready, one problem per node; empty when it is."""
    problems = []
    for node in state.nodes:
        if not node.ready:
            fix = f"`kubectl describe node {node.name}`; on the host: `journalctl -u kubelet`"
            problems.append(Problem("node-not-ready", f"node is not Ready: {node.reason}", fix, node.name))
        elif node.gpus_allocatable < node.gpus_expected:
            short = f"{node.gpus_allocatable} of {node.gpus_expected} GPUs allocatable"
            fix = "run `gpuctl verify-gpus`: it names the first broken layer"
            problems.append(Problem("allocatable-short", short, fix, node.name))
    return tuple(problems)


def summarise(probe: ProbeResult) -> HostSummary:
    """One probed host in one line."""
    if isinstance(probe, Unreachable):
        return HostSummary(probe.host, error=probe.message)
    driver = probe.driver
    names = sorted({gpu.name for gpu in driver.gpus})
    return HostSummary(
        name=probe.host,
        os=_os_name(probe),
        cpus=probe.cpus,
        memory_bytes=probe.memory_bytes,
        gpus=len(probe.counted_gpus),
        gpu_model=" + ".join(names),
        simulated=driver.simulated,
        driver=driver.loaded_version,
    )


def last_applied_s(facts: Mapping[str, HostFacts], view: ClusterView) -> float | None:
    """Seconds since the newest receipt was completed; None without receipts."""
    receipts = [receipt for host in facts.values() for receipt in host.receipts.values()]
    receipts += list(view.kube.receipts.values()) if view.kube else []
    times = [str(receipt["completed_at"]) for receipt in receipts if receipt.get("completed_at")]
    if not times:
        return None
    newest = max(datetime.datetime.fromisoformat(text) for text in times)
    return max(0.0, time.time() - newest.timestamp())


def _os_name(facts: HostFacts) -> str:
    return f"{facts.os.id.capitalize()} {facts.os.version_id}".strip()
