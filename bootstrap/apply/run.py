"""The verbs that plan and change hosts: plan, bootstrap. Each reads as the list of its stations."""

from __future__ import annotations

import time
from collections.abc import Collection

from bootstrap.apply.access_kubeconfig import bring_kubeconfig
from bootstrap.apply.disrupt import drained
from bootstrap.apply.execute import Execution, sweep_private_directories
from bootstrap.apply.join_material import take_back_join_material
from bootstrap.apply.launch_check import check_launch_server, launch_secrets
from bootstrap.apply.lock import LockWatch, hold_locks
from bootstrap.apply.outcomes import exit_code_of, outcomes_of, unchanged
from bootstrap.apply.requests import BootstrapRequest, PlanRequest
from bootstrap.apply.results import BootstrapResult, PlanResult, Readiness
from bootstrap.apply.steps import file_plan, refuse_unallowed, run_steps
from bootstrap.apply.view import ApplyView
from bootstrap.apply.waiting import wait_for_leftovers, wait_until_ready
from bootstrap.errors import Problem
from bootstrap.exit_codes import ExitCode, strongest
from bootstrap.hostside.gpuctl_url import logins
from bootstrap.inventory.load import load_inventory
from bootstrap.inventory.model import Inventory
from bootstrap.plan.cluster_view import node_name
from bootstrap.plan.launch_arguments import check_launch_settings
from bootstrap.plan.minikube_plan import refuse_minikube
from bootstrap.plan.model import Step
from bootstrap.plan.planner import Decision, installed_components
from bootstrap.plan.survey import (
    Survey,
    examine,
    last_applied_s,
    not_ready,
    probe_hosts,
    readiness,
    refuse,
    resolve_limit,
)


def plan(request: PlanRequest, view: ApplyView) -> PlanResult:
    """Probe, check and plan; nothing is changed.

    Raises:
        GpuctlError: settings (3), or a refusal (4).
    """
    begun = time.monotonic()
    inventory = load_inventory(request.inventory)
    refuse_minikube(inventory, "plan")
    check_launch_settings(inventory)
    limit = resolve_limit(inventory, request.limit)
    survey = look(inventory, request, limit, view, begun)
    decision = decided(survey)
    view.planned(decision.plan)
    kube, absent = decision.view.kube, counted_absent(survey, request, limit)
    return PlanResult(
        exit_code=ExitCode.PREFLIGHT if absent else ExitCode.OK,
        cluster_name=inventory.cluster_name,
        hosts=survey.hosts,
        preflight=survey.preflight,
        plan=decision.plan,
        elapsed_s=time.monotonic() - begun,
        readiness=readiness(inventory, survey.facts, kube) if kube else None,
        components=installed_components(inventory, survey.facts, decision),
        last_applied_s=last_applied_s(survey.facts, decision.view),
        problems=absent,
    )


def bootstrap(request: BootstrapRequest, view: ApplyView) -> BootstrapResult:
    """Make the hosts what the inventory wants, and wait until the API says that they are.

    Raises:
        GpuctlError: settings (3), refused before any change (4), needs a flag that was not given (8).
    """
    begun = time.monotonic()
    sweep_private_directories()
    inventory = load_inventory(request.inventory)
    refuse_minikube(inventory, "bootstrap")
    check_launch_settings(inventory)
    limit = resolve_limit(inventory, request.limit)
    survey = look(inventory, request, limit, view, begun)
    decision = decided(survey)
    view.planned(decision.plan)
    file_plan(request.run, decision)
    if decision.plan.empty:
        return _nothing_to_do(request, inventory, survey, decision, begun)
    refuse_unallowed(decision)
    check_launch_server(decision.plan.steps, decision.arguments.by_host[decision.view.seed])
    with hold_locks(inventory, request.access, request.run.id, hosts=survey.facts) as watch:
        survey, decision = _confirmed(request, inventory, survey, limit, view)
        if decision.plan.empty:
            return _nothing_to_do(request, inventory, survey, decision, begun)
        executions = _apply(request, inventory, survey, decision, view, watch)
        return _finish(request, inventory, survey, decision, executions, view, begun)


