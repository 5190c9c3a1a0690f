"""`gpuctl addon`: the optional parts of a living cluster, each brought and taken away by itself."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace

from bootstrap.apply.addon_follow import letting_go, limited
from bootstrap.apply.addon_look import asking, states, unknown, wait_until_served
from bootstrap.apply.addon_model import AddonRequest, AddonState, AddResult, InventoryChange, ListResult, RemoveResult
from bootstrap.apply.execute import Execution, sweep_private_directories
from bootstrap.apply.lock import LockWatch, hold_locks
from bootstrap.apply.outcomes import exit_code_of, outcomes_of, unchanged
from bootstrap.apply.requests import PlanRequest
from bootstrap.apply.run import decided, look
from bootstrap.apply.steps import file_plan, refuse_unallowed, run_steps
from bootstrap.apply.view import ApplyView
from bootstrap.apply.waiting import wait_for_leftovers
from bootstrap.errors import GpuctlError, Problem
from bootstrap.exit_codes import ExitCode
from bootstrap.inventory.edit import Edit, plan_edit, write_edit, written
from bootstrap.inventory.load import load_inventory
from bootstrap.inventory.model import Inventory
from bootstrap.inventory.overlay import with_settings
from bootstrap.kube.addons import InUse, in_use
from bootstrap.plan.addons import SETTING, Addon, addons_named, known_addons, receipt_of, wanted_addons
from bootstrap.plan.arguments import resolve_arguments
from bootstrap.plan.cluster_view import ClusterView, view_cluster
from bootstrap.plan.launch_arguments import check_launch_settings
from bootstrap.plan.minikube_plan import refuse_minikube
from bootstrap.plan.model import CLUSTER, Effect, Plan, Step
from bootstrap.plan.planner import Decision
from bootstrap.plan.survey import examine, probe_hosts, refuse, summarise
from bootstrap.probe.facts import HostFacts, Unreachable

REMOVAL = "addon_remove.yml"


def list_addons(request: AddonRequest) -> ListResult:
    """Every addon that gpuctl knows, as the inventory and the cluster have it. Nothing is changed.

    Raises:
        GpuctlError: settings (3), no host with the cluster's API can be read (4), the API does not answer (6).
    """
    begun = time.monotonic()
    inventory = load_inventory(request.inventory)
    asked = replace(inventory, hosts=inventory.api_hosts)
    facts = _facts(asked, request)
    view = view_cluster(inventory, facts)
    wanted = wanted_addons(inventory)
    if view.kube is None:
        kube = facts[view.seed].kube if view.seed in facts else None
        why = f"the API on {view.seed} does not answer: {(kube and kube.error) or 'no access was found'}"
        note = why if view.exists else "there is no cluster yet"
        found = tuple(unknown(addon, wanted) for addon in known_addons())
        return ListResult(inventory.cluster_name, found, time.monotonic() - begun, note)
    with asking(inventory.host(view.seed), request.access) as cluster:
        found = states(known_addons(), wanted, view, cluster)
    return ListResult(inventory.cluster_name, found, time.monotonic() - begun)


def add(request: AddonRequest, view: ApplyView) -> AddResult:
    """Put addons into the inventory's list, and into the cluster: what bootstrap would do for them, and no more.

    Raises:
        GpuctlError: settings, or an inventory that cannot be changed (3), refused before any change (4, 6), no such
            addon (2).
    """
    begun = time.monotonic()
    sweep_private_directories()
    addons = addons_named(request.names)
    inventory = load_inventory(request.inventory)
    refuse_minikube(inventory, "addon add")
    check_launch_settings(inventory)
    listed = wanted_addons(inventory)
    wanted = (*listed, *(addon.name for addon in addons if addon.name not in listed))
    edit = _edit(request, inventory, wanted)
    asked = with_settings(inventory, (), {SETTING: list(wanted)})
    survey = look(asked, PlanRequest(request.inventory, request.run, request.access), (), view, begun)
    decision = limited(decided(survey), addons)
    _need_cluster(decision.view)
    view.planned(decision.plan)
    file_plan(request.run, decision)
    refuse_unallowed(decision)
    with hold_locks(inventory, request.access, request.run.id, hosts=survey.facts) as watch:
        if any(facts.unfinished for facts in survey.facts.values()):
            wait_for_leftovers(inventory, request.access, view, survey.probes)
        # As it is now that nobody else changes the hosts.
        decision = limited(decided(examine(asked, probe_hosts(asked, request.access, survey.probes))), addons)
        _need_cluster(decision.view)
        refuse_unallowed(decision)
        _write(edit, inventory)
        executions = _install(request, asked, decision, view, watch)
    problems = tuple(problem for execution in executions for problem in execution.problems)
    outcomes = outcomes_of(inventory, decision, executions)
    code = _code(inventory, decision, executions)
    found: tuple[AddonState, ...] = ()
    if code is ExitCode.OK:
        seed = inventory.host(decision.view.seed)
        found, problems = wait_until_served(addons, wanted, seed, request.access, view)
        code = ExitCode.NOT_READY if problems else code
    return AddResult(
        exit_code=code,
        cluster_name=inventory.cluster_name,
        addons=found,
        plan=decision.plan,
        outcomes=outcomes,
        elapsed_s=time.monotonic() - begun,
        inventory=_told(edit, inventory, wanted, listed),
        problems=problems or _unfinished(code),
    )


def remove(request: AddonRequest, view: ApplyView) -> RemoveResult:
    """Take addons out of the cluster and out of the inventory's list, unless an object of somebody needs one.

    Raises:
        GpuctlError: settings, or an inventory that cannot be changed (3), no cluster or none that answers (4, 6), no
            such addon (2).
    """
    begun = time.monotonic()
    sweep_private_directories()
    addons = addons_named(request.names)
    inventory = load_inventory(request.inventory)
    refuse_minikube(inventory, "addon remove")
    listed = wanted_addons(inventory)
    wanted = tuple(name for name in listed if name not in {addon.name for addon in addons})
    edit = _edit(request, inventory, wanted)
    facts = _facts(inventory, request, view, begun)
    seen = view_cluster(inventory, facts)
    _need_cluster(seen)
    blank = RemoveResult(ExitCode.OK, inventory.cluster_name, (), (), unchanged(inventory), 0.0)
    present = _present(addons, seen)
    if not present:
        _write(edit, inventory)
        told = _told(edit, inventory, wanted, listed)
        return replace(blank, elapsed_s=time.monotonic() - begun, inventory=told)
    asked = with_settings(inventory, (), {SETTING: list(wanted)})
    if held := _in_use(inventory, seen, present, request):
        return replace(_refused(blank, held), elapsed_s=time.monotonic() - begun)
    if not request.yes and not view.confirm(_question(inventory, present, seen)):
        problem = Problem("not-confirmed", "not confirmed; nothing was changed", "answer yes, or give --yes")
        return replace(blank, exit_code=ExitCode.USAGE, elapsed_s=time.monotonic() - begun, problems=(problem,))
    with hold_locks(inventory, request.access, request.run.id, hosts=facts) as watch:
        facts = _facts(inventory, request)  # a question may have been open for an hour
        seen = view_cluster(inventory, facts)
        _need_cluster(seen)
        if held := _in_use(inventory, seen, present, request):
            return replace(_refused(blank, held), elapsed_s=time.monotonic() - begun)
        present = _present(addons, seen)
        decision = _removal(asked, facts, seen, present)
        file_plan(request.run, decision)
        executions, held = _take_away(request, asked, decision, present, view, watch)
        outcomes = outcomes_of(inventory, decision, executions)
        if held:
            return replace(_refused(blank, held), outcomes=outcomes, elapsed_s=time.monotonic() - begun)
        code = _code(inventory, decision, executions)
        if code is ExitCode.OK:
            _write(edit, inventory)
    return replace(
        blank,
        exit_code=code,
        removed=tuple(addon.name for addon in present) if code is ExitCode.OK else (),
        outcomes=outcomes,
        elapsed_s=time.monotonic() - begun,
        inventory=_told(edit, inventory, wanted, listed) if code is ExitCode.OK else None,
        problems=tuple(problem for done in executions for problem in done.problems) or _unfinished(code),
    )


def _take_away(
    request: AddonRequest,
    inventory: Inventory,
    decision: Decision,
    addons: Sequence[Addon],
    view: ApplyView,
    watch: LockWatch,
) -> tuple[tuple[Execution, ...], dict[str, tuple[InUse, ...]]]:
    """Have what stays let go of the addons, then remove them, unless an object has come meanwhile that needs one."""
    last = [step for step in decision.plan.steps if step.action == "remove"]
    before = replace(decision, plan=Plan(tuple(step for step in decision.plan.steps if step not in last)))
    executions = _install(request, inventory, before, view, watch)
    if _code(inventory, before, executions) is not ExitCode.OK:
        return executions, {}
    if executions and (held := _in_use(inventory, decision.view, addons, request)):
        return executions, held
    done = run_steps(REMOVAL, inventory, decision, last, request.run, request.access, view, {}, watch)
    return (*executions, done), {}


def _code(inventory: Inventory, decision: Decision, executions: Sequence[Execution]) -> ExitCode:
    stopped = any(execution.stopped for execution in executions)
    return exit_code_of(outcomes_of(inventory, decision, executions), executions, None, stopped=stopped)


def _install(
    request: AddonRequest, inventory: Inventory, decision: Decision, view: ApplyView, watch: LockWatch
) -> tuple[Execution, ...]:
    if decision.plan.empty:
        return ()
    extra = {"gpuctl_force_conflicts": request.force_conflicts, "gpuctl_reboot_ok": False}
    steps = list(decision.plan.steps)
    return (run_steps("site.yml", inventory, decision, steps, request.run, request.access, view, extra, watch),)


def _facts(
    inventory: Inventory, request: AddonRequest, view: ApplyView | None = None, begun: float = 0.0
) -> Mapping[str, HostFacts]:
    """The hosts that answer; one with the cluster's API has to be among them."""
    probes = probe_hosts(inventory, request.access)
    if view is not None:
        view.probed(tuple(summarise(probes[host.name]) for host in inventory.hosts), time.monotonic() - begun)
    facts = {name: probe for name, probe in probes.items() if isinstance(probe, HostFacts)}
    if not any(host.name in facts for host in inventory.api_hosts):
        lost = [probe for probe in probes.values() if isinstance(probe, Unreachable)]
        refuse(Problem(probe.code, probe.message, probe.fix, probe.host) for probe in lost)
    return facts


