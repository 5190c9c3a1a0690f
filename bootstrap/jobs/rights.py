"""What a kubeconfig may: often no more than one namespace."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from bootstrap.errors import Problem
from bootstrap.kube.client import ApiError

FORBIDDEN = 403
_NO_RIGHT = "cannot create resource"  # what quotas and admission refuse has the same status


class Api(Protocol):
    """What is used of bootstrap.kube.client.Cluster."""

    def get(self, path: str, query: Mapping[str, str] | None = None) -> dict[str, Any] | None:
        """GET; None for 404. Raises ApiError."""


def read(api: Api, path: str, forbidden: dict[str, Any] | None) -> dict[str, Any] | None:
    """An object, None where there is none; `forbidden` where this user may not know. Raises ApiError."""
    try:
        return api.get(path)
    except ApiError as error:
        if error.status == FORBIDDEN:
            return forbidden
        raise


def absent(api: Api, path: str) -> bool:
    """Whether it is certain that there is no such object. Raises ApiError."""
    return read(api, path, {}) is None


def api_problem(error: ApiError, verb: str, resource: str, namespace: str) -> Problem:
    """Why the API did not do it: this user may not, or it does not answer."""
    if error.status == FORBIDDEN:
        return missing_right(error, verb, resource, namespace)
    return Problem("cluster-unreachable", error.message, "look at the control plane")


def may_not_create(error: ApiError) -> bool:
    """Whether an object was refused for a right that this user has not."""
    return error.status == FORBIDDEN and _NO_RIGHT in error.message


def missing_right(error: ApiError, verb: str, resource: str, namespace: str) -> Problem:
    """Name the right, for whom to ask for it."""
    fix = f"ask for that right, or choose another --namespace: kubectl -n {namespace} auth can-i {verb} {resource}"
    what = f"this kubeconfig may not {verb} {resource} in namespace {namespace}"
    return Problem("job-forbidden", what, fix, details=error.message)
