"""The API of a cluster, found by an inventory or a kubeconfig, that has answered once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from bootstrap.access import Access
from bootstrap.errors import GpuctlError, Problem
from bootstrap.exit_codes import ExitCode
from bootstrap.inventory.model import Inventory
from bootstrap.kube.client import ApiError, Cluster, cluster_api, kubeconfig_api


@dataclass(frozen=True, slots=True)
class Whereabouts:
    """Without an inventory the cluster is that of `context` in `kubeconfig`: kubectl's own where they are empty."""

    inventory: Inventory | None = None
    kubeconfig: Path | None = None
    context: str = ""
    access: Access = field(default_factory=Access)


@contextmanager
def answering_api(where: Whereabouts, code: str = "cluster-unreachable") -> Iterator[Cluster]:
    """The first of the cluster's APIs that answers; `code` is the problem's when none does.

    Raises:
        GpuctlError: the kubeconfig cannot be used (exit 3), the API or its hosts do not answer (exit 4), or there is
            no cluster (exit 6).
    """
    with ExitStack() as stack:
        yield _first(where, code, stack)


def _first(where: Whereabouts, code: str, stack: ExitStack) -> Cluster:
    if where.inventory is None:
        cluster = stack.enter_context(kubeconfig_api(where.kubeconfig, where.context))
        if (problem := _silence(cluster, code)) is not None:
            raise GpuctlError(ExitCode.PREFLIGHT, problem)
        return cluster
    errors: list[GpuctlError] = []
    for plane in where.inventory.api_hosts:
        with ExitStack() as own:
            try:
                cluster = own.enter_context(cluster_api(plane, where.access))
            except GpuctlError as error:
                errors.append(error)
                continue
            if (problem := _silence(cluster, code, plane.name)) is None:
                stack.push(own.pop_all())
                return cluster
            errors.append(GpuctlError(ExitCode.PREFLIGHT, problem))
    raise errors[0]


def _silence(cluster: Cluster, code: str, host: str | None = None) -> Problem | None:
    """Why the API does not answer; None when it does."""
    try:
        cluster.get("/version")
    except ApiError as error:
        if error.status:
            return None  # it answered
        return Problem(code, error.message, "look at the network and the control plane", host)
    return None
