"""The screens of `gpuctl minikube`: what stands now, in a line or two, and the next command."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import TYPE_CHECKING

from bootstrap.exit_codes import ExitCode
from bootstrap.ui.layout import brief, columns, count

if TYPE_CHECKING:
    from bootstrap.minikube.model import DownResult, StatusResult, UpResult


def up_screen(result: UpResult, named: Sequence[str]) -> list[str]:
    """`up` and `start`; `named` are the options that say where the profile is."""
    lines = [f"  note: {note}" for note in result.notes]
    if result.exit_code is not ExitCode.OK:
        return lines
    verb = f"done in {brief(result.elapsed_s)}" if result.started else f"nothing to do ({brief(result.elapsed_s)})"
    kind = " (simulated)" if result.simulated and result.gpus else ""
    gpus = f", {count(result.gpus, 'GPU')} allocatable{kind}" if result.gpus_expected or result.gpus else ""
    lines.insert(0, f"{verb}: node {result.node} Ready, Kubernetes {result.kubernetes_version}{gpus}")
    here = "the current context" if result.context else f"context {result.profile} (`kubectl config use-context`)"
    where = "" if not named else f" on {result.host}"
    lines.append(f"  kubeconfig: {here}{where}")
    command = ["gpuctl", "minikube", "status", "--profile", result.profile, *named]
    return [*lines, f"next: {shlex.join(command)}"]


def status_screen(result: StatusResult) -> list[str]:
    """One line per part."""
    lines = [f"profile {result.profile} on {result.host}: {result.phase}"]
    rows = [(f"  {name}", said) for name, said in result.parts.items()]
    ready = "Ready" if result.ready else "not Ready" if result.node else "does not answer"
    rows.append(("  node", f"{result.node} {ready}".strip()))
    rows.append(("  GPUs", f"{result.gpus} allocatable"))
    versions = (("Kubernetes", result.kubernetes_version), ("Docker", result.docker_version))
    rows += [(f"  {name}", version) for name, version in (*versions, ("minikube", result.minikube_version)) if version]
    return lines + columns(rows)


def down_screen(result: DownResult, verb: str) -> list[str]:
    """`stop` and `down`."""
    if result.exit_code is not ExitCode.OK:
        return []
    if result.was == "absent":
        return [f"there is no profile {result.profile} on {result.host}"]
    word = "is gone" if verb == "down" else "is stopped; `gpuctl minikube start` goes on with it"
    return [f"profile {result.profile} {word} ({brief(result.elapsed_s)})"]
