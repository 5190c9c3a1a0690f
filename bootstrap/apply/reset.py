"""`gpuctl reset`: undo what the receipts say that gpuctl did, in reverse order, and nothing else."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping
from dataclasses import replace

from bootstrap.apply.execute import Execution, execute, private_directory, sweep_private_directories
from bootstrap.apply.lock import LockWatch, hold_locks
from bootstrap.apply.requests import ResetRequest
from bootstrap.apply.results import HostOutcome, Outcome, ResetResult
from bootstrap.apply.run_inventory import write_run_inventory
from bootstrap.apply.view import ApplyView
from bootstrap.apply.waiting import wait_for_leftovers
from bootstrap.errors import GpuctlError, Problem
from bootstrap.exit_codes import ExitCode
from bootstrap.inventory.load import load_inventory
from bootstrap.inventory.model import Inventory
from bootstrap.inventory.schema import components
from bootstrap.kube.kubeconfig import context_name, remove
from bootstrap.plan.absence import problem_of_absent
from bootstrap.plan.arguments import resolve_arguments
from bootstrap.plan.cluster_view import ClusterView, node_name, view_cluster
from bootstrap.plan.model import Effect, Step
from bootstrap.plan.summary import HostSummary
from bootstrap.plan.survey import probe_hosts, refuse, resolve_limit, summarise
from bootstrap.probe.facts import HostFacts, ProbeResult, Unreachable

_MINIKUBE_ONLY = frozenset({"docker", "minikube"})


def reset(request: ResetRequest, view: ApplyView) -> ResetResult:
    """Undo every component that has a receipt on the chosen hosts; a living cluster forgets the nodes that left it.

    Nothing is drained: the pods on these nodes end, and controllers start them again elsewhere.

    Raises:
        GpuctlError: settings (3), a chosen host that cannot be reached, or a control plane that others need (4).
    """
    begun = time.monotonic()
    sweep_private_directories()
    inventory = load_inventory(request.inventory)
    chosen = asked = resolve_limit(inventory, request.limit) or frozenset(host.name for host in inventory.hosts)
    probes = probe_hosts(inventory, request.access)
    if request.skip_unreachable:
        chosen = frozenset(name for name in chosen if isinstance(probes[name], HostFacts))
    hosts = tuple(summarise(probes[host.name]) for host in inventory.hosts)
    view.probed(hosts, time.monotonic() - begun)
    refuse(_refusals(inventory, probes, chosen, asked))
    facts = _reached(probes)
    kept = foreign_clusters(inventory, facts, chosen)
    whole = all(host.name in asked for host in inventory.hosts)
    steps = removal_steps(inventory, facts, chosen)
    leaving = leaving_nodes(acting_view(inventory, facts, chosen), facts, chosen)
    if not steps and not leaving:
        removed = _forget_access(request, inventory) if whole else False
        return _result(inventory, hosts, (), begun, removed=removed, kept=kept)
    if not request.yes and not view.confirm(_question(steps, leaving, whole, purge=request.purge)):
        problem = Problem("not-confirmed", "not confirmed; nothing was changed", "answer yes, or give --yes")
        return _result(inventory, hosts, (), begun, removed=False, problems=(problem,), code=ExitCode.USAGE)
    with hold_locks(inventory, request.access, request.run.id, hosts=facts) as watch:
        facts = _facts_now(request, inventory, probes, chosen, asked, view)
        steps = removal_steps(inventory, facts, chosen)
        execution = _execute(request, inventory, facts, steps, chosen, view, watch)
    outcomes = tuple(_outcome(host.name, steps, execution) for host in inventory.hosts)
    code = exit_code_of(outcomes, execution)
    problems, gone = execution.problems or _unfinished(code), False
    if whole and code is ExitCode.OK:
        try:
            gone = _forget_access(request, inventory)
        except GpuctlError as error:  # the hosts are done: not to be told as a refusal
            problems, code = error.problems, error.exit_code
    return _result(inventory, hosts, outcomes, begun, removed=gone, problems=problems, code=code, kept=kept)


def acting_view(inventory: Inventory, facts: Mapping[str, HostFacts], chosen: Collection[str]) -> ClusterView:
    """The cluster that the chosen hosts leave; its seed, which forgets them, stays where a control plane stays.

    Where hosts hold different clusters, resetting some is the remedy, so none of them is taken for the cluster.
    """
    staying = [h.name for h in inventory.control_plane if h.name in facts and h.name not in chosen]
    scope = {name: facts[name] for name in facts if (name not in chosen if staying else name in chosen)}
    try:
        seen = view_cluster(inventory, scope)
    except GpuctlError:
        seen = ClusterView(seed=inventory.control_plane[0].name, exists=True, kube=None)
    if staying and seen.seed not in staying:
        seen = ClusterView(seed=staying[0], exists=seen.exists, kube=None)
    return seen


def leaving_nodes(seen: ClusterView, facts: Mapping[str, HostFacts], chosen: Collection[str]) -> list[str]:
    """Nodes that the staying cluster is to forget: of chosen hosts that leave it now, or had before a run was cut off.

    A host that somebody else made a node keeps its kubelet, so it stays one.
    """
    if seen.seed in chosen:
        return []
    leave = [host for host in chosen if "kubeadm" in facts[host].receipts or not facts[host].cluster.kubelet_conf]
    return sorted(name for name in (node_name(facts[host]) for host in leave) if name in seen.nodes)


def foreign_clusters(inventory: Inventory, facts: Mapping[str, HostFacts], chosen: Collection[str]) -> tuple[str, ...]:
    """What reset leaves on the chosen hosts, as it undoes only what has a receipt."""
    return tuple(
        f"{host.name}: a cluster that gpuctl did not make; undo it with `kubeadm reset`"
        for host in inventory.hosts
        if host.name in chosen
        and "kubeadm" not in facts[host.name].receipts
        and (facts[host.name].cluster.kubelet_conf or facts[host.name].cluster.admin_conf)
    )


def exit_code_of(outcomes: Collection[HostOutcome], execution: Execution) -> ExitCode:
    """OK only when every host came through."""
    ends = {outcome.outcome for outcome in outcomes}
    if execution.stopped:
        return ExitCode.INTERRUPTED
    if execution.problems and Outcome.DONE in ends:
        return ExitCode.PARTIAL
    complete = not execution.problems and ends <= {Outcome.DONE, Outcome.UNCHANGED}
    return ExitCode.OK if complete else ExitCode.STEP_FAILED


def _forget_access(request: ResetRequest, inventory: Inventory) -> bool:
    """Remove the cluster's context. That of a minikube cluster is minikube's, and goes with its profile."""
    return inventory.minikube is None and remove(request.kubeconfig, inventory.cluster_name)


def _unfinished(code: ExitCode) -> tuple[Problem, ...]:
    """Why hosts are not done where no step failed."""
    fix = "run the same command again: it goes on from there"
    if code is ExitCode.INTERRUPTED:
        return (Problem("interrupted", "interrupted: not every component was undone", fix),)
    return (Problem("ansible-failed", "not every component was undone", fix),) if code is not ExitCode.OK else ()


def _reached(probes: Mapping[str, ProbeResult]) -> dict[str, HostFacts]:
    return {name: probe for name, probe in probes.items() if isinstance(probe, HostFacts)}


def _facts_now(
    request: ResetRequest,
    inventory: Inventory,
    before: Mapping[str, ProbeResult],
    chosen: Collection[str],
    asked: Collection[str],
    view: ApplyView,
) -> dict[str, HostFacts]:
    """The locked hosts as they are now that nobody else changes them: a question may have been open for an hour."""
    probes = probe_hosts(inventory, request.access, before)
    if any(facts.unfinished for facts in _reached(probes).values()):
        wait_for_leftovers(inventory, request.access, view, before)
        probes = probe_hosts(inventory, request.access, before)
    refuse(_refusals(inventory, probes, chosen, asked))
    return _reached(probes)


def removal_steps(inventory: Inventory, facts: Mapping[str, HostFacts], chosen: Collection[str]) -> tuple[Step, ...]:
    """What has a receipt on the chosen hosts, last installed first. The cluster's own objects go with the cluster."""
    steps = []
    for component in reversed(components()):
        if component.scope == "cluster":
            continue
        for host in inventory.hosts:
            if host.name in chosen and component.name in facts[host.name].receipts:
                steps.append(Step(host.name, component.name, "remove", ("reset",), Effect.NONE))
    return tuple(steps)


