"""The steps of a plan: refused where a flag is missing, filed, and run by Ansible."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from bootstrap.access import Access
from bootstrap.apply.execute import Execution, execute, private_directory
from bootstrap.apply.lock import LockWatch
from bootstrap.apply.run_inventory import write_run_inventory
from bootstrap.apply.view import ApplyView
from bootstrap.errors import GpuctlError, Problem
from bootstrap.exit_codes import ExitCode
from bootstrap.inventory.model import Inventory
from bootstrap.plan.model import Effect, Step
from bootstrap.plan.planner import Decision
from bootstrap.rundir import RunDirectory


def file_plan(run: RunDirectory, decision: Decision) -> None:
    """Write plan.json into the run directory."""
    run.write_json("plan.json", {"steps": [vars_of(step) for step in decision.plan.steps]})


def vars_of(step: Step) -> dict[str, object]:
    """A step as JSON."""
    return {
        "host": step.host,
        "component": step.component,
        "action": step.action,
        "reasons": list(step.reasons),
        "effect": str(step.effect),
    }


def refuse_unallowed(decision: Decision) -> None:
    """Exit 8 when a step needs a flag that was not given; nothing was changed."""
    problems = [
        Problem(
            "disruption-needed",
            f"step {step.component} {step.effect}: {'; '.join(step.reasons)}",
            f"run again with {step.needs}",
            step.host,
        )
        for step in decision.plan.steps
        if step.needs
    ]
    if problems:
        raise GpuctlError(ExitCode.DISRUPTION_NEEDED, *problems)


def run_steps(
    playbook: str,
    inventory: Inventory,
    decision: Decision,
    steps: list[Step],
    run: RunDirectory,
    access: Access,
    view: ApplyView,
    extra: Mapping[str, Any],
    watch: LockWatch,
) -> Execution:
    """Run just these steps by a playbook; `extra` are variables for all hosts. A lost lock ends it early, with why."""
    with private_directory() as private:
        inventory_file, stop_file = private / "inventory.yml", private / "stop"
        write_run_inventory(
            inventory_file,
            inventory,
            decision.arguments.by_host,
            steps,
            seed=decision.view.seed,
            run_id=run.id,
            stop_file=stop_file,
            extra=extra,
            become_password=access.become_password,
        )
        restarting = {step.host for step in steps if step.effect is Effect.REBOOTS or extra.get("gpuctl_reboot_ok")}
        with watch.stopping(stop_file, restarting):
            done = execute(playbook, private, inventory_file, stop_file, run, view, forks=len(inventory.hosts))
    return replace(done, problems=(*done.problems, *watch.problems))