def _need_cluster(view: ClusterView) -> None:
    if view.kube is not None:
        return
    if view.exists:
        fix = "look at the API server there, then run the same command again"
        problem = Problem("api-unreachable", "the cluster's API does not answer", fix, view.seed)
        raise GpuctlError(ExitCode.NOT_READY, problem)
    fix = f"list it in `{SETTING}`, and `gpuctl bootstrap` brings it with the cluster"
    raise GpuctlError(ExitCode.PREFLIGHT, Problem("no-cluster", "there is no cluster yet", fix, view.seed))


def _present(addons: Sequence[Addon], view: ClusterView) -> tuple[Addon, ...]:
    """Those that are installed, the last one first."""
    return tuple(addon for addon in reversed(addons) if receipt_of(addon, view) is not None)


def _removal(
    inventory: Inventory, facts: Mapping[str, HostFacts], view: ClusterView, addons: Sequence[Addon]
) -> Decision:
    steps = tuple(Step(CLUSTER, addon.component.name, "remove", ("addon remove",), Effect.NONE) for addon in addons)
    return Decision(Plan((*letting_go(addons, view), *steps)), resolve_arguments(inventory, facts, view), view)


def _in_use(
    inventory: Inventory, view: ClusterView, addons: Sequence[Addon], request: AddonRequest
) -> dict[str, tuple[InUse, ...]]:
    """Addon → the objects that need it."""
    with asking(inventory.host(view.seed), request.access) as cluster:
        found = {addon.name: in_use(cluster, addon.component.in_use) for addon in addons}
    return {name: objects for name, objects in found.items() if objects}