def _refusals(
    inventory: Inventory, probes: Mapping[str, ProbeResult], chosen: Collection[str], asked: Collection[str]
) -> list[Problem]:
    """`asked` are the hosts that are to go, `chosen` those of them that are gone on with."""
    problems = [
        problem_of_absent(probe) for probe in probes.values() if isinstance(probe, Unreachable) and probe.host in chosen
    ]
    left = [host for host in inventory.nodes if host.name not in asked]
    if left and not any(host.is_control_plane for host in left):
        fix = "reset the whole cluster (no --limit), or leave a control plane out of --limit"
        names = ", ".join(host.name for host in left)
        problems.append(Problem("last-control-plane", f"{names} would be left without a control plane", fix))
    return problems


def _question(steps: Collection[Step], leaving: Collection[str], whole: bool, *, purge: bool) -> str:
    if not steps:
        return f"The hosts of nodes {', '.join(leaving)} have left: the cluster will forget these nodes. Continue?"
    hosts = list(dict.fromkeys(step.host for step in steps))
    if any(step.component in _MINIKUBE_ONLY for step in steps):
        return f"Undo {len(steps)} components on {', '.join(hosts)}? A minikube cluster there will not run any more."
    what = "the cluster and everything that runs on it" if whole else "these nodes and the pods on them"
    if purge and any(step.component == "nfs_server" for step in steps):
        what += ", and all data of the NFS export where gpuctl made its folder,"
    return f"Undo {len(steps)} components on {', '.join(hosts)}: {what} will be gone. Continue?"


