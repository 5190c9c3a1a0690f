"""The stations on the host of a minikube cluster before minikube itself: probe, check, plan, apply."""

from __future__ import annotations

import time
from dataclasses import dataclass

from bootstrap.access import Access
from bootstrap.apply.execute import sweep_private_directories
from bootstrap.apply.lock import hold_locks
from bootstrap.apply.outcomes import exit_code_of, outcomes_of, unchanged
from bootstrap.apply.results import HostOutcome
from bootstrap.apply.steps import file_plan, refuse_unallowed, run_steps
from bootstrap.apply.view import ApplyView
from bootstrap.apply.waiting import wait_for_leftovers
from bootstrap.errors import Problem
from bootstrap.exit_codes import ExitCode
from bootstrap.inventory.model import Inventory
from bootstrap.plan.planner import Decision
from bootstrap.plan.survey import Survey, examine, probe_hosts, refuse
from bootstrap.probe.facts import HostFacts
from bootstrap.rundir import RunDirectory

PLAYBOOK = "minikube.yml"


@dataclass(frozen=True, slots=True)
class Prepared:
    """How the host came out. Its `facts` are those of before."""

    exit_code: ExitCode
    facts: HostFacts
    outcomes: tuple[HostOutcome, ...]
    problems: tuple[Problem, ...] = ()


def prepare(inventory: Inventory, run: RunDirectory, access: Access, view: ApplyView) -> Prepared:
    """Make the host what the inventory wants of it; nothing when it is so.

    Raises:
        GpuctlError: a setting (3), a refusal or a host that cannot be read (4), a flag that is missing (8): nothing was
            changed.
    """
    begun = time.monotonic()
    sweep_private_directories()
    host = inventory.hosts[0].name
    survey = _look(inventory, access)
    view.probed(survey.hosts, time.monotonic() - begun)
    view.checked(survey.preflight)
    decision = _decided(survey)
    view.planned(decision.plan)
    file_plan(run, decision)
    if decision.plan.empty:
        return Prepared(ExitCode.OK, survey.facts[host], unchanged(inventory))
    refuse_unallowed(decision)
    with hold_locks(inventory, access, run.id):
        if any(facts.unfinished for facts in survey.facts.values()):
            wait_for_leftovers(inventory, access, view)
            survey = _look(inventory, access)
            decision = _decided(survey)
            refuse_unallowed(decision)
        done = run_steps(PLAYBOOK, inventory, decision, list(decision.plan.steps), run, access, view, {})
    outcomes = outcomes_of(inventory, decision, [done])
    code = exit_code_of(outcomes, [done], None, stopped=done.stopped)
    return Prepared(code, survey.facts[host], outcomes, done.problems)


def _look(inventory: Inventory, access: Access) -> Survey:
    return examine(inventory, probe_hosts(inventory, access))


def _decided(survey: Survey) -> Decision:
    refuse(survey.problems)
    if survey.decision is None:
        refuse([Problem("unreachable", "the minikube host could not be probed", "see the findings above")])
        raise AssertionError("unreachable")
    return survey.decision
