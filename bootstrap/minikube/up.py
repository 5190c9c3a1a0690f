"""`gpuctl minikube up` and `start`: the host, then minikube, then GPUs that can be had. Each reads as its stations."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from bootstrap.apply.minikube_host import Prepared, fill, merged, prepare
from bootstrap.apply.outcomes import unchanged
from bootstrap.apply.view import ApplyView
from bootstrap.errors import GpuctlError, Problem, usage_error
from bootstrap.exit_codes import ExitCode
from bootstrap.inventory.model import SERVICE_GROUPS
from bootstrap.inventory.overlay import with_settings
from bootstrap.minikube.access import give_access
from bootstrap.minikube.checks import check_host, check_member, check_profile, check_services, check_size
from bootstrap.minikube.connection import connected
from bootstrap.minikube.gpus import holders, wait_for_gpus
from bootstrap.minikube.look import Seen, look
from bootstrap.minikube.mending import lacks, mend
from bootstrap.minikube.model import MinikubeRequest, UpRequest, UpResult
from bootstrap.minikube.options import AUTO, ProfileOptions, check_options
from bootstrap.minikube.recorded import as_recorded, with_extra_config
from bootstrap.minikube.result import result_of
from bootstrap.minikube.settle import settled, takes_no_start
from bootstrap.minikube.starting import STEP, Up, start_profile
from bootstrap.minikube.state import Phase, made_with, phase_of
from bootstrap.plan.arguments import expected_gpus
from bootstrap.plan.cluster_view import recorded_argument
from bootstrap.plan.survey import probe_hosts
from bootstrap.probe.facts import HostFacts, ProbeResult
from bootstrap.probe.session import Session

PATIENCE_S = 45.0
GPUS_S = 180.0  # 8 to 25 s were measured once the device plugin's image is there
_ACCESS = "access"


def up(request: UpRequest, view: ApplyView) -> UpResult:
    """Make the machine hold a minikube cluster with its GPUs; nothing when it does.

    Raises:
        GpuctlError: usage (2), settings (3), a refusal before any change (4), a flag that is missing (8).
    """
    host = request.inventory.hosts[0]
    settings = tuple(str(item) for item in host.settings["minikube_extra_config"])
    given = replace(request.options, extra_config=tuple(dict.fromkeys((*settings, *request.options.extra_config))))
    if host.settings["cluster_gpu"] == "none":
        given = _without_gpus(given)
    check_options(given)
    return _brought_up(request, given, view)


def _without_gpus(options: ProfileOptions) -> ProfileOptions:
    """The options where the inventory wants no GPUs: no driver and no toolkit would be there for them."""
    if options.gpus in {AUTO, "none"}:
        return replace(options, gpus="none")
    words = f"--gpus {options.gpus}, and the inventory has cluster_gpu=none"
    raise usage_error(words, "leave one of them out")


def _brought_up(request: UpRequest, given: ProfileOptions, view: ApplyView) -> UpResult:
    begun = time.monotonic()
    ready: list[tuple[Up, Seen, Prepared]] = []
    try:
        with connected(request.inventory, request.access) as session:
            ready.append(_made_ready(request, given, session, view))
            run, seen, prepared = ready[0]
            if prepared.exit_code is not ExitCode.OK:
                return result_of(run, seen, prepared, begun, problems=prepared.problems, code=prepared.exit_code)
            if prepared.unchanged:
                return _completed(run, seen, prepared, begun)
        # A login of before has not the groups that the roles have given.
        with connected(request.inventory, request.access) as session:
            run.session = session
            facts = probe_hosts(request.inventory, request.access)[run.host.name]
            if isinstance(facts, HostFacts):  # before there was perhaps no driver to tell of the cards
                prepared = replace(prepared, facts=facts)
            return _completed(run, run.look(), prepared, begun)
    except GpuctlError as error:
        if not ready or (ready[0][2].unchanged and not ready[0][0].begun):
            raise
        run, seen, prepared = ready[0]  # no refusal: something was changed before
        code = ExitCode.STEP_FAILED
        return result_of(run, seen, prepared, begun, started=run.begun, problems=error.problems, code=code)


def _made_ready(
    request: UpRequest, given: ProfileOptions, session: Session, view: ApplyView
) -> tuple[Up, Seen, Prepared]:
    """Look, refuse what cannot become of an existing profile before the host is touched, then run the roles."""
    host = request.inventory.hosts[0]
    with ThreadPoolExecutor(1) as pool:
        probing = pool.submit(probe_hosts, request.inventory, request.access)
        seen = look(session, host.name, given.profile)
        check_profile(seen, given, host.name, local=host.connection.local)
        if request.again:
            request = _without_services(request, seen)
        check_services(seen, request.inventory.hosts[0])
        probes = probing.result()
    if isinstance(facts := probes[host.name], HostFacts):  # else there is a better reason to refuse
        check_size(seen, given, facts)
    if request.as_before and isinstance(facts, HostFacts):
        request = replace(request, inventory=as_recorded(request.inventory, facts))
        given = with_extra_config(given, seen, facts)
    request = _with_members(_without_driver(request, given, seen), seen, session.user, facts)
    run = Up(request, request.inventory.hosts[0], session, view, given)
    if request.docker_group and not (seen.root or seen.joined):
        run.notes.append(f"{session.user} is in the group docker: other programs may use Docker from the next login on")
    if request.bare and isinstance(facts, HostFacts):
        return run, seen, Prepared(ExitCode.OK, facts, unchanged(request.inventory))
    return run, seen, prepare(request.inventory, request.run, request.access, view, probes)


def _without_services(request: UpRequest, seen: Seen) -> UpRequest:
    """The request of a start for a profile beside which another one has the host's services: they stay with that."""
    if not seen.others:
        return request
    host = request.inventory.hosts[0]
    settings = {**host.settings, "cluster_addons": []}
    alone = replace(host, groups=host.groups - set(SERVICE_GROUPS), settings=settings)
    return replace(request, inventory=replace(request.inventory, hosts=(alone, *request.inventory.hosts[1:])))


