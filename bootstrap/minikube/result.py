"""What `gpuctl minikube up` came to, put together of the host, the profile and the kubeconfigs."""

from __future__ import annotations

import time

from bootstrap.apply.minikube_host import Prepared
from bootstrap.errors import GpuctlError, Problem
from bootstrap.exit_codes import ExitCode
from bootstrap.inventory.model import LAUNCH_AGENT
from bootstrap.minikube.contexts import HomeContext, bring_home, credentials
from bootstrap.minikube.look import Seen
from bootstrap.minikube.model import UpResult
from bootstrap.minikube.starting import Up, current_context
from bootstrap.minikube.surroundings import home_note, unread


def result_of(
    run: Up,
    seen: Seen,
    prepared: Prepared,
    begun: float,
    *,
    started: bool = False,
    problems: tuple[Problem, ...] = (),
    code: ExitCode = ExitCode.OK,
) -> UpResult:
    """The result as the profile was seen last; where all is well, its context is brought home."""
    kubernetes = (seen.config or {}).get("KubernetesConfig") or {}
    home = _home(run, seen) if code is ExitCode.OK else None
    here = home.path if home else f"{seen.home}/.kube/config" if run.host.connection.local else ""
    notes = [*run.notes, *([home_note(seen.minikube_home, run.options.profile)] if seen.minikube_home else [])]
    agent = run.host.settings if LAUNCH_AGENT in run.host.groups else {}
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
        context=run.options.profile if current_context(seen) == run.options.profile else "",
        queues=tuple(agent.get("launch_agent_queues") or ()),
        entity=str(agent.get("launch_agent_entity") or ""),
        home=home,
        kubeconfig=unread(here),
        outcomes=prepared.outcomes,
        notes=tuple(dict.fromkeys(notes)),
        problems=problems,
    )


def _home(run: Up, seen: Seen) -> HomeContext | None:
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