def _refused(blank: RemoveResult, held: Mapping[str, tuple[InUse, ...]]) -> RemoveResult:
    problems = []
    for name, objects in held.items():
        lines = "\n".join(f"{one.kind} {one.name}: {one.state}" for one in objects)
        words = f"{name} is not removed: {len(objects)} {'objects need' if len(objects) > 1 else 'object needs'} it"
        problems.append(Problem("addon-in-use", words, "delete them, or wait until they are gone", details=lines))
    everything = tuple(one for objects in held.values() for one in objects)
    return replace(blank, exit_code=ExitCode.PREFLIGHT, in_use=everything, problems=tuple(problems))


def _question(inventory: Inventory, addons: Sequence[Addon], view: ClusterView) -> str:
    number = sum(len((receipt_of(addon, view) or {}).get("objects") or ()) for addon in addons)
    names = ", ".join(addon.name for addon in addons)
    words = f"Remove {names} from cluster {inventory.cluster_name}: {number} objects will be deleted"
    after = "".join(f", and {step.component.replace('_', '-')} {step.reasons[0]}" for step in letting_go(addons, view))
    return f"{words}{after}. Continue?"


def _edit(request: AddonRequest, inventory: Inventory, wanted: Sequence[str]) -> Edit | None:
    """The change of the inventory; None where there is none to make, or none is to be made."""
    if request.keep_inventory or tuple(wanted) == wanted_addons(inventory):
        return None
    return plan_edit(inventory.path, SETTING, wanted)


def _write(edit: Edit | None, inventory: Inventory) -> None:
    if edit is not None:
        write_edit(edit, inventory, SETTING)


def _told(
    edit: Edit | None, inventory: Inventory, wanted: Sequence[str], listed: Sequence[str]
) -> InventoryChange | None:
    if edit is not None:
        return InventoryChange(str(edit.path), edit.line, changed=True, at=edit.at)
    if tuple(wanted) == tuple(listed):
        return None
    return InventoryChange(str(inventory.path), written(inventory.path, SETTING, wanted), changed=False)


def _unfinished(code: ExitCode) -> tuple[Problem, ...]:
    """Why there is more to do where no step failed."""
    fix = "run the same command again: it goes on from there"
    if code is ExitCode.INTERRUPTED:
        return (Problem("interrupted", "interrupted before it was through", fix),)
    return (Problem("ansible-failed", "not every step was done", fix),) if code is not ExitCode.OK else ()
