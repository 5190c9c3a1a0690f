"""The call of `minikube start`: the bundle seeded before it, its progress told, what came to nothing taken away."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from bootstrap.apply.view import ApplyView
from bootstrap.errors import GpuctlError, Problem
from bootstrap.inventory.model import Host
from bootstrap.kube.plain_yaml import parse_plain
from bootstrap.minikube.command import MINIKUBE, start_command, start_environment
from bootstrap.minikube.events import Download, Event, Remark, Step
from bootstrap.minikube.failures import problem_of
from bootstrap.minikube.look import Seen, look
from bootstrap.minikube.model import UpRequest
from bootstrap.minikube.options import ProfileOptions
from bootstrap.minikube.process import run_minikube
from bootstrap.minikube.seed import load_addons, seed
from bootstrap.minikube.state import Phase
from bootstrap.minikube.toolkit import toolkit_fault
from bootstrap.probe.session import Session
from bootstrap.probe.ssh_errors import ConnectFailure

START_S = 1200.0  # a cold start with all downloads; 51 to 146 s were measured with files at hand
DELETE_S = 300.0
STEP = "minikube"
# Warnings that tell people nothing: the runtime is always named. And those that a bundle brings about, which is there
# so that nothing is looked for on the internet.
_EMPTY = re.compile(r"minikube will default to")
_OF_A_BUNDLE = re.compile(
    r"minikube skips various validations|Specified Kubernetes version|Failing to connect to|Ignoring unknown custom"
)


@dataclass(slots=True)
class Up:
    """One `gpuctl minikube up` under way. `expected` counts the GPUs that the node is to offer.

    `begun` is whether minikube was called: what goes wrong after that is no refusal.
    """

    request: UpRequest
    host: Host
    session: Session
    view: ApplyView
    options: ProfileOptions
    expected: int = 0
    begun: bool = False
    bundled: bool = False
    notes: list[str] = field(default_factory=list)

    def look(self) -> Seen:
        """The profile as it is now. Raises GpuctlError (exit 4)."""
        return look(self.session, self.host.name, self.options.profile)


def start_profile(run: Up, seen: Seen, phase: Phase) -> Problem | None:
    """Call minikube; what it failed of. A profile that this run began and that came to nothing is taken away again.

    It is not called for a new profile whose GPUs Docker could not give it.

    Raises:
        ConnectFailure: the connection was lost.
        GpuctlError: the bundle cannot be put in place (exit 5).
    """
    if phase is Phase.ABSENT and run.expected:
        run.view.task(run.host.name, STEP, "Docker | Give a container all GPUs")
        if problem := toolkit_fault(run.session, run.host, run.request.access, run.options):
            return problem
    if seen.bundle.path:
        run.view.task(run.host.name, STEP, "Seed | Files and images of the bundle")
        seed(run.session, seen.bundle, run.host.name)
    if seen.root and not run.options.force:
        run.notes.append("minikube refuses root unless forced: --force was given for it")
    run.begun, run.bundled = True, bool(seen.bundle.path)
    keep = not run.request.use_context and bool(current_context(seen))
    # Said either way: minikube remembers what was said last.
    argv = [*start_command(run.options, seen.bundle, root=seen.root), f"--keep-context={str(keep).lower()}"]
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
    problem = problem_of(done.rc, done.events, done.said, run.host.name, run.options.profile)
    if phase is Phase.ABSENT:
        _take_away(run)
    return problem


def _quiet(run: Up) -> None:
    """Minikube looks for newer releases of itself at each start, which a closed network makes it wait for."""
    run_minikube(run.session, [MINIKUBE, "config", "set", "WantUpdateNotification", "false"], timeout_s=60.0)


def _take_away(run: Up) -> None:
    """Delete the half-made profile of this run."""
    run.view.task(run.host.name, STEP, "Clean up | Delete the profile that came to nothing")
    command = [MINIKUBE, "delete", "--profile", run.options.profile]
    try:
        rc = run_minikube(run.session, command, timeout_s=DELETE_S).rc
    except (ConnectFailure, GpuctlError):  # why it came to nothing is what has to be told
        rc = -1
    if rc:
        fix = f"`gpuctl minikube down --profile {run.options.profile}` takes the rest away"
        run.notes.append(f"what was begun of the profile could not be deleted: {fix}")


def _tell(run: Up, event: Event) -> None:
    if isinstance(event, Step):
        run.view.task(run.host.name, STEP, f"Start {event.number} of {event.total} | {event.message}")
    elif isinstance(event, Download):
        percent = f" {event.percent:.0f} %" if event.percent is not None else ""
        run.view.task(run.host.name, STEP, f"Download | {event.artifact}{percent}")
    elif isinstance(event, Remark) and event.warning and _tells(event.message, bundled=run.bundled):
        run.notes.append(event.message.splitlines()[0])


def _tells(message: str, *, bundled: bool) -> bool:
    return not (_EMPTY.search(message) or (bundled and _OF_A_BUNDLE.search(message)))


def current_context(seen: Seen) -> str:
    """The current context of the user's kubeconfig there; empty when there is none, or no kubeconfig."""
    try:
        found = parse_plain(seen.kubeconfig) or {}
        return str(found.get("current-context") or "")
    except (AttributeError, ValueError):
        return ""
