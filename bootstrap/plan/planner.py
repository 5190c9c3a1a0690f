"""The planner: wanted arguments against receipts and evidence of every host.

No host is touched, no file read but the project's own roles and those that the settings name.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from bootstrap.errors import GpuctlError, Problem
from bootstrap.exit_codes import ExitCode
from bootstrap.hostside.gpuctl_receipts import known_arguments
from bootstrap.inventory.model import LAUNCH_AGENT, Inventory
from bootstrap.inventory.schema import Component, component_named, components, options_of
from bootstrap.plan.absence import absent_hosts, has_to_wait, is_absent_node, waiting
from bootstrap.plan.arguments import Arguments, components_for, resolve_arguments
from bootstrap.plan.cluster_view import ClusterView, extra_nodes, node_name, view_cluster
from bootstrap.plan.compare import (
    changed_arguments,
    describe_argument,
    raises_since,
    reasons_to_change,
    receipt_trouble,
    unverified,
)
from bootstrap.plan.launch_arguments import launch_problems, read_launch_files
from bootstrap.plan.minikube_plan import restarts_docker
from bootstrap.plan.model import CLUSTER, UPGRADES, Effect, Plan, Step, upgrade_command, worst
from bootstrap.plan.renewals import label_drift, renewal_reasons
from bootstrap.probe.facts import Drift, HostFacts


@dataclass(frozen=True, slots=True)
class Decision:
    """The plan with what it was made from: arguments for every host and the cluster as it was seen."""

    plan: Plan
    arguments: Arguments
    view: ClusterView


def decide(
    inventory: Inventory,
    facts: Mapping[str, HostFacts],
    *,
    limit: Collection[str] = (),
    disrupt: bool = False,
    reboot: bool = False,
) -> Decision:
    """Plan what makes the probed hosts what the inventory wants.

    `limit` names the hosts that may change; empty means all.

    Raises:
        GpuctlError: a file that the settings name cannot be used (exit 3); an immutable argument or an installed
            version was changed, or the Launch agent has no key (exit 4); nothing was changed.
    """
    view = view_cluster(inventory, facts)
    launch = read_launch_files(inventory)
    arguments = resolve_arguments(inventory, facts, view, launch)
    steps: list[tuple[int, int, Step]] = []
    problems = list(launch_problems(inventory, launch))
    held: list[str] = []
    for position, host in enumerate(inventory.hosts):
        if host.name not in facts:
            continue
        values = arguments.by_host[host.name]
        for component in components_for(host, values, view):
            receipt, drift = _evidence(component, facts[host.name], view)
            trouble = _trouble(component, facts[host.name], receipt, view) if receipt else ""
            if receipt and not trouble:
                problems += _refusals(component, host.name, receipt, values, host.origins or {})
            step = _step(component, host.name, facts[host.name], receipt, trouble, values, drift, view)
            if step and has_to_wait(step, host, inventory, facts):
                held.append(waiting(step, inventory, facts))
            elif step and _allowed(step, host.name, limit, view):
                problems += _nothing_to_join(step, host.name, values, limit, view)
                pods = _gpu_pods(facts[host.name], view)
                living = node_name(facts[host.name]) in view.nodes
                steps.append(
                    (component.order, position, _with_needs(step, pods, living=living, disrupt=disrupt, reboot=reboot))
                )
    if problems:
        raise GpuctlError(ExitCode.PREFLIGHT, *problems)
    steps += _accesses(steps, inventory, facts, arguments, limit)
    ordered = tuple(step for _, _, step in sorted(steps, key=lambda entry: entry[:2]))
    extra = [] if inventory.minikube else _strangers(inventory, view, facts)
    extra += _left_behind(inventory, facts, arguments, view)
    return Decision(Plan(ordered, arguments.updates, extra=tuple(extra), waiting=tuple(held)), arguments, view)


def installed_components(inventory: Inventory, facts: Mapping[str, HostFacts], decision: Decision) -> int:
    """How many components the inventory's hosts should have, all told."""
    by_host = decision.arguments.by_host
    return sum(len(components_for(h, by_host[h.name], decision.view)) for h in inventory.hosts if h.name in facts)


