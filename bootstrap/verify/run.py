"""`gpuctl verify-gpus`: probe, ask the runtimes and the API, compute on every GPU, judge layer by layer."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from bootstrap.errors import GpuctlError, Problem
from bootstrap.exit_codes import ExitCode
from bootstrap.inventory.model import Inventory
from bootstrap.kube.client import ApiError, Cluster, cluster_api
from bootstrap.plan.absence import problem_of_absent
from bootstrap.plan.arguments import expected_gpus, is_gpu_host
from bootstrap.plan.cluster_view import ClusterView, node_name, view_cluster
from bootstrap.plan.survey import probe_hosts, resolve_limit
from bootstrap.probe.facts import HostFacts, Unreachable
from bootstrap.progress import Progress
from bootstrap.verify.collective import Collective, all_reduce
from bootstrap.verify.compute import compute
from bootstrap.verify.ended import Computed
from bootstrap.verify.evidence import Evidence
from bootstrap.verify.layers import judge, may_start, of_subjects
from bootstrap.verify.look import ClusterSeen, look, settled
from bootstrap.verify.requests import VerifyRequest
from bootstrap.verify.results import LAYERS, LayerResult, LayerState, NodeResult, VerifyResult
from bootstrap.verify.runtime import RuntimeFacts, ask_runtimes


def verify_nodes(inventory: Inventory, request: VerifyRequest, view: Progress) -> VerifyResult:
    """Look at every GPU of every host and compute on it.

    Raises:
        GpuctlError: settings (3), no host with a GPU can be reached (6).
    """
    limit = resolve_limit(inventory, request.limit)
    probes = probe_hosts(inventory, request.access)
    facts = {name: probe for name, probe in probes.items() if isinstance(probe, HostFacts)}
    nodes_here = {host.name for host in inventory.nodes if not limit or host.name in limit}
    away = [probe for probe in probes.values() if isinstance(probe, Unreachable) and probe.host in nodes_here]
    lost = () if request.skip_unreachable else tuple(map(problem_of_absent, away))
    gpu_hosts = [name for name, mine in facts.items() if name in nodes_here and is_gpu_host(mine)]
    if not gpu_hosts:
        none = Problem("gpu-missing", "no host has an NVIDIA GPU on its PCI bus", "check the cards, or the inventory")
        raise GpuctlError(ExitCode.NOT_READY, *(lost or (none,)))
    seen = view_cluster(inventory, facts)
    result = _verify(inventory, request, {name: facts[name] for name in gpu_hosts}, seen, view)
    if not lost:
        return result
    order = {host.name: position for position, host in enumerate(inventory.hosts)}
    nodes = sorted((*result.nodes, *map(_unreached, lost)), key=lambda node: order[node.host])
    return replace(result, exit_code=ExitCode.NOT_READY, nodes=tuple(nodes), problems=(*lost, *result.problems))


def _unreached(problem: Problem) -> NodeResult:
    """Nothing is known of its GPUs: the walk ends before its first layer."""
    layers = {layer: LayerResult(LayerState.NOT_RUN) for layer in LAYERS}
    layers[LAYERS[0]] = LayerResult(LayerState.FAILED, None, problem.message)
    return NodeResult(str(problem.host), False, layers, reached=False)


def _verify(
    inventory: Inventory, request: VerifyRequest, facts: Mapping[str, HostFacts], view: ClusterView, progress: Progress
) -> VerifyResult:
    """Judge these GPU hosts: first what can be seen, then what pods come to where nothing is broken."""
    begun = time.monotonic()
    settings = inventory.hosts[0].settings
    runtimes = ask_runtimes([inventory.host(name) for name in facts], request.access)
    known = {
        name: Evidence(
            facts=mine,
            expected=expected_gpus(mine),
            runtime=runtimes.get(name, RuntimeFacts(error="not asked")),
            node=view.nodes.get(node_name(mine)),
            api_error="",
            plugin_pod="",
            computed=None,
            runtime_class=_runtime_class(settings),
            plugin_cdi=settings["nvidia_device_plugin_device_list_strategy"] == "cdi-cri",
            require_all=request.require_all,
        )
        for name, mine in facts.items()
    }
    known, of_cluster, ring = _ask_cluster(request, inventory, view.seed, known, progress)
    judged = [judge(evidence) for evidence in known.values()]
    shared = frozenset(e.computed.error for e in known.values() if e.computed and e.computed.of_cluster)
    shared |= {e.api_error for e in known.values()}
    problems = [*of_cluster, *of_subjects([p for _, found in judged for p in found], shared)]
    if ring is not None and ring.code:
        problems.append(ring_problem(ring))
    results = tuple(result for result, _ in judged)
    passed = not problems and all(result.passed for result in results)
    return VerifyResult(
        exit_code=ExitCode.OK if passed else ExitCode.NOT_READY,
        cluster_name=inventory.cluster_name,
        nodes=results,
        elapsed_s=time.monotonic() - begun,
        problems=tuple(problems),
        collective=ring,
    )


def _ask_cluster(
    request: VerifyRequest, inventory: Inventory, seed: str, known: Mapping[str, Evidence], progress: Progress
) -> tuple[dict[str, Evidence], tuple[Problem, ...], Collective | None]:
    """(the evidence with what the API says and pods came to, the cluster's own problems, the all-reduce)."""
    settings = inventory.host(seed).settings
    try:
        with cluster_api(inventory.host(seed), request.access) as cluster:
            seen = look(cluster, [e.node.name for e in known.values() if e.node], _runtime_class(settings))
            evidence = {name: _with_seen(one, seen) for name, one in known.items()}
            sound = {n: e for n, e in evidence.items() if e.node and may_start(e)}
            blocked = any(problem.code == "runtimeclass-missing" for problem in seen.problems)
            computed = {} if blocked else _compute(cluster, request, sound, settings, progress)
            evidence |= {n: replace(e, computed=computed.get(e.node.name)) for n, e in sound.items() if e.node}
            ready = {e.node.name: e.node.allocatable_gpus for e in evidence.values() if e.node and e.node.ready}
            ring = _all_reduce(cluster, request, ready, settings, progress) if request.collective else None
            return evidence, settled(cluster, seen, progress), ring
    except GpuctlError as error:
        if error.problems[0].code == "kubeconfig-refused":
            raise  # nothing is absent: somebody has changed what the cluster is asked with
        message = error.problems[0].message
    except ApiError as error:
        message = error.message
    return {name: replace(one, node=None, api_error=message) for name, one in known.items()}, (), None


def _with_seen(evidence: Evidence, seen: ClusterSeen) -> Evidence:
    name = evidence.node.name if evidence.node else ""
    if name not in seen.nodes or evidence.node is None:
        return evidence
    node = seen.nodes[name]
    offered = node.allocatable.get(node.resource, 0)
    return replace(
        evidence,
        seen=node,
        plugins=seen.plugins.get(name),
        resource=node.resource,
        node=replace(evidence.node, allocatable_gpus=offered),
    )


def _compute(
    cluster: Cluster,
    request: VerifyRequest,
    sound: Mapping[str, Evidence],
    settings: Mapping[str, Any],
    progress: Progress,
) -> dict[str, Computed]:
    """Compute on the nodes, those with the same resource at a time."""
    computed: dict[str, Computed] = {}
    for resource in sorted({evidence.resource for evidence in sound.values()}):
        mine = [e.node for e in sound.values() if e.node and e.resource == resource]
        computed |= compute(
            cluster,
            {node.name: node.allocatable_gpus for node in mine if node.ready},
            run_id=request.run.id,
            image=str(settings["cluster_python_image"]),
            runtime_class=_runtime_class(settings),
            timeout_s=request.timeout_s,
            progress=progress,
            unasked=settings["nvidia_device_plugin_device_list_strategy"] == "cdi-cri",
            resource=resource,
        )
    return computed


def _all_reduce(
    cluster: Cluster, request: VerifyRequest, gpus: Mapping[str, int], settings: Mapping[str, Any], view: Progress
) -> Collective:
    """`gpus`: node → GPUs that pods can ask for there. Pods are alike, so that each takes as many as the least has."""
    if not gpus:
        fix = "look at why the nodes are not Ready"
        return Collective((), code="collective-failed", error="no GPU node is Ready", fix=fix)
    without = [node for node, count in gpus.items() if not count]
    if without and request.collective_image:
        words, fix = f"pods can ask for no GPU on {', '.join(without)}", "mend that, or leave it out with --limit"
        return Collective(tuple(gpus), code="allocatable-short", error=words, fix=fix)
    return all_reduce(
        cluster,
        list(gpus),
        run_id=request.run.id,
        image=request.collective_image or str(settings["cluster_python_image"]),
        runtime_class=_runtime_class(settings),
        timeout_s=request.timeout_s,
        progress=view,
        torch_gpus=min(gpus.values()) if request.collective_image else 0,
    )


def ring_problem(ring: Collective) -> Problem:
    """Of an all-reduce that failed."""
    over = f"all-reduce over {len(ring.nodes)} nodes" if ring.nodes else "all-reduce"
    return Problem(ring.code, f"{over}: {ring.error}", ring.fix, details=ring.details)


def _runtime_class(settings: Mapping[str, Any]) -> str:
    return str(settings["nvidia_device_plugin_runtime_class"])