def _without_driver(request: UpRequest, given: ProfileOptions, seen: Seen) -> UpRequest:
    """The request with neither driver nor toolkit for the host, where the profile has no GPUs and is to get none."""
    gpus = given.gpus or (made_with(seen, given.profile).gpus if seen.config is not None else "")
    if gpus != "none":
        return request
    return replace(request, inventory=with_settings(request.inventory, (), {"cluster_gpu": "none"}))


def _with_members(request: UpRequest, seen: Seen, user: str, probe: ProbeResult) -> UpRequest:
    """The request with all who may use Docker, as the inventory or an earlier run has them, and this user if asked for.

    Raises:
        GpuctlError: this user may not (exit 4); nothing was changed.
    """
    host = request.inventory.hosts[0]
    members = list(host.settings["docker_group_users"])
    if isinstance(probe, HostFacts) and "docker_group_users" not in host.explicit:
        members += recorded_argument(probe, "docker", "docker_group_users") or []
    members += [user] if request.docker_group and user != "root" else []
    if isinstance(probe, HostFacts):  # else there is a better reason to refuse
        check_member(seen, user, members, host.name)
    settings = {"docker_group_users": list(dict.fromkeys(members))}
    return replace(request, inventory=with_settings(request.inventory, (), settings))


def _completed(run: Up, seen: Seen, prepared: Prepared, begun: float) -> UpResult:
    """The host is ready: the profile, and what belongs in it and beside it."""
    result = _started(run, seen, prepared, begun)
    if result.exit_code is ExitCode.OK and (prepared.later or (seen.served and result.started)):
        return _filled(run, result, begun, services=prepared.later)
    return result


def _filled(run: Up, result: UpResult, begun: float, *, services: bool) -> UpResult:
    """The profile runs: have in it, and beside it, what the inventory wants; an agent that was halted runs again."""
    request = run.request
    run.view.started(run.host.name, _ACCESS)
    again = give_access(run.session, run.host, run.options.profile, request.access)
    run.view.done(run.host.name, _ACCESS, time.monotonic() - begun - result.elapsed_s)
    notes = (*result.notes, "the Launch agent runs again") if again else result.notes
    if not services:
        return replace(result, notes=notes, elapsed_s=time.monotonic() - begun)
    filled = fill(request.inventory, request.run, request.access, run.view)
    return replace(
        result,
        exit_code=filled.exit_code,
        outcomes=merged(result.outcomes, filled.outcomes),
        problems=filled.problems,
        notes=notes,
        elapsed_s=time.monotonic() - begun,
    )