def _accesses(
    steps: Collection[tuple[int, int, Step]],
    inventory: Inventory,
    facts: Mapping[str, HostFacts],
    arguments: Arguments,
    limit: Collection[str],
) -> Iterator[tuple[int, int, Step]]:
    """The agent on a host holds a token that the cluster's part of it makes: made anew, it has to get there."""
    planned = {(step.host, step.component) for _, _, step in steps}
    if (CLUSTER, "launch_agent") not in planned:
        return
    for position, host in enumerate(inventory.group(LAUNCH_AGENT)):
        running = host.name in facts and arguments.by_host[host.name]["launch_agent_host_running"]
        if running and (host.name, "launch_agent_host") not in planned and (not limit or host.name in limit):
            reasons = ("its access to the cluster may be a new one",)
            step = Step(host.name, "launch_agent_host", "change", reasons, Effect.NONE)
            yield component_named("launch_agent_host").order, position, step


def _strangers(inventory: Inventory, view: ClusterView, facts: Mapping[str, HostFacts]) -> list[str]:
    absent = absent_hosts(inventory, facts)
    names = [name for name in extra_nodes(view, facts) if not is_absent_node(view.nodes[name], absent)]
    return [f"{name}: in the cluster, not in the inventory" for name in names]


def _left_behind(
    inventory: Inventory, facts: Mapping[str, HostFacts], arguments: Arguments, view: ClusterView
) -> Iterator[str]:
    """What has a receipt and is no longer asked for: named, never removed unasked."""
    scopes = {component.name: component.scope for component in components()}
    for host in inventory.hosts:
        if host.name not in facts or host.is_minikube:  # there options ask for things, each in its own call
            continue
        wanted = {component.name for component in components_for(host, arguments.by_host[host.name], view)}
        for name in sorted(set(facts[host.name].receipts) - wanted):
            if scopes.get(name) == "host":
                yield f"{host.name}: {name} is installed, and the inventory does not ask for it (any more)"
        if host.name == view.seed and view.kube:
            for name in sorted(set(view.kube.receipts) - wanted):
                if scopes.get(name) == "cluster":
                    yield f"cluster: {name} is installed, and the inventory does not ask for it (any more)"


def _evidence(
    component: Component, facts: HostFacts, view: ClusterView
) -> tuple[Mapping[str, Any] | None, tuple[Drift, ...]]:
    if component.scope == "cluster":
        if view.kube is None:
            return None, ()
        return view.kube.receipts.get(component.name), tuple(view.kube.drift.get(component.name, ()))
    return facts.receipts.get(component.name), tuple(facts.drift.get(component.name, ()))


def _step(
    component: Component,
    host: str,
    facts: HostFacts,
    receipt: Mapping[str, Any] | None,
    trouble: str,
    values: Mapping[str, Any],
    drift: tuple[Drift, ...],
    view: ClusterView,
) -> Step | None:
    """The step that the component needs on the host, or None when receipt and evidence vouch for it.

    `trouble` is why the receipt says nothing of the host.
    """
    place = CLUSTER if component.scope == "cluster" else host
    if receipt is None:
        # A living node without receipts is disturbed like any other; a new host is not.
        living = component.scope == "host" and node_name(facts) in view.nodes
        living = living or restarts_docker(component, values, facts)
        effect = Effect(component.effect) if living else Effect.NONE
        return Step(place, component.name, "install", ("not installed by gpuctl yet",), effect)
    if trouble:
        return Step(place, component.name, "install", (trouble,), Effect(component.effect))
    if receipt.get("state") != "complete":
        return Step(
            place, component.name, "resume", ("an earlier run was interrupted in it",), Effect(component.effect)
        )
    raised = raises_since(component, receipt, drift)
    drift = tuple(item for item in drift if not unverified(item))
    reasons = reasons_to_change(component, receipt, values, drift)
    if component.name == "kubeadm" and _node_is_gone(facts, view):
        reasons = (*reasons, f"node {node_name(facts)} is not in the cluster")
    mended = (
        label_drift(facts, view, values) if component.name == "kubeadm" else renewal_reasons(component.name, values)
    )
    if not reasons and not raised and not mended:
        return None
    action = "repair" if len(reasons) == len(drift) and not raised else "change"
    # A label, or a pod of a DaemonSet that is made anew, disturbs nobody.
    effect = Effect(component.effect) if reasons else worst(Effect(change.effect) for change in raised)
    return Step(place, component.name, action, (*reasons, *mended, *(change.why for change in raised)), effect)


