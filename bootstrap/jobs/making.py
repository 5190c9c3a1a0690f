"""Make the objects of a job, all or none, and take them away again."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from bootstrap.errors import GpuctlError, Problem
from bootstrap.exit_codes import ExitCode
from bootstrap.jobs.check import TAKEN_FIX, pods_of, refusals
from bootstrap.jobs.objects import folder_of, path_of
from bootstrap.jobs.render import render
from bootstrap.jobs.spec import JobSpec
from bootstrap.kube.client import ApiError, Cluster

PAUSE_S = 0.5
GONE_S = 45.0  # a pod has 30 s to end: a program that minds SIGTERM may write a checkpoint
_REFUSALS = range(400, 500)
_CONFLICT = 409
_QUOTA_CHANGED = "Operation cannot be fulfilled"  # a conflict of another kind


def submit(cluster: Cluster, spec: JobSpec) -> list[dict[str, Any]]:
    """Make the objects of a job, all or none; they are returned, with the metadata that the API gave them.

    Raises:
        GpuctlError: the cluster cannot ever run it, or refuses it (exit 4).
    """
    objects = render(spec)
    try:
        problems = tuple(refusals(cluster, spec, objects))
    except ApiError as error:
        problems = (Problem("cluster-unreachable", error.message, "look at the control plane"),)
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
        withdraw(cluster, spec, made, pods=whole)
        if not isinstance(error, ApiError):
            raise
        raise GpuctlError(ExitCode.PREFLIGHT, _refused(document, error)) from error
    return made


def _create(cluster: Cluster, document: dict[str, Any]) -> dict[str, Any]:
    answer = cluster.call("POST", folder_of(document), body=document) or {}
    return {**document, "metadata": {**document["metadata"], **answer.get("metadata", {})}}


def _refused(document: Mapping[str, Any], error: ApiError) -> Problem:
    meta = document["metadata"]
    name = f"{document['kind']} {meta['namespace']}/{meta['name']}"
    if error.status == _CONFLICT and not error.message.startswith(_QUOTA_CHANGED):
        return Problem("job-name-taken", f"{name} is there already", TAKEN_FIX)
    return Problem("job-refused", f"{name} was refused: {error.message}", "correct what it says")


def withdraw(cluster: Cluster, spec: JobSpec, objects: Sequence[Mapping[str, Any]], *, pods: bool = True) -> bool:
    """Delete the objects of a job and, where it may have `pods`, wait for them to be gone; whether they are."""
    for document in reversed(objects):
        with suppress(ApiError):
            cluster.delete(path_of(document))
    end = time.monotonic() + GONE_S
    while pods and time.monotonic() < end:
        with suppress(ApiError):
            if not pods_of(cluster, spec):
                return True
        time.sleep(PAUSE_S)
    return not pods