def _confirmed(
    request: BootstrapRequest, inventory: Inventory, survey: Survey, limit: Collection[str], view: ApplyView
) -> tuple[Survey, Decision]:
    """Look and decide again, now that nobody else changes the hosts: another run may have until a moment ago.

    Raises:
        GpuctlError: a refusal that was none before (exit 4, 8).
    """
    planned = decided(survey).plan
    if any(facts.unfinished for facts in survey.facts.values()):
        wait_for_leftovers(inventory, request.access, view, survey.probes)
    probes = probe_hosts(inventory, request.access, survey.probes)
    survey = examine(inventory, probes, limit=limit, disrupt=request.disrupt, reboot=request.reboot)
    decision = decided(survey)
    if decision.plan != planned:
        view.planned(decision.plan)
        file_plan(request.run, decision)
    refuse_unallowed(decision)
    return survey, decision


def look(
    inventory: Inventory, request: BootstrapRequest | PlanRequest, limit: Collection[str], view: ApplyView, begun: float
) -> Survey:
    """Probe, check and decide, and tell the view.

    Raises:
        GpuctlError: a host that cannot be read, or a refusal (exit 4).
    """
    request.run.redactor.add(*{login for host in inventory.hosts for login in logins(host.settings)})
    probes = probe_hosts(inventory, request.access)
    disrupt = isinstance(request, BootstrapRequest) and request.disrupt
    reboot = isinstance(request, BootstrapRequest) and request.reboot
    survey = examine(inventory, probes, limit=limit, disrupt=disrupt, reboot=reboot)
    view.probed(survey.hosts, time.monotonic() - begun)
    view.checked(survey.preflight)
    refuse(survey.problems)
    if survey.decision:
        for secret in launch_secrets(survey.decision.arguments.by_host[survey.decision.view.seed]):
            request.run.redactor.add(secret)
    return survey


def decided(survey: Survey) -> Decision:
    """The decision of a survey that nothing refuses."""
    refuse(survey.problems)
    if survey.decision is None:
        refuse([Problem("unreachable", "no control plane host could be probed", "see the findings above")])
        raise AssertionError("unreachable")
    return survey.decision


def _nothing_to_do(
    request: BootstrapRequest, inventory: Inventory, survey: Survey, decision: Decision, begun: float
) -> BootstrapResult:
    """The second run: nothing changes, but it still looks."""
    limit = resolve_limit(inventory, request.limit)
    state = readiness(inventory, survey.facts, decision.view.kube, limit)
    problems, absent = not_ready(state), counted_absent(survey, request, limit)
    seed = inventory.host(decision.view.seed)
    return BootstrapResult(
        exit_code=strongest(*[ExitCode.NOT_READY] * bool(problems), *_code_without(absent, survey, limit)),
        cluster_name=inventory.cluster_name,
        hosts=survey.hosts,
        preflight=survey.preflight,
        plan=decision.plan,
        elapsed_s=time.monotonic() - begun,
        outcomes=unchanged(inventory, lost_hosts(survey)),
        readiness=state,
        kubeconfig=bring_kubeconfig(request, seed, inventory.cluster_name, only_if_missing=True),
        components=installed_components(inventory, survey.facts, decision),
        last_applied_s=last_applied_s(survey.facts, decision.view),
        problems=problems + absent,
    )


def lost_hosts(survey: Survey) -> frozenset[str]:
    """Names of the hosts that could not be probed."""
    return frozenset(survey.probes) - frozenset(survey.facts)


