"""From executions to outcomes per host and the exit code. Pure."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from bootstrap.apply.events import HostRun
from bootstrap.apply.execute import Execution
from bootstrap.apply.results import HostOutcome, Outcome, Readiness
from bootstrap.apply.run_inventory import steps_per_host
from bootstrap.exit_codes import ExitCode, strongest
from bootstrap.inventory.model import Inventory
from bootstrap.plan.planner import Decision
from bootstrap.plan.survey import not_ready

_UNREACHED = "it could not be reached"
REBOOT_REQUIRED = "reboot-required"  # how a role says that it must not go on without a reboot


def unchanged(inventory: Inventory, absent: Collection[str] = ()) -> tuple[HostOutcome, ...]:
    """Every host as it was. `absent` could not be reached."""
    return tuple(
        HostOutcome(host.name, Outcome.NOT_STARTED, state=_UNREACHED)
        if host.name in absent
        else HostOutcome(host.name, Outcome.UNCHANGED)
        for host in inventory.hosts
    )


def outcomes_of(
    inventory: Inventory, decision: Decision, executions: Sequence[Execution], absent: Collection[str] = ()
) -> tuple[HostOutcome, ...]:
    """How each host of the inventory came out; the cluster's own steps count for the seed."""
    wanted = steps_per_host(decision.plan.steps, decision.view.seed)
    return tuple(
        left if left.host in absent else _outcome(left.host, wanted.get(left.host, []), executions)
        for left in unchanged(inventory, absent)
    )


def _outcome(host: str, wanted: list[str], executions: Sequence[Execution]) -> HostOutcome:
    runs = [execution.hosts[host] for execution in executions if host in execution.hosts]
    completed = tuple(component for run in runs for component in run.completed)
    changed = sum(run.changed for run in runs)
    failed = next((run for run in runs if run.problem), None)
    if not wanted:
        return HostOutcome(host, Outcome.UNCHANGED, changed=changed)
    if failed:
        return HostOutcome(host, Outcome.FAILED, completed, failed.current, changed, _state(failed, wanted, completed))
    missing = [component for component in wanted if component not in completed]
    if not missing:
        return HostOutcome(host, Outcome.DONE, completed, None, changed)
    if not completed and not changed:
        return HostOutcome(host, Outcome.NOT_STARTED, completed, None, changed, "nothing was changed on it")
    current = next((run.current for run in runs if run.current), None)
    return HostOutcome(
        host, Outcome.STOPPED, completed, current or missing[0], changed, f"still to do: {', '.join(missing)}"
    )


def _state(run: HostRun, wanted: list[str], completed: Sequence[str]) -> str:
    left = [component for component in wanted if component not in completed and component != run.current]
    after = f"; not begun: {', '.join(left)}" if left else ""
    return f"stopped in {run.current or 'its first step'}{after}; run the same command again after the fix"


def exit_code_of(
    outcomes: Sequence[HostOutcome], executions: Sequence[Execution], state: Readiness | None, *, stopped: bool
) -> ExitCode:
    """5 when steps failed, 7 when other hosts came through, 8 when only reboots are missing, 6 when not ready."""
    codes = [ExitCode.INTERRUPTED] if stopped else []
    problems = [problem for execution in executions for problem in execution.problems]
    if problems and all(problem.code == REBOOT_REQUIRED for problem in problems):
        codes.append(ExitCode.DISRUPTION_NEEDED)
    elif problems:
        done = any(outcome.outcome is Outcome.DONE for outcome in outcomes)
        codes.append(ExitCode.PARTIAL if done else ExitCode.STEP_FAILED)
    elif any(outcome.outcome in {Outcome.STOPPED, Outcome.NOT_STARTED} for outcome in outcomes) and not stopped:
        codes.append(ExitCode.STEP_FAILED)
    if state is not None and not_ready(state):
        codes.append(ExitCode.NOT_READY)
    return strongest(*codes)
