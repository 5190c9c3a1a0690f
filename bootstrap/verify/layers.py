"""The walk from the PCI bus to a pod, per node: the first layer that does not hold is named. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from bootstrap.errors import Problem
from bootstrap.verify import cluster_layers, host_layers
from bootstrap.verify.evidence import Evidence, Judgement
from bootstrap.verify.gpus import gpu_results
from bootstrap.verify.results import ALL_LAYERS, CONTAINER_LAYERS, HOLDS, LayerResult, LayerState, NodeResult


def judge(evidence: Evidence) -> tuple[NodeResult, tuple[Problem, ...]]:
    """All layers of one node, and the problems: the first broken layer, plus compute where it ran."""
    layers: dict[str, LayerResult] = {}
    problems: list[Problem] = []
    broken = False
    for layer in layers_of(evidence):
        # Node, plugin and compute speak for themselves also when a single GPU is short further down.
        if broken and layer in {"runtime", "cdi", *CONTAINER_LAYERS}:
            layers[layer] = LayerResult(LayerState.NOT_RUN)
            continue
        result, problem = _JUDGES[layer](evidence)
        layers[layer] = result
        # GPUs that did not compute since they were short further down are no second fact.
        new = not broken or (layer == "compute" and problem is not None and problem.code != "allocatable-short")
        if problem is not None and new:
            problems.append(problem)
        broken = broken or result.state is LayerState.FAILED
    simulated = evidence.facts.driver.simulated
    return NodeResult(
        evidence.facts.host, simulated, layers, gpu_results(evidence), cluster_layers.notes(evidence)
    ), tuple(problems)


def may_start(evidence: Evidence) -> bool:
    """Whether pods may be started on the node: not on a layer that is broken as a whole, where they only hang.

    A GPU that is short further down leaves the others.
    """
    partial = {"pci", "device", "nvml", "allocatable", "compute"}
    below = [layer for layer in layers_of(evidence) if layer not in partial]
    hangs = bool(evidence.facts.driver.nvml_error)
    return not hangs and all(_JUDGES[layer](evidence)[0].state in HOLDS for layer in below)


def of_subjects(problems: Sequence[Problem], of_cluster: frozenset[str]) -> tuple[Problem, ...]:
    """One problem where several nodes have met the same cause, which is the cluster's: `of_cluster` are such words."""
    found: dict[tuple[str, ...], Problem] = {}
    for problem in problems:
        shared = problem.message in of_cluster
        key = (problem.code, problem.message, *([] if shared else [str(problem.host)]))
        found.setdefault(key, replace(problem, host=None) if shared else problem)
    return tuple(found.values())


def layers_of(evidence: Evidence) -> tuple[str, ...]:
    """The layers that there are to judge, from the bus up."""
    there = {"docker": evidence.docker, "container": evidence.container}
    return tuple(layer for layer in ALL_LAYERS if there.get(layer, True))


_JUDGES: Mapping[str, Callable[[Evidence], Judgement]] = {
    "pci": host_layers.pci,
    "driver": host_layers.driver,
    "device": host_layers.device,
    "nvml": host_layers.nvml,
    "runtime": host_layers.runtime,
    "cdi": host_layers.cdi,
    "docker": host_layers.docker,
    "container": host_layers.container,
    "node": cluster_layers.node,
    "plugin": cluster_layers.plugin,
    "allocatable": cluster_layers.allocatable,
    "compute": cluster_layers.compute,
}