def _trouble(component: Component, facts: HostFacts, receipt: Mapping[str, Any], view: ClusterView) -> str:
    """Why the receipt says nothing of this host; empty when it does."""
    own = component.scope == "cluster" or _is_running(facts, view)
    return receipt_trouble(receipt, receipt.get("machine_id") if own else facts.machine_id)


def _allowed(step: Step, host: str, limit: Collection[str], view: ClusterView) -> bool:
    """Whether --limit lets the step run: a component that a living cluster lacks comes with its first host, too."""
    return not limit or host in limit or (step.host == CLUSTER and step.action == "install" and view.exists)


def _nothing_to_join(
    step: Step, host: str, values: Mapping[str, Any], limit: Collection[str], view: ClusterView
) -> list[Problem]:
    """A host cannot join a cluster that is not there and may not be made."""
    if step.component != "kubeadm" or values["kubeadm_role"] == "init" or view.exists:
        return []
    if not limit or view.seed in limit:
        return []
    fix = f"add {view.seed} to --limit, or leave --limit out"
    return [Problem("no-cluster", f"there is no cluster to join yet, and --limit leaves {view.seed} out", fix, host)]


def _is_running(facts: HostFacts, view: ClusterView) -> bool:
    """Whether the host is the node that the cluster knows: its receipts are its own, whatever machine-id it has now."""
    node = view.nodes.get(node_name(facts))
    return node is not None and facts.cluster.kubelet_conf and node.internal_ip in facts.address_list


def _node_is_gone(facts: HostFacts, view: ClusterView) -> bool:
    return view.kube is not None and node_name(facts) not in view.nodes


def _refusals(
    component: Component,
    host: str,
    receipt: Mapping[str, Any],
    values: Mapping[str, Any],
    origins: Mapping[str, str],
) -> list[Problem]:
    """Changes that a bootstrap never makes to something installed."""
    known = known_arguments(receipt)
    before = {"arguments": known}
    secret = {option.name for option in options_of(component.name) if option.no_log}
    problems = []
    for name in changed_arguments(component, before, values):
        if name not in known:
            continue
        words = f"{component.name}: {describe_argument(before, name, values[name], name in secret)}"
        if name in UPGRADES:
            fix = f"run `{upgrade_command(component.name, name)}`, or set `{name}` back"
            problems.append(
                Problem("upgrade-needed", f"{words} (bootstrap never changes it)", fix, host, origins.get(name))
            )
        elif name in component.immutable:
            fix = f"set `{name}` back, or `gpuctl reset` the cluster and make it anew"
            if name == "kubeadm_role":  # which nobody sets: it is the host's group
                fix = f"list it in its former group, or `gpuctl reset --limit {host}`, then run again"
            problems.append(
                Problem("variable-immutable", f"{words} (immutable: refused)", fix, host, origins.get(name))
            )
    return problems


def _gpu_pods(facts: HostFacts, view: ClusterView) -> int:
    node = view.nodes.get(node_name(facts))
    return node.gpu_pods if node else 0


def _with_needs(step: Step, gpu_pods: int, *, living: bool, disrupt: bool, reboot: bool) -> Step:
    """On a node with running GPU pods, name the flag without which a disrupting step is refused.

    On other nodes the step disrupts nobody.
    """
    if step.effect is not Effect.DISRUPTS_GPU_PODS:
        return step
    if reboot and living:  # the driver may have to reboot: the node is emptied before, and hosts go one by one
        return replace(step, effect=Effect.REBOOTS)
    if not gpu_pods:
        return replace(step, effect=Effect.RESTARTS_SERVICE)
    reason = f"{gpu_pods} running GPU pods on the node"
    return replace(step, reasons=(*step.reasons, reason), needs="" if disrupt else "--disrupt")
