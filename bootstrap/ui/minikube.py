"""The screens of `gpuctl minikube`: what stands now, in a line or two, and the next command."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import TYPE_CHECKING

from bootstrap.exit_codes import ExitCode
from bootstrap.ui.layout import brief, columns, count

if TYPE_CHECKING:
    from bootstrap.minikube.contexts import HomeContext
    from bootstrap.minikube.model import DownResult, StatusResult, UpResult


def up_screen(result: UpResult, named: Sequence[str]) -> list[str]:
    """`up` and `start`; `named` are the options that say where the profile is."""
    lines = [f"  note: {note}" for note in result.notes]
    if result.exit_code is not ExitCode.OK:
        return lines
    took = brief(result.elapsed_s)
    changed = result.started or any(outcome.completed for outcome in result.outcomes)
    verb = f"done in {took}" if changed else f"nothing to do ({took})"
    kind = " (simulated)" if result.simulated and result.gpus else ""
    gpus = f", {count(result.gpus, 'GPU')} allocatable{kind}" if result.gpus_expected or result.gpus else ""
    lines.insert(0, f"{verb}: node {result.node} Ready, Kubernetes {result.kubernetes_version}{gpus}")
    use = result.profile
    unread = ["--kubeconfig", result.kubeconfig] if result.kubeconfig else []
    command = shlex.join(["kubectl", *([] if result.home else unread), "config", "use-context", use])
    which = "is the current context" if result.context else f"(current context left as it was: use `{command}`)"
    where = f" of {result.host}" if named else ""
    where += f" {result.kubeconfig}, which kubectl here does not read by itself" if unread and not result.home else ""
    lines.append(f"  kubeconfig{where}: context {result.profile} {which}")
    if result.home:
        lines.append(_home_line(result.home))
    if result.queues:
        lines.append(f"  Launch agent: takes jobs from {', '.join(result.queues)} of {result.entity}")
        place = list(named) if "--inventory" in named else ["--context", result.home.context if result.home else use]
        place += [] if "--inventory" in named else unread
        trial = ["gpuctl", "launch", "test", "-q", result.queues[0], "-e", result.entity, *place]
        return [*lines, f"next: {shlex.join(trial)}"]
    return [*lines, f"next: {_command('status', result.profile, named)}"]


def _home_line(home: HomeContext) -> str:
    current = ", the current one" if home.current else ""
    tunnel = f", for as long as this runs: {home.tunnel}" if home.tunnel else ""
    return f"  here: context {home.context}{current} in {home.path}{tunnel}"


def status_screen(result: StatusResult, named: Sequence[str]) -> list[str]:
    """One line per part, and the command that makes the profile run; `named` as for `up_screen`."""
    lines = [f"profile {result.profile} on {result.host}: {result.phase}"]
    rows = list(result.parts.items())
    ready = "Ready" if result.ready else "not Ready" if result.node else "does not answer"
    rows.append(("node", f"{result.node} {ready}".strip()))
    rows.append(("GPUs", f"{result.gpus} allocatable"))
    rows += [("Launch agent", result.agent)] if result.agent else []
    versions = (("Kubernetes", result.kubernetes_version), ("Docker", result.docker_version))
    rows += [(name, version) for name, version in (*versions, ("minikube", result.minikube_version)) if version]
    lines += columns(rows)
    reached = result.parts.get("Kubeconfig", "Configured") == "Configured"
    if result.problems or (result.exit_code is ExitCode.OK and reached):
        return lines  # a problem has a fix of its own
    verb = {"stopped": "start", "paused": "start", "broken": "down"}.get(result.phase, "up")
    return [*lines, f"next: {_command(verb, result.profile, named)}"]


def _command(verb: str, profile: str, named: Sequence[str]) -> str:
    return shlex.join(["gpuctl", "minikube", verb, "--profile", profile, *named])


def down_screen(result: DownResult, verb: str, named: Sequence[str]) -> list[str]:
    """`stop` and `down`; `named` as for `up_screen`."""
    notes = [f"  note: {note}" for note in result.notes]
    if result.exit_code is not ExitCode.OK:
        return notes
    took = f" ({brief(result.elapsed_s)})"
    more = [f"  {count(result.purged, 'file')} of the bundle taken out of minikube's cache"] if result.purged else []
    more += notes
    if result.was == "absent":
        return [f"there is no profile {result.profile} on {result.host}", *more]
    if verb == "down":
        return [f"profile {result.profile} is gone{took}", *more]
    stopped = f"profile {result.profile} is stopped, with all that it holds{took}"
    return [stopped, *more, f"next: {_command('start', result.profile, named)}"]
