"""`gpuctl minikube status`, `stop` and `down`: look at a profile, halt it, take it away."""

from __future__ import annotations

import base64
import time
from collections.abc import Iterator
from dataclasses import replace

from bootstrap.errors import GpuctlError, Problem
from bootstrap.exit_codes import ExitCode
from bootstrap.kube.kubeconfig import context_name
from bootstrap.launch.agent_model import UNIT
from bootstrap.minikube.access import halt_agent, take_access
from bootstrap.minikube.checks import broken, check_docker, check_own
from bootstrap.minikube.command import MINIKUBE
from bootstrap.minikube.connection import connected
from bootstrap.minikube.contexts import forget
from bootstrap.minikube.events import Step
from bootstrap.minikube.failures import problem_of
from bootstrap.minikube.look import DOCKER, LABEL, Seen, look
from bootstrap.minikube.model import DownResult, MinikubeRequest, StatusResult
from bootstrap.minikube.process import run_minikube
from bootstrap.minikube.seed import purge
from bootstrap.minikube.state import Phase, parts_of, phase_of
from bootstrap.probe.session import Session
from bootstrap.progress import Progress

_TIMEOUT_S = 300.0
_STEP = "minikube"


def status(request: MinikubeRequest) -> StatusResult:
    """The profile as it is; exit 6 unless it runs and its node is Ready.

    Raises:
        GpuctlError: the host cannot be asked (exit 4), or there is no such profile (exit 6).
    """
    begun = time.monotonic()
    host = request.inventory.hosts[0].name
    with connected(request.inventory, request.access) as session:
        seen = look(session, host, request.profile)
        agent = session.run(["systemctl", "is-active", UNIT]).out.strip() if seen.served else ""
    check_docker(seen, host)
    phase = phase_of(seen)
    if phase is Phase.ABSENT:
        raise GpuctlError(ExitCode.NOT_READY, _unknown(request.profile, host))
    half = broken(seen, request.profile)
    ready = phase is Phase.RUNNING and seen.node is not None and seen.node.ready
    return StatusResult(
        exit_code=ExitCode.OK if ready else ExitCode.NOT_READY,
        profile=request.profile,
        host=host,
        phase=str(phase),
        parts=parts_of(seen),
        elapsed_s=time.monotonic() - begun,
        node=seen.node.name if seen.node else "",
        ready=ready,
        kubernetes_version=str(((seen.config or {}).get("KubernetesConfig") or {}).get("KubernetesVersion") or ""),
        gpus=seen.node.gpus if seen.node else 0,
        docker_version=seen.docker_version,
        minikube_version=seen.version,
        agent=agent,
        problems=(replace(half, host=host),) if half else (),
    )


def stop(request: MinikubeRequest, progress: Progress) -> DownResult:
    """Halt the profile, after the agent that lives by it; what it holds stays.

    Raises:
        GpuctlError: the host cannot be asked (exit 4), or there is no such profile (exit 6).
    """
    return _ended(request, progress, "stop", missing_ok=False)


def down(request: MinikubeRequest, progress: Progress) -> DownResult:
    """Delete the profile with its container, volume, network and context, and see that they are gone.

    Other profiles, containers and contexts are not touched. A profile of which only a part is there goes likewise.

    Raises:
        GpuctlError: the host cannot be asked (exit 4).
    """
    return _ended(request, progress, "delete", missing_ok=True)


def _ended(request: MinikubeRequest, progress: Progress, verb: str, *, missing_ok: bool) -> DownResult:
    begun = time.monotonic()
    host = request.inventory.hosts[0].name
    left: tuple[str, ...] = ()
    purged, notes = 0, list[str]()
    with connected(request.inventory, request.access) as session:
        seen = look(session, host, request.profile)
        check_docker(seen, host)
        check_own(seen, request.profile, host, deleting=verb == "delete", orphan=request.orphan)
        before = phase_of(seen)
        if before is Phase.ABSENT and not missing_ok:
            raise GpuctlError(ExitCode.NOT_READY, _unknown(request.profile, host))
        if seen.served:
            notes += _halted(request, session, verb)
        ca = _ca(session, seen) if verb == "delete" else ""
        problem = None if before is Phase.ABSENT else _run(session, request.profile, host, verb, progress)
        if verb == "delete" and before is not Phase.ABSENT:
            left = tuple(_left(session, look(session, host, request.profile), request.profile))
            problem = problem if left else None
        if ca and not left:
            notes += _forget(request, ca)
        if request.purge and not left:
            purged, note = _purge(session, seen, request.profile, host)
            notes += note
    if left and problem is None:
        words = f"profile {request.profile} was deleted, and this is still there: {', '.join(left)}"
        problem = Problem("minikube-profile-broken", words, "run the same command again", host)
    return DownResult(
        exit_code=ExitCode.STEP_FAILED if problem else ExitCode.OK,
        profile=request.profile,
        host=host,
        was=str(before),
        elapsed_s=time.monotonic() - begun,
        left=left,
        purged=purged,
        notes=tuple(notes),
        problems=(problem,) if problem else (),
    )