def _execute(
    request: ResetRequest,
    inventory: Inventory,
    facts: Mapping[str, HostFacts],
    steps: Collection[Step],
    chosen: Collection[str],
    view: ApplyView,
    watch: LockWatch,
) -> Execution:
    seen = acting_view(inventory, facts, chosen)
    arguments = resolve_arguments(inventory, facts, seen).by_host
    with private_directory() as private:
        inventory_file, stop_file = private / "inventory.yml", private / "stop"
        write_run_inventory(
            inventory_file,
            inventory,
            arguments,
            steps,
            seed=seen.seed,
            run_id=request.run.id,
            stop_file=stop_file,
            extra={"gpuctl_leaving_nodes": leaving_nodes(seen, facts, chosen), "gpuctl_purge": request.purge},
            become_password=request.access.become_password,
        )
        with watch.stopping(stop_file):
            done = execute("reset.yml", private, inventory_file, stop_file, request.run, view, len(inventory.hosts))
    return replace(done, problems=(*done.problems, *watch.problems))


def _outcome(host: str, steps: Collection[Step], execution: Execution) -> HostOutcome:
    wanted = [step.component for step in steps if step.host == host]
    run = execution.hosts.get(host)
    if not wanted or run is None:
        return HostOutcome(host, Outcome.NOT_STARTED if wanted else Outcome.UNCHANGED)
    completed = tuple(run.completed)
    if run.problem:
        return HostOutcome(host, Outcome.FAILED, completed, run.current, run.changed, "run the same command again")
    if set(wanted) - set(completed):
        return HostOutcome(host, Outcome.STOPPED, completed, run.current, run.changed)
    return HostOutcome(host, Outcome.DONE, completed, None, run.changed)


def _result(
    inventory: Inventory,
    hosts: tuple[HostSummary, ...],
    outcomes: tuple[HostOutcome, ...],
    begun: float,
    *,
    removed: bool,
    kept: tuple[str, ...] = (),
    problems: tuple[Problem, ...] = (),
    code: ExitCode = ExitCode.OK,
) -> ResetResult:
    return ResetResult(
        exit_code=code,
        cluster_name=inventory.cluster_name,
        hosts=hosts,
        outcomes=outcomes or tuple(HostOutcome(host.name, Outcome.UNCHANGED) for host in inventory.hosts),
        elapsed_s=time.monotonic() - begun,
        kept=kept,
        kubeconfig_removed=context_name(inventory.cluster_name) if removed else None,
        problems=problems,
    )
