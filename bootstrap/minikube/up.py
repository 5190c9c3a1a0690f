"""`gpuctl minikube up` and `start`: the host, then minikube, then GPUs that can be had. Each reads as its stations."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace

import yaml

from bootstrap.apply.minikube_host import Prepared, prepare
from bootstrap.apply.view import ApplyView
from bootstrap.errors import GpuctlError, Problem, usage_error
from bootstrap.exit_codes import ExitCode
from bootstrap.inventory.model import Host
from bootstrap.minikube.checks import check_host, check_profile
from bootstrap.minikube.command import MINIKUBE, start_command, start_environment
from bootstrap.minikube.contexts import HomeContext, bring_home, credentials
from bootstrap.minikube.events import Download, Event, Remark, Step
from bootstrap.minikube.failures import problem_of
from bootstrap.minikube.gpus import wait_for_gpus
from bootstrap.minikube.look import Seen, look
from bootstrap.minikube.model import MinikubeRequest, UpRequest, UpResult
from bootstrap.minikube.options import AUTO, ProfileOptions, check_options
from bootstrap.minikube.process import run_minikube
from bootstrap.minikube.seed import load_addons, seed
from bootstrap.minikube.settle import runs_as_asked, settled
from bootstrap.minikube.state import Phase, made_with, phase_of
from bootstrap.plan.survey import expected_gpus
from bootstrap.probe.remote import reach
from bootstrap.probe.session import Session
from bootstrap.probe.ssh_errors import ConnectFailure

START_S = 1200.0  # a cold start with all downloads; 51 to 146 s were measured with files at hand
DELETE_S = 300.0
PATIENCE_S = 45.0
GPUS_S = 180.0  # 8 to 25 s were measured once the device plugin's image is there
_STEP = "minikube"


@dataclass(slots=True)
class _Up:
    """One run under way."""

    request: UpRequest
    host: Host
    session: Session
    view: ApplyView
    options: ProfileOptions
    expected: int = 0
    notes: list[str] = field(default_factory=list)

    def look(self) -> Seen:
        return look(self.session, self.host.name, self.options.profile)


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
    host = request.inventory.hosts[0]
    with reach(host, request.access) as session:
        try:
            # What cannot become of an existing profile is refused before the host is touched.
            seen = look(session, host.name, given.profile)
            check_profile(seen, given, host.name, local=host.connection.local)
            prepared = prepare(request.inventory, request.run, request.access, view)
            run = _Up(request, host, session, view, given)
            if prepared.exit_code is not ExitCode.OK:
                return _result(run, seen, prepared, begun, problems=prepared.problems, code=prepared.exit_code)
            return _started(run, prepared, begun)
        except ConnectFailure as failure:
            problem = Problem(failure.code, str(failure), failure.fix, host.name)
            raise GpuctlError(ExitCode.PREFLIGHT, problem) from failure


def _started(run: _Up, prepared: Prepared, begun: float) -> UpResult:
    """The host is ready: have the profile run."""
    seen = run.look()
    check_host(seen, run.host.name)
    on_host = len(expected_gpus(prepared.facts))
    run.options, notes = settled(run.options, seen, on_host)
    run.notes += notes
    check_profile(seen, run.options, run.host.name, local=run.host.connection.local)
    run.expected = on_host if run.options.wants_gpus else 0
    if runs_as_asked(seen, run.options):
        if seen.node and seen.node.gpus >= run.expected:
            return _result(run, seen, prepared, begun)
        # A start restarts what runs in the profile: a device plugin that has just begun, or a lost card, is no reason.
        run.view.started(run.host.name, _STEP)
        seen, problem = _wait(run, PATIENCE_S)
        if problem is None or problem.code == "gpu-missing":
            return _ended(run, seen, prepared, begun, problem, started=False)
    else:
        run.view.started(run.host.name, _STEP)
    problem = _start(run, seen, phase_of(seen))
    if problem is not None:
        return _ended(run, run.look(), prepared, begun, problem, code=ExitCode.STEP_FAILED)
    seen, problem = _wait(run, GPUS_S)
    return _ended(run, seen, prepared, begun, problem)


def _wait(run: _Up, deadline_s: float) -> tuple[Seen, Problem | None]:
    what = f"GPUs | Wait for {run.expected} of them" if run.expected else "Node | Wait until it is Ready"
    run.view.task(run.host.name, _STEP, what)
    return wait_for_gpus(
        run.session, run.options.profile, run.host.name, run.expected, run.look,
        lambda words: run.view.task(run.host.name, _STEP, f"Node | {words}"), deadline_s=deadline_s,
    )  # fmt: skip


def _ended(
    run: _Up,
    seen: Seen,
    prepared: Prepared,
    begun: float,
    problem: Problem | None,
    *,
    started: bool = True,
    code: ExitCode = ExitCode.NOT_READY,
) -> UpResult:
    if problem is None:
        run.view.done(run.host.name, _STEP, time.monotonic() - begun)
        return _result(run, seen, prepared, begun, started=started)
    run.view.failed(run.host.name, _STEP, problem.message)
    return _result(run, seen, prepared, begun, started=started, problems=(problem,), code=code)


def _start(run: _Up, seen: Seen, phase: Phase) -> Problem | None:
    """Call minikube; what it failed of. A profile that this run began and that came to nothing is taken away again."""
    if seen.bundle.path:
        run.view.task(run.host.name, _STEP, "Seed | Files and images of the bundle")
        seed(run.session, seen.bundle, run.host.name)
    if seen.root and not run.options.force:
        run.notes.append("minikube refuses root unless forced: --force was given for it")
    keep = not run.request.use_context and bool(_current_context(seen))
    argv = [*start_command(run.options, seen.bundle, root=seen.root), *(["--keep-context"] if keep else [])]
    try:
        _quiet(run)
        done = run_minikube(
            run.session, argv, timeout_s=START_S, environment=start_environment(seen.bundle),
            heard=lambda event: _tell(run, event),
        )  # fmt: skip
    except BaseException:
        if phase is Phase.ABSENT:
            _take_away(run)
        raise
    if done.rc == 0:
        # A profile that was halted has the bundle's images; one that runs short of GPUs may lack one.
        if not seen.bundle.path or phase in {Phase.STOPPED, Phase.PAUSED}:
            return None
        return load_addons(run.session, seen.bundle, run.options.profile, MINIKUBE, run.host.name)
    problem = problem_of(done.rc, done.events, done.said, run.host.name)
    if phase is Phase.ABSENT:
        _take_away(run)
    return problem


def _quiet(run: _Up) -> None:
    """Minikube looks for newer releases of itself at each start, which a closed network makes it wait for."""
    run_minikube(run.session, [MINIKUBE, "config", "set", "WantUpdateNotification", "false"], timeout_s=60.0)


def _take_away(run: _Up) -> None:
    """Delete the half-made profile of this run."""
    run.view.task(run.host.name, _STEP, "Clean up | Delete the profile that came to nothing")
    run_minikube(run.session, [MINIKUBE, "delete", "--profile", run.options.profile], timeout_s=DELETE_S)


def _tell(run: _Up, event: Event) -> None:
    if isinstance(event, Step):
        run.view.task(run.host.name, _STEP, f"Start {event.number} of {event.total} | {event.message}")
    elif isinstance(event, Download):
        percent = f" {event.percent:.0f} %" if event.percent is not None else ""
        run.view.task(run.host.name, _STEP, f"Download | {event.artifact}{percent}")
    elif isinstance(event, Remark) and event.warning:
        run.notes.append(event.message.splitlines()[0])


def _current_context(seen: Seen) -> str:
    try:
        found = yaml.safe_load(seen.kubeconfig) or {}
        return str(found.get("current-context") or "")
    except (yaml.YAMLError, AttributeError):
        return ""


def _result(
    run: _Up,
    seen: Seen,
    prepared: Prepared,
    begun: float,
    *,
    started: bool = False,
    problems: tuple[Problem, ...] = (),
    code: ExitCode = ExitCode.OK,
) -> UpResult:
    kubernetes = (seen.config or {}).get("KubernetesConfig") or {}
    home = _home(run, seen) if code is ExitCode.OK else None
    return UpResult(
        exit_code=code,
        profile=run.options.profile,
        host=run.host.name,
        started=started,
        elapsed_s=time.monotonic() - begun,
        node=seen.node.name if seen.node else "",
        kubernetes_version=str(kubernetes.get("KubernetesVersion") or ""),
        gpus=seen.node.gpus if seen.node else 0,
        gpus_expected=run.expected,
        simulated=prepared.facts.driver.simulated,
        context=run.options.profile if _current_context(seen) == run.options.profile else "",
        home=home,
        outcomes=prepared.outcomes,
        notes=tuple(dict.fromkeys(run.notes)),
        problems=problems,
    )


def _home(run: _Up, seen: Seen) -> HomeContext | None:
    """The context here, where the host is another machine. The profile runs without it: what is wrong is a note."""
    path = run.request.kubeconfig
    if path is None or run.host.connection.local:
        return None
    name = run.options.profile
    try:
        found = credentials(run.session, seen, name)
        return bring_home(found, run.host, name, path, use_context=run.request.use_context)
    except GpuctlError as error:
        run.notes += [f"no context here: {problem.message} ({problem.fix})" for problem in error.problems]
        return None


def start(request: MinikubeRequest, view: ApplyView) -> UpResult:
    """Start a profile that is there, with the settings that it was made with.

    Raises:
        GpuctlError: the host cannot be asked (exit 4), or there is no such profile (exit 6).
    """
    host = request.inventory.hosts[0]
    with reach(host, request.access) as session:
        try:
            seen = look(session, host.name, request.profile)
        except ConnectFailure as failure:
            problem = Problem(failure.code, str(failure), failure.fix, host.name)
            raise GpuctlError(ExitCode.PREFLIGHT, problem) from failure
    if phase_of(seen) is Phase.ABSENT:
        fix = f"`gpuctl minikube up --profile {request.profile}` makes it"
        words = f"there is no profile {request.profile}"
        raise GpuctlError(ExitCode.NOT_READY, Problem("minikube-profile-unknown", words, fix, host.name))
    as_made = made_with(seen, request.profile)
    again = UpRequest(request.inventory, request.run, as_made, request.access, kubeconfig=request.kubeconfig)
    return _brought_up(again, as_made, view)