def _started(run: Up, seen: Seen, prepared: Prepared, begun: float) -> UpResult:
    """The host is ready: have the profile run."""
    check_host(seen, run.host.name)
    on_host = len(expected_gpus(prepared.facts))
    run.options, notes = settled(run.options, seen, on_host)
    run.notes += notes
    check_profile(seen, run.options, run.host.name, local=run.host.connection.local)
    run.expected = on_host if run.options.wants_gpus else 0
    if takes_no_start(seen) and _serves(run, seen) and not lacks(run, seen):
        return result_of(run, seen, prepared, begun)
    run.view.started(run.host.name, STEP)
    if takes_no_start(seen):
        # A start ends all that runs in the profile: a busy API, a device plugin that has just begun are no reason.
        seen, problem = (seen, None) if _serves(run, seen) else _wait(run, PATIENCE_S)
        if problem is None:
            return _mended(run, seen, prepared, begun)
        problem, curable = _judged(run, problem, seen)
        if not curable:
            return _ended(run, seen, prepared, begun, problem, started=False)
    problem = start_profile(run, seen, phase_of(seen))
    if problem is not None:
        return _ended(run, run.look(), prepared, begun, problem, code=ExitCode.STEP_FAILED)
    seen, problem = _wait(run, GPUS_S)
    return _ended(run, seen, prepared, begun, problem)


def _serves(run: Up, seen: Seen) -> bool:
    return seen.node is not None and seen.node.ready and seen.node.gpus >= run.expected


def _mended(run: Up, seen: Seen, prepared: Prepared, begun: float) -> UpResult:
    """The profile serves: have what belongs to it beside."""
    if not lacks(run, seen):
        return _ended(run, seen, prepared, begun, None, started=False)
    problem = mend(run, seen)
    return _ended(run, run.look(), prepared, begun, problem, code=ExitCode.STEP_FAILED)


def _judged(run: Up, problem: Problem, seen: Seen) -> tuple[Problem, bool]:
    """What is wrong, and whether a start may help, which ends all pods.

    It brings no card, and an addon's image only where the bundle has a name for it. Pods that compute are worth more
    than the GPUs that are missing beside them.
    """
    ready = seen.node is not None and seen.node.ready
    if ready and problem.code != "gpu-missing" and (pods := holders(run.session, run.options.profile, seen)):
        words = f"{problem.message}; not started again, which would end what has GPUs ({pods})"
        return replace(problem, message=words), False
    bundled = problem.code != "minikube-addon-image" or bool(seen.bundle.addon_images)
    return problem, problem.code != "gpu-missing" and bundled


def _wait(run: Up, deadline_s: float) -> tuple[Seen, Problem | None]:
    what = f"GPUs | Wait for {run.expected} of them" if run.expected else "Node | Wait until it is Ready"
    run.view.task(run.host.name, STEP, what)
    return wait_for_gpus(
        run.session, run.options.profile, run.host.name, run.expected, run.look,
        lambda words: run.view.task(run.host.name, STEP, f"Node | {words}"), deadline_s=deadline_s,
    )  # fmt: skip


def _ended(
    run: Up,
    seen: Seen,
    prepared: Prepared,
    begun: float,
    problem: Problem | None,
    *,
    started: bool = True,
    code: ExitCode = ExitCode.NOT_READY,
) -> UpResult:
    if problem is None:
        run.view.done(run.host.name, STEP, time.monotonic() - begun)
        return result_of(run, seen, prepared, begun, started=started)
    run.view.failed(run.host.name, STEP, problem.message)
    return result_of(run, seen, prepared, begun, started=started and run.begun, problems=(problem,), code=code)


def start(request: MinikubeRequest, view: ApplyView) -> UpResult:
    """Start a profile that is there, with the settings that it was made with, on a host that stays as it is.

    With an inventory the host is made what that says, as `up` does.

    Raises:
        GpuctlError: the host cannot be asked (exit 4), or there is no such profile (exit 6).
    """
    host = request.inventory.hosts[0]
    with connected(request.inventory, request.access) as session:
        seen = look(session, host.name, request.profile)
    if phase_of(seen) is Phase.ABSENT:
        fix = f"`gpuctl minikube up --profile {request.profile}` makes it"
        words = f"there is no profile {request.profile}"
        raise GpuctlError(ExitCode.NOT_READY, Problem("minikube-profile-unknown", words, fix, host.name))
    as_made = made_with(seen, request.profile)
    again = UpRequest(
        request.inventory, request.run, as_made, request.access, kubeconfig=request.kubeconfig, bare=request.bare,
        again=True,
    )  # fmt: skip
    return _brought_up(again, as_made, view)
