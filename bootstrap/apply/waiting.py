"""Waits of a run, each with a deadline, with what was last seen, and failing with that."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping

from bootstrap.access import Access
from bootstrap.apply.results import Readiness
from bootstrap.errors import GpuctlError, Problem
from bootstrap.exit_codes import ExitCode
from bootstrap.inventory.model import Inventory
from bootstrap.plan.survey import not_ready, probe_hosts, readiness
from bootstrap.probe.facts import HostFacts, ProbeResult
from bootstrap.progress import Progress

READY_DEADLINE_S = 300.0  # an image pull of the device plugin over a slow line is the longest part
LEFTOVER_DEADLINE_S = 900.0  # kubeadm's own longest wait is 4 min; a driver package builds its module for up to 10
_PAUSE_S = 0.5


def wait_until_ready(
    inventory: Inventory,
    seed: str,
    facts: Mapping[str, HostFacts],
    access: Access,
    view: Progress,
    limit: Collection[str] = (),
) -> tuple[Readiness, tuple[Problem, ...]]:
    """Ask the seed until every node is Ready with all its GPUs; what it last said, and what was missing then."""
    from bootstrap.probe.run import probe_all

    deadline = time.monotonic() + READY_DEADLINE_S
    host, said = inventory.host(seed), ""
    while True:
        probe = probe_all([host], become_password=access.become_password)[seed]
        kube = probe.kube if isinstance(probe, HostFacts) else None
        state = readiness(inventory, facts, kube, limit)
        problems = not_ready(state)
        if not problems or time.monotonic() > deadline:
            return state, problems
        expected = sum(node.gpus_expected for node in state.nodes)
        gpus = f"{state.gpus_allocatable} of {expected} GPUs allocatable"
        words = f"{state.nodes_ready} of {len(state.nodes)} nodes Ready, {gpus}"
        if words != said:
            view.note(f"waiting for the cluster: {words}")
            said = words
        time.sleep(_PAUSE_S)


def wait_for_leftovers(
    inventory: Inventory, access: Access, view: Progress, before: Mapping[str, ProbeResult] | None = None
) -> None:
    """Wait for what an interrupted run left working on the hosts that could be probed `before`.

    Raises:
        GpuctlError: it still works at the deadline (exit 4); the hosts and processes are named.
    """
    deadline, said = time.monotonic() + LEFTOVER_DEADLINE_S, ""
    while True:
        probes = probe_hosts(inventory, access, before).values()
        busy = {probe.host: probe.unfinished for probe in probes if isinstance(probe, HostFacts) and probe.unfinished}
        if not busy:
            return
        words = "; ".join(f"{host}: {', '.join(what)}" for host, what in sorted(busy.items()))
        if time.monotonic() > deadline:
            fix = "end these processes on the host, or wait until they have ended, then run the same command again"
            problems = [
                Problem("leftover-work", f"an earlier run left this at work: {', '.join(what)}", fix, host)
                for host, what in sorted(busy.items())
            ]
            raise GpuctlError(ExitCode.PREFLIGHT, *problems)
        if words != said:
            view.note(f"waiting for what an earlier run left at work: {words}")
            said = words
        time.sleep(_PAUSE_S)