def _halted(request: MinikubeRequest, session: Session, verb: str) -> list[str]:
    """Stop the agent that lives by the profile before the profile: it would take jobs that nobody can run."""
    host = request.inventory.hosts[0]
    if verb == "stop":
        halted = halt_agent(session, host, request.profile, request.access)
        return ["the Launch agent is stopped, and starts again with the profile"] if halted else []
    halted = take_access(session, host, request.profile, request.access)
    again = f"`gpuctl minikube up --launch-agent --profile {request.profile}`"
    return [f"the Launch agent is stopped; {again} brings it back"] if halted else []


def _ca(session: Session, seen: Seen) -> str:
    """The CA of all profiles of that user, as kubeconfigs embed it; empty when there is none."""
    done = session.run(["cat", f"{seen.home}/.minikube/ca.crt"])
    return "" if done.rc else base64.b64encode(done.out.encode()).decode()


def _forget(request: MinikubeRequest, ca: str) -> list[str]:
    """Take the context here away, where the host is another machine; what to say of it."""
    if request.kubeconfig is None or request.inventory.hosts[0].connection.local:
        return []
    name = context_name(request.profile)
    try:
        gone = forget(request.kubeconfig, request.profile, ca)
    except GpuctlError as error:
        return [f"context {name} stays here: {problem.message}" for problem in error.problems]
    return [f"context {name} was taken out of {request.kubeconfig}"] if gone else []


def _purge(session: Session, seen: Seen, profile: str, host: str) -> tuple[int, list[str]]:
    if not seen.bundle.path:
        return 0, ["there is no bundle on the host: gpuctl put nothing into minikube's cache"]
    count, others = purge(session, profile, host)
    kept = f"the bundle's files stay in minikube's cache: the other profiles ({', '.join(others)}) may need them"
    return count, [kept] if others else []


def _run(session: Session, profile: str, host: str, verb: str, progress: Progress) -> Problem | None:
    progress.started(host, _STEP)
    begun = time.monotonic()
    title = {"stop": "Stop", "delete": "Delete"}[verb]

    def tell(event: object) -> None:
        if isinstance(event, Step):
            progress.task(host, _STEP, f"{title} | {event.message}")

    argv = [MINIKUBE, verb, "--profile", profile, "--output=json"]
    done = run_minikube(session, argv, timeout_s=_TIMEOUT_S, heard=tell)
    if done.rc:
        problem = problem_of(done.rc, done.events, done.said, host, profile)
        progress.failed(host, _STEP, problem.message)
        return problem
    progress.done(host, _STEP, time.monotonic() - begun)
    return None


def _left(session: Session, seen: Seen, profile: str) -> Iterator[str]:
    """What is still there of a profile: minikube's record, and what Docker has under its name."""
    if seen.config is not None or seen.folder:
        yield f"its record in {seen.home}/.minikube/profiles"
    for kind in ("container", "volume", "network"):
        argv = [*DOCKER, kind, "ls", "--quiet", "--filter", f"label={LABEL}={profile}"]
        found = session.run([*argv, "--all"] if kind == "container" else argv, timeout_s=30.0)
        if found.rc:
            yield f"perhaps a {kind}: Docker does not say"
        elif found.out.strip():
            yield f"a {kind}"


def _unknown(profile: str, host: str) -> Problem:
    fix = f"`gpuctl minikube up --profile {profile}` makes it"
    return Problem("minikube-profile-unknown", f"there is no profile {profile}", fix, host)
