"""The roles on the host of a minikube cluster: before minikube itself, and, when its node runs, what needs the node."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from bootstrap.access import Access
from bootstrap.apply.execute import sweep_private_directories
from bootstrap.apply.launch_check import check_launch_server, launch_secrets
from bootstrap.apply.lock import hold_locks
from bootstrap.apply.outcomes import REBOOT_REQUIRED, exit_code_of, outcomes_of, unchanged
from bootstrap.apply.results import HostOutcome, Outcome
from bootstrap.apply.steps import file_plan, refuse_unallowed, run_steps
from bootstrap.apply.view import ApplyView
from bootstrap.apply.waiting import wait_for_leftovers
from bootstrap.errors import GpuctlError, Problem
from bootstrap.exit_codes import ExitCode
from bootstrap.hostside.gpuctl_url import logins
from bootstrap.inventory.model import Host, Inventory
from bootstrap.inventory.schema import component_named
from bootstrap.plan.launch_arguments import check_launch_settings
from bootstrap.plan.minikube_plan import needs_profile
from bootstrap.plan.model import Step
from bootstrap.plan.planner import Decision
from bootstrap.plan.survey import Survey, examine, probe_hosts, refuse
from bootstrap.probe.facts import HostFacts, ProbeResult
from bootstrap.rundir import RunDirectory

PLAYBOOK = "minikube.yml"
FILLING_PLAYBOOK = "minikube_profile.yml"
# The probe gives the API two seconds, which one that has just begun on a busy machine may need more than once.
_TRIES = 5
_PAUSE_S = 1.0


@dataclass(frozen=True, slots=True)
class Prepared:
    """How the host came out. Its `facts` are those of before; `later` is whether steps wait for the profile."""

    exit_code: ExitCode
    facts: HostFacts
    outcomes: tuple[HostOutcome, ...]
    problems: tuple[Problem, ...] = ()
    later: bool = False

    @property
    def unchanged(self) -> bool:
        """Whether no role was run."""
        return all(outcome.outcome is Outcome.UNCHANGED for outcome in self.outcomes)


def prepare(
    inventory: Inventory, run: RunDirectory, access: Access, view: ApplyView, probes: Mapping[str, ProbeResult]
) -> Prepared:
    """Make the host, which was probed, what the inventory wants of it; nothing when it is so.

    Raises:
        GpuctlError: a setting (3), a refusal or a host that cannot be read (4), a flag that is missing (8): nothing was
            changed. A refusal may be a role's, which looks at what only root can see.
    """
    begun = time.monotonic()
    sweep_private_directories()
    check_launch_settings(inventory)
    run.redactor.add(*{login for host in inventory.hosts for login in logins(host.settings)})
    survey = examine(inventory, probes)
    view.probed(survey.hosts, time.monotonic() - begun)
    view.checked(survey.preflight)
    decision = _decided(survey, run)
    view.planned(decision.plan)
    file_plan(run, decision)
    check_launch_server(decision.plan.steps, decision.arguments.by_host[decision.view.seed])
    later = any(_waits(step) for step in decision.plan.steps)
    return replace(_applied(PLAYBOOK, inventory, survey, run, access, view), later=later)


def fill(inventory: Inventory, run: RunDirectory, access: Access, view: ApplyView) -> Prepared:
    """Make the profile, and what serves it, what the inventory wants of them; the node runs, and root can ask its API.

    Raises:
        GpuctlError: as `prepare`; or the API does not answer root (6).
    """
    survey = _look(inventory, access)
    for _ in range(_TRIES):
        if _decided(survey, run).view.kube is not None:
            return _applied(FILLING_PLAYBOOK, inventory, survey, run, access, view)
        time.sleep(_PAUSE_S)
        survey = _look(inventory, access)
    host = inventory.hosts[0].name
    kube = survey.facts[host].kube if host in survey.facts else None
    words = f"the profile's API does not answer root: {(kube and kube.error) or 'no access was found'}"
    raise GpuctlError(ExitCode.NOT_READY, Problem("api-unreachable", words, "run the same command again", host))


def merged(first: Sequence[HostOutcome], second: Sequence[HostOutcome]) -> tuple[HostOutcome, ...]:
    """One outcome per host of what both halves came to."""
    later = {outcome.host: outcome for outcome in second}
    return tuple(_merged(outcome, later.get(outcome.host)) for outcome in first)


def _merged(first: HostOutcome, second: HostOutcome | None) -> HostOutcome:
    if second is None or second.outcome is Outcome.UNCHANGED:
        return first
    completed = first.completed + second.completed
    return replace(second, completed=completed, changed=first.changed + second.changed)


def _applied(
    playbook: str, inventory: Inventory, survey: Survey, run: RunDirectory, access: Access, view: ApplyView
) -> Prepared:
    """Run those of the planned steps that the playbook is for."""
    host = inventory.hosts[0].name
    decision = _half(_decided(survey, run), playbook)
    if decision.plan.empty:
        return Prepared(ExitCode.OK, survey.facts[host], unchanged(inventory))
    refuse_unallowed(decision)
    with hold_locks(inventory, access, run.id) as watch:
        if any(facts.unfinished for facts in survey.facts.values()):
            wait_for_leftovers(inventory, access, view)
        survey = _look(inventory, access)  # as it is now that nobody else changes the host
        decision = _half(_decided(survey, run), playbook)
        refuse_unallowed(decision)
        done = run_steps(playbook, inventory, decision, list(decision.plan.steps), run, access, view, {}, watch)
    outcomes = outcomes_of(inventory, decision, [done])
    code = exit_code_of(outcomes, [done], None, stopped=done.stopped)
    problems = tuple(_without_flag(problem, inventory.hosts[0]) for problem in done.problems)
    if problems and all(map(_refuses, problems)) and not any(one.completed or one.changed for one in outcomes):
        raise GpuctlError(ExitCode.PREFLIGHT, *problems)
    return Prepared(code, survey.facts[host], outcomes, problems)


def _refuses(problem: Problem) -> bool:
    """Whether it is a role's check that found this, before anything was changed."""
    return problem.code in {"docker-containers-end", "minikube-foreign"}


def _without_flag(problem: Problem, host: Host) -> Problem:
    """The way on where no flag allows a reboot: the host is often the machine that gpuctl runs on."""
    if problem.code != REBOOT_REQUIRED:
        return problem
    which = "this machine" if host.connection.local else host.name
    return replace(problem, fix=f"reboot {which}, then run the same command again")


def _half(decision: Decision, playbook: str) -> Decision:
    """The decision with the playbook's steps alone."""
    filling = playbook == FILLING_PLAYBOOK
    steps = tuple(step for step in decision.plan.steps if _waits(step) == filling)
    return replace(decision, plan=replace(decision.plan, steps=steps))


def _waits(step: Step) -> bool:
    return needs_profile(component_named(step.component))


def _look(inventory: Inventory, access: Access) -> Survey:
    return examine(inventory, probe_hosts(inventory, access))


def _decided(survey: Survey, run: RunDirectory) -> Decision:
    refuse(survey.problems)
    if survey.decision is None:
        refuse([Problem("unreachable", "the minikube host could not be probed", "see the findings above")])
        raise AssertionError("unreachable")
    for secret in launch_secrets(survey.decision.arguments.by_host[survey.decision.view.seed]):
        run.redactor.add(secret)
    return survey.decision
