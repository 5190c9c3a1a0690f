"""Make the objects of a job, all or none, and take them away again."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from bootstrap.errors import GpuctlError, Problem
from bootstrap.exit_codes import ExitCode
from bootstrap.jobs.check import TAKEN_FIX, pods_of, refusals
from bootstrap.jobs.objects import folder_of, kubectl_name, path_of
from bootstrap.jobs.render import render
from bootstrap.jobs.rights import api_problem, may_not_create, missing_right
from bootstrap.jobs.spec import JobSpec
from bootstrap.kube.client import ApiError, Cluster

PAUSE_S = 0.5
GONE_S = 45.0  # a pod has 30 s to end: a program that minds SIGTERM may write a checkpoint
_REFUSALS = range(400, 500)
_CONFLICT = 409
_QUOTA_CHANGED = "Operation cannot be fulfilled"  # a conflict of another kind


@dataclass(frozen=True, slots=True)
class Left:
    """What is left of a job that was taken away: `objects` as kubectl calls them; `pods` that are still ending."""

    namespace: str = ""
    objects: tuple[str, ...] = ()
    pods: bool = False

    @property
    def words(self) -> str:
        """Of objects that could not be deleted; empty where all were."""
        return not_deleted(self.namespace, self.objects) if self.objects else ""


def not_deleted(namespace: str, objects: Sequence[str]) -> str:
    """That these are still there, with the command for it."""
    return f"it could not be deleted: kubectl -n {namespace} delete {' '.join(objects)}"


def submit(cluster: Cluster, spec: JobSpec) -> list[dict[str, Any]]:
    """Make the objects of a job, all or none; they are returned, with the metadata that the API gave them.

    Raises:
        GpuctlError: the cluster cannot ever run it, or refuses it (exit 4).
    """
    objects = render(spec)
    try:
        problems = tuple(refusals(cluster, spec, objects))
    except ApiError as error:
        problems = (api_problem(error, "list", "pods", spec.namespace),)
    if problems:
        raise GpuctlError(ExitCode.PREFLIGHT, *problems)
    made: list[dict[str, Any]] = []
    try:
        for document in objects:
            made.append(document)  # also without an answer: it may be there
            made[-1] = _create(cluster, document)
    except BaseException as error:
        whole = len(made) == len(objects)
        if isinstance(error, ApiError) and error.status in _REFUSALS:
            del made[-1]  # what has its place is somebody else's
            whole = False
        left = withdraw(cluster, spec, made, pods=whole)
        if not isinstance(error, ApiError):
            raise
        raise GpuctlError(ExitCode.PREFLIGHT, _refused(document, error, left)) from error
    return made


def _create(cluster: Cluster, document: dict[str, Any]) -> dict[str, Any]:
    answer = cluster.call("POST", folder_of(document), body=document) or {}
    return {**document, "metadata": {**document["metadata"], **answer.get("metadata", {})}}


def _refused(document: Mapping[str, Any], error: ApiError, left: Left) -> Problem:
    meta = document["metadata"]
    name = f"{document['kind']} {meta['namespace']}/{meta['name']}"
    more = f"; {left.words}" if left.words else ""
    if may_not_create(error):
        problem = missing_right(error, "create", kubectl_name(document).partition("/")[0], meta["namespace"])
        return replace(problem, message=problem.message + more)
    if error.status == _CONFLICT and not error.message.startswith(_QUOTA_CHANGED):
        return Problem("job-name-taken", f"{name} is there already{more}", TAKEN_FIX)
    return Problem("job-refused", f"{name} was refused: {error.message}{more}", "correct what it says")


def withdraw(cluster: Cluster, spec: JobSpec, objects: Sequence[Mapping[str, Any]], *, pods: bool = True) -> Left:
    """Delete the objects of a job and, where it may have `pods`, wait for them to be gone; what is left.

    An API that is silent for a moment is asked again: objects that nobody minds hold GPUs for ever.
    """
    left = list(reversed(objects))
    end = time.monotonic() + GONE_S
    while True:
        left = [document for document in left if not _deleted(cluster, document)]
        pods = pods and _has_pods(cluster, spec)
        if not (left or pods) or time.monotonic() >= end:
            return Left(spec.namespace, tuple(kubectl_name(document) for document in left), pods)
        time.sleep(PAUSE_S)


def _deleted(cluster: Cluster, document: Mapping[str, Any]) -> bool:
    try:
        cluster.delete(path_of(document))
    except ApiError:
        return False
    return True


def _has_pods(cluster: Cluster, spec: JobSpec) -> bool:
    """Whether it has any, or nobody knows."""
    try:
        return bool(pods_of(cluster, spec))
    except ApiError:
        return True
