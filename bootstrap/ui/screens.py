"""The screens of bootstrap, plan and reset: results in, lines out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from bootstrap.apply.results import (
    BootstrapResult,
    HostOutcome,
    HostSummary,
    KubeconfigChange,
    Outcome,
    PlanResult,
    Preflight,
    Readiness,
    ResetResult,
)
from bootstrap.checks.finding import Finding, Severity
from bootstrap.exit_codes import ExitCode
from bootstrap.plan.model import CLUSTER, Effect, Plan, Step
from bootstrap.ui.layout import ago, brief, columns, count, size

_EFFECTS = {
    Effect.NONE: "none",
    Effect.RESTARTS_SERVICE: "restarts its service; running pods stay",
    Effect.DISRUPTS_GPU_PODS: "disrupts running GPU pods",
    Effect.REBOOTS: "reboots the host",
}
INSTALL = "install"
_ABOUT_ALL = "all hosts"


def hosts_screen(hosts: Sequence[HostSummary], elapsed: float) -> list[str]:
    """What the probe saw: one line per host."""
    answered = sum(host.error is None for host in hosts)
    of = "" if answered == len(hosts) else f"{answered} of "
    rows = [(host.name, host.error or " · ".join(_traits(host))) for host in hosts]
    return [f"probed {of}{count(len(hosts), 'host')} in {brief(elapsed)}", *columns(rows)]


def _traits(host: HostSummary) -> Iterable[str]:
    yield host.os or "unknown system"
    yield f"{host.cpus} CPU"
    yield size(host.memory_bytes)
    if not host.gpus:
        yield "no GPU"
        return
    yield f"{host.gpus} × {host.gpu_model or 'NVIDIA GPU'}{' (simulated)' if host.simulated else ''}"
    yield f"driver {host.driver}" if host.driver else "no driver"


def preflight_screen(preflight: Preflight) -> list[str]:
    """The head line, what is repaired on the way, and warnings. What refuses the run is told as an error instead."""
    fixes, warnings = preflight.of(Severity.FIX), preflight.of(Severity.WARN)
    refusals = preflight.of(Severity.REFUSE)
    said = [count(preflight.checks, "check")]
    said += [f"{len(fixes)} to be fixed on the way"] if fixes else []
    said += [count(len(warnings), "warning")] if warnings else []
    said += [f"{len(refusals)} that {'stops' if len(refusals) == 1 else 'stop'} the run"] if refusals else []
    return [
        f"preflight: {', '.join(said)}",
        *columns(_finding(f) for f in (*fixes, *warnings)),
    ]


def _finding(finding: Finding) -> tuple[str, str, str]:
    return finding.host or _ABOUT_ALL, finding.message, finding.fix


def plan_screen(plan: Plan, head: str = "plan: ") -> list[str]:
    """The steps: new components in one line per kind of host, everything else in a line each with its reasons."""
    if plan.empty:
        return [f"{head}nothing to do"]
    counted = f"{head}{_steps_on(plan.steps)}"
    counted += f", {count(len(plan.updates), 'update')} available" if plan.updates else ""
    fresh = [s for s in plan.steps if s.action == INSTALL]
    other = [s for s in plan.steps if s.action != INSTALL]
    rows = [(counted, "effect")]
    rows += [("  " + left, effect) for left, effect in _installs(fresh)]
    rows += [("  " + left, effect) for left, effect in _others(other)]
    return columns(rows, indent=0) + _reported(plan)


def _steps_on(steps: Sequence[Step]) -> str:
    hosts = {s.host for s in steps} - {CLUSTER}
    return f"{count(len(steps), 'step')} on {count(len(hosts), 'host') if hosts else 'the cluster'}"


def _installs(steps: Sequence[Step]) -> list[tuple[str, str]]:
    """Hosts that get the same components with the same effect share a line."""
    of_host: dict[str, list[Step]] = {}
    for step in steps:
        of_host.setdefault(step.host, []).append(step)
    alike: dict[tuple[tuple[str, ...], str], list[str]] = {}
    for host, own in of_host.items():
        key = (
            tuple(s.component for s in own),
            "; ".join(dict.fromkeys(_effect(s) for s in own if _notable(s))) or "none",
        )
        alike.setdefault(key, []).append(host)
    lefts = columns([(" ".join(hosts), " ".join(names)) for (names, _), hosts in alike.items()], indent=0)
    return list(zip(lefts, (effect for _, effect in alike), strict=True))


def _notable(step: Step) -> bool:
    return step.effect is not Effect.NONE or bool(step.needs)


def _others(steps: Sequence[Step]) -> list[tuple[str, str]]:
    rows: list[tuple[str, str, str]] = []
    effects: list[str] = []
    for step in steps:
        reasons = step.reasons or (step.action,)
        rows.append((step.host, step.component, reasons[0]))
        effects.append(_effect(step))
        for reason in reasons[1:]:
            rows.append(("", "", reason))
            effects.append("")
    return list(zip(columns(rows, indent=0), effects, strict=True))


def _effect(step: Step) -> str:
    return _EFFECTS[step.effect] + (f": needs {step.needs}" if step.needs else "")


def _reported(plan: Plan) -> list[str]:
    """What is only told: newer versions, hosts that are in the cluster and not in the inventory."""
    updates = [
        f"update available: {u.component} {u.installed} → {u.available}" + (f" (`{u.command}`)" if u.command else "")
        for u in plan.updates
    ]
    waiting = [f"waits: {line}" for line in plan.waiting]
    return updates + waiting + [f"extra: {line}" for line in plan.extra]


def nothing_to_do(result: BootstrapResult | PlanResult) -> str:
    """The one line of a run that found everything as applied."""
    applied = "" if result.last_applied_s is None else f" {ago(result.last_applied_s)}"
    what = f"{count(len(result.hosts), 'host')}, {count(result.components, 'component')}"
    said = f"nothing to do: {what} as applied{applied}"
    if result.readiness is not None:
        said += f"; {_ready(result.readiness, result.hosts)}"
    return f"{said} ({brief(result.elapsed_s)})"


def _ready(readiness: Readiness, hosts: Sequence[HostSummary]) -> str:
    nodes = f"{readiness.nodes_ready} of " if readiness.nodes_ready < len(readiness.nodes) else ""
    said = f"{nodes}{count(len(readiness.nodes), 'node')} Ready"
    wanted = sum(node.gpus_expected for node in readiness.nodes)
    if wanted or readiness.gpus_allocatable:
        of = f" of {wanted}" if readiness.gpus_allocatable < wanted else ""
        noun = count(wanted if of else readiness.gpus_allocatable, "GPU").split()[1]
        said += f", {readiness.gpus_allocatable}{of} {noun} allocatable{_simulated(hosts)}"
    return said


def _simulated(hosts: Sequence[HostSummary]) -> str:
    kinds = {host.simulated for host in hosts if host.gpus}
    if True not in kinds:
        return ""
    return " (some simulated)" if False in kinds else " (simulated)"


def plan_result_screen(result: PlanResult) -> list[str]:
    """`gpuctl plan`."""
    if result.plan.empty and result.exit_code is ExitCode.OK:
        return [nothing_to_do(result), *_reported(result.plan)]
    return plan_screen(result.plan, head="")


def bootstrap_screen(result: BootstrapResult, next_command: str) -> list[str]:
    """How the run ended; `next_command` is told only after a run that did all it should."""
    if result.plan.empty and result.exit_code is ExitCode.OK:
        return [nothing_to_do(result), *_reported(result.plan), *_kubeconfig(result.kubeconfig, only_news=True)]
    good = result.exit_code is ExitCode.OK
    lines = [] if good else _state(result.outcomes)
    if result.readiness is not None:
        lines.append(
            f"{'done' if good else 'ended'} in {brief(result.elapsed_s)}: {_ready(result.readiness, result.hosts)}"
        )
        lines += _not_ready(result.readiness)
    lines += _kubeconfig(result.kubeconfig)
    return [*lines, f"next: {next_command}"] if good else lines


def _not_ready(readiness: Readiness) -> list[str]:
    rows = []
    for node in readiness.nodes:
        if not node.ready:
            rows.append((node.name, f"not Ready: {node.reason or 'no reason given'}"))
        elif node.gpus_allocatable < node.gpus_expected:
            rows.append((node.name, f"{node.gpus_allocatable} of {count(node.gpus_expected, 'GPU')} allocatable"))
    return columns(rows)


def _kubeconfig(change: KubeconfigChange | None, *, only_news: bool = False) -> list[str]:
    if change is None or (only_news and not (change.added or change.user or change.warning)):
        return []
    did = "added to" if change.added else "is in"
    use = f"kubectl config use-context {change.context}"
    current = ", and is the current one" if change.current else f" (current context left as it was: use `{use}`)"
    lines = [f"  kubeconfig: context {change.context} {did} {change.path}{current}"]
    if change.user:
        valid = f"valid for {change.valid_days} days"
        lines.append(f"  kubeconfig: client certificate of user {change.user} issued, {valid}")
    return [*lines, *([f"  warning: kubeconfig: {change.warning}"] if change.warning else [])]


def _state(outcomes: Sequence[HostOutcome]) -> list[str]:
    return columns((o.host, _outcome(o)) for o in outcomes)


def _outcome(outcome: HostOutcome) -> str:
    said = {
        Outcome.UNCHANGED: "nothing to do",
        Outcome.DONE: "done",
        Outcome.FAILED: "failed",
        Outcome.STOPPED: "stopped",
        Outcome.NOT_STARTED: "not started",
    }[outcome.outcome]
    said += f" at {outcome.stopped_at}" if outcome.stopped_at else ""
    said += f" after {' '.join(outcome.completed)}" if outcome.completed and outcome.stopped_at else ""
    return said + (f"; {outcome.state}" if outcome.state else "")


def reset_screen(result: ResetResult) -> list[str]:
    """`gpuctl reset`: what was undone, what was left and why."""
    undone = [o for o in result.outcomes if o.outcome is Outcome.DONE]
    lines = _state(result.outcomes) if result.problems else []
    if undone:
        lines.append(f"reset {count(len(undone), 'host')} in {brief(result.elapsed_s)}")
    elif not result.problems:
        lines.append(f"nothing to reset on {count(len(result.hosts), 'host')} ({brief(result.elapsed_s)})")
    lines += [f"  kept: {line}" for line in result.kept]
    if result.kubeconfig_removed:
        lines.append(f"  kubeconfig: context {result.kubeconfig_removed} removed")
    return lines