def counted_absent(
    survey: Survey, request: BootstrapRequest | PlanRequest, limit: Collection[str]
) -> tuple[Problem, ...]:
    """The hosts that could not be reached, where that is a failure: not outside of --limit, nor with the option."""
    if request.skip_unreachable:
        return ()
    return tuple(problem for problem in survey.absent if not limit or problem.host in limit)


def _code_without(absent: Collection[Problem], survey: Survey, limit: Collection[str]) -> tuple[ExitCode, ...]:
    """7 where other hosts were looked after, 4 where none was."""
    if not absent:
        return ()
    others = [name for name in survey.facts if not limit or name in limit]
    return (ExitCode.PARTIAL if others else ExitCode.PREFLIGHT,)


def _apply(
    request: BootstrapRequest,
    inventory: Inventory,
    survey: Survey,
    decision: Decision,
    view: ApplyView,
    watch: LockWatch,
) -> tuple[Execution, ...]:
    """Run the steps: those that disrupt nobody together, then the disrupting hosts one by one."""
    disrupting = {step.host for step in decision.plan.steps if step.effect.disrupts}
    together = [step for step in decision.plan.steps if step.host not in disrupting]
    executions = [_execute(request, inventory, decision, together, view, watch)] if together else []
    for host in [h.name for h in inventory.hosts if h.name in disrupting]:
        if any(execution.problems or execution.stopped for execution in executions):
            break
        mine = [step for step in decision.plan.steps if step.host == host]
        seed = inventory.host(decision.view.seed)
        with drained(seed, node_name(survey.facts[host]), decision.view, request.access, view) as emptied:
            executions.append(_execute(request, inventory, decision, mine, view, watch))
            emptied.succeeded = not executions[-1].problems and not executions[-1].stopped
    joins = any(step.component == "kubeadm" for step in decision.plan.steps)
    if joins and any(execution.problems or execution.stopped for execution in executions):
        take_back_join_material(inventory.host(decision.view.seed), request.access)
    return tuple(executions)


def _execute(
    request: BootstrapRequest,
    inventory: Inventory,
    decision: Decision,
    steps: list[Step],
    view: ApplyView,
    watch: LockWatch,
) -> Execution:
    extra = {"gpuctl_force_conflicts": request.force_conflicts, "gpuctl_reboot_ok": request.reboot}
    return run_steps("site.yml", inventory, decision, steps, request.run, request.access, view, extra, watch)


def _finish(
    request: BootstrapRequest,
    inventory: Inventory,
    survey: Survey,
    decision: Decision,
    executions: tuple[Execution, ...],
    view: ApplyView,
    begun: float,
) -> BootstrapResult:
    """Wait for readiness unless something failed, bring the kubeconfig home, and sum up."""
    problems = tuple(p for execution in executions for p in execution.problems)
    stopped = any(execution.stopped for execution in executions)
    state: Readiness | None = None
    kubeconfig = None
    limit = resolve_limit(inventory, request.limit)
    if not problems and not stopped:
        state, late = wait_until_ready(inventory, decision.view.seed, survey.facts, request.access, view, limit)
        problems += late
        kubeconfig = bring_kubeconfig(
            request, inventory.host(decision.view.seed), inventory.cluster_name, only_if_missing=False
        )
    absent = counted_absent(survey, request, limit)
    outcomes = outcomes_of(inventory, decision, executions, lost_hosts(survey))
    reached = [outcome for outcome in outcomes if outcome.host in survey.facts]
    code = exit_code_of(reached, executions, state, stopped=stopped)
    return BootstrapResult(
        exit_code=strongest(code, *_code_without(absent, survey, limit)),
        cluster_name=inventory.cluster_name,
        hosts=survey.hosts,
        preflight=survey.preflight,
        plan=decision.plan,
        elapsed_s=time.monotonic() - begun,
        outcomes=outcomes,
        readiness=state,
        kubeconfig=kubeconfig,
        components=installed_components(inventory, survey.facts, decision),
        last_applied_s=0.0,
        problems=problems + absent,
    )
