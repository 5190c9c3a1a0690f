"""How the addons of a cluster stand, from its receipts and its pods."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from bootstrap.access import Access
from bootstrap.apply.addon_model import AddonState, State
from bootstrap.errors import GpuctlError, Problem
from bootstrap.exit_codes import ExitCode
from bootstrap.hostside.gpuctl_receipts import COMPLETE
from bootstrap.inventory.model import Host
from bootstrap.kube.addons import receipt_in, workloads
from bootstrap.kube.client import ApiError, Cluster, cluster_api
from bootstrap.plan.addons import Addon, receipt_of, version_of
from bootstrap.plan.cluster_view import ClusterView
from bootstrap.probe.receipt import DAMAGED
from bootstrap.progress import Progress

READY_DEADLINE_S = 180.0  # as long as the roles wait for a rollout
_PAUSE_S = 1.0


def unknown(addon: Addon, wanted: Collection[str]) -> AddonState:
    """An addon of a cluster that cannot be asked."""
    return AddonState(addon.name, addon.component.purpose, addon.name in wanted, installed=False, state=State.UNKNOWN)


def state_of(
    addon: Addon, wanted: Collection[str], receipt: Mapping[str, Any] | None, drift: Sequence[str], cluster: Cluster
) -> AddonState:
    """How one addon stands.

    Raises:
        ApiError: the API did not answer.
    """
    listed, purpose = addon.name in wanted, addon.component.purpose
    if receipt is None:
        return AddonState(addon.name, purpose, listed, installed=False, state=State.ABSENT)
    found = workloads(cluster, receipt)
    lacking = tuple(f"{one.kind} {one.name}: {one.lacks}" for one in found if one.lacks)
    state, detail = State.READY, lacking
    if receipt.get("state") != COMPLETE:
        damaged = f"its receipt is damaged: {receipt.get('why')}" if receipt.get("state") == DAMAGED else ""
        state, detail = State.INTERRUPTED, (damaged or "an earlier run was interrupted in it",)
    elif drift:
        state, detail = State.CHANGED, tuple(drift)
    elif lacking:
        state = State.NOT_READY
    return AddonState(
        addon.name, purpose, listed, installed=True, state=state, version=version_of(addon, receipt), detail=detail,
        workloads=found,
    )  # fmt: skip


def states(
    addons: Sequence[Addon], wanted: Collection[str], view: ClusterView, cluster: Cluster
) -> tuple[AddonState, ...]:
    """How the addons stand, as the probe saw their receipts.

    Raises:
        ApiError: the API did not answer.
    """
    drift = view.kube.drift if view.kube else {}
    return tuple(
        state_of(
            addon,
            wanted,
            receipt_of(addon, view),
            [f"{entry.key}: {entry.now}" for entry in drift.get(addon.component.name, ())],
            cluster,
        )
        for addon in addons
    )


def wait_until_served(
    addons: Sequence[Addon], wanted: Collection[str], seed: Host, access: Access, view: Progress
) -> tuple[tuple[AddonState, ...], tuple[Problem, ...]]:
    """Ask until all pods of the addons run; how they stood last, and what was missing then."""
    deadline, said = time.monotonic() + READY_DEADLINE_S, set[str]()
    with asking(seed, access) as cluster:
        while True:
            found = tuple(state_of(one, wanted, receipt_in(cluster, one.component.name), (), cluster) for one in addons)
            missing = [(one.name, line) for one in found for line in one.detail]
            if not missing:
                return found, ()
            if time.monotonic() > deadline:
                return found, tuple(_late(name, line) for name, line in missing)
            words = "; ".join(line for _, line in missing)
            if words not in said:  # a pull that fails goes back and forth between two words
                view.note(f"waiting for the addon: {words}")
                said.add(words)
            time.sleep(_PAUSE_S)


def _late(name: str, line: str) -> Problem:
    fix = "see `kubectl describe` of it; once the cause is gone it starts by itself (`gpuctl addon list` shows it)"
    return Problem("addon-not-ready", f"{name}: {line} after {READY_DEADLINE_S:.0f} s", fix)


@contextmanager
def asking(seed: Host, access: Access) -> Iterator[Cluster]:
    """The API, its refusals as a problem of the seed.

    Raises:
        GpuctlError: the API does not answer (exit 6).
    """
    try:
        with cluster_api(seed, access) as cluster:
            yield cluster
    except ApiError as error:
        fix = "look at the API server of that host, then run the same command again"
        problem = Problem("api-unreachable", f"the API refused: {error.message}", fix, seed.name)
        raise GpuctlError(ExitCode.NOT_READY, problem) from error
