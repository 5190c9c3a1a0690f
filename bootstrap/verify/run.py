"""`gpuctl verify-gpus`: probe, ask the runtimes and the API, compute on every GPU, judge layer by layer."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from bootstrap.errors import GpuctlError, Problem
from bootstrap.exit_codes import ExitCode
from bootstrap.inventory.model import Inventory
from bootstrap.kube.client import ApiError, Cluster, cluster_api
from bootstrap.plan.arguments import is_gpu_host
from bootstrap.plan.cluster_view import node_name, view_cluster
from bootstrap.plan.survey import expected_gpus, probe_hosts, refuse, resolve_limit
from bootstrap.probe.facts import HostFacts, NodeFacts, Unreachable
from bootstrap.progress import Progress
from bootstrap.verify.collective import Collective, all_reduce
from bootstrap.verify.compute import compute
from bootstrap.verify.ended import Computed
from bootstrap.verify.evidence import Evidence
from bootstrap.verify.layers import judge, of_subjects
from bootstrap.verify.requests import VerifyRequest
from bootstrap.verify.results import NodeResult, VerifyResult
from bootstrap.verify.runtime import RuntimeFacts, ask_runtimes

_PLUGIN_SELECTOR = "app.kubernetes.io/name=nvidia-device-plugin"


def verify_nodes(inventory: Inventory, request: VerifyRequest, view: Progress) -> VerifyResult:
    """Look at every GPU of every host and compute on it.

    Raises:
        GpuctlError: settings (3), a host that cannot be probed (4), no cluster to ask (6).
    """
    begun = time.monotonic()
    limit = resolve_limit(inventory, request.limit)
    probes = probe_hosts(inventory, request.access)
    refuse(Problem(p.code, p.message, p.fix, p.host) for p in probes.values() if isinstance(p, Unreachable))
    facts = {name: probe for name, probe in probes.items() if isinstance(probe, HostFacts)}
    nodes_here = {host.name for host in inventory.nodes if not limit or host.name in limit}
    gpu_hosts = [name for name, mine in facts.items() if name in nodes_here and is_gpu_host(mine)]
    if not gpu_hosts:
        raise GpuctlError(
            ExitCode.NOT_READY,
            Problem("gpu-missing", "no host has an NVIDIA GPU on its PCI bus", "check the cards, or the inventory"),
        )
    seen = view_cluster(inventory, facts)
    runtimes = ask_runtimes([inventory.host(name) for name in gpu_hosts], request.access)
    nodes = {name: seen.nodes.get(node_name(facts[name])) for name in gpu_hosts}
    plugins, computed, ring, api_error = _ask_cluster(request, inventory, seen.seed, nodes, view)
    results: list[NodeResult] = []
    problems: list[Problem] = []
    for name in gpu_hosts:
        node = nodes[name]
        evidence = Evidence(
            facts=facts[name],
            expected=expected_gpus(facts[name]),
            runtime=runtimes.get(name, RuntimeFacts(error="not asked")),
            node=node,
            api_error=api_error,
            plugin_pod=plugins.get(node.name, "") if node else "",
            computed=computed.get(node.name) if node else None,
            runtime_class=_runtime_class(inventory.hosts[0].settings),
            require_all=request.require_all,
        )
        result, found = judge(evidence)
        results.append(result)
        problems += found
    problems = list(of_subjects(problems, frozenset(c.error for c in computed.values() if c.of_cluster)))
    if ring is not None and ring.code:
        problems.append(ring_problem(ring))
    passed = not problems and all(result.passed for result in results)
    return VerifyResult(
        exit_code=ExitCode.OK if passed else ExitCode.NOT_READY,
        cluster_name=inventory.cluster_name,
        nodes=tuple(results),
        elapsed_s=time.monotonic() - begun,
        problems=tuple(problems),
        collective=ring,
    )


def _ask_cluster(
    request: VerifyRequest, inventory: Inventory, seed: str, nodes: Mapping[str, NodeFacts | None], view: Progress
) -> tuple[dict[str, str], dict[str, Computed], Collective | None, str]:
    """(device plugin pod's state per node, computed per node, the all-reduce, why the API could not be asked)."""
    settings = inventory.host(seed).settings
    allocatable = {node.name: node.allocatable_gpus for node in nodes.values() if node is not None and node.ready}
    try:
        with cluster_api(inventory.host(seed), request.access) as cluster:
            plugins = _plugin_pods(cluster)
            computed = compute(
                cluster,
                allocatable,
                run_id=request.run.id,
                image=str(settings["cluster_python_image"]),
                runtime_class=_runtime_class(inventory.hosts[0].settings),
                timeout_s=request.timeout_s,
                progress=view,
                unasked=settings["nvidia_device_plugin_device_list_strategy"] == "cdi-cri",
            )
            ring = _all_reduce(cluster, request, allocatable, settings, view) if request.collective else None
            return plugins, computed, ring, ""
    except GpuctlError as error:
        if error.problems[0].code == "kubeconfig-refused":
            raise  # nothing is absent: somebody has changed what the cluster is asked with
        return {}, {}, None, error.problems[0].message
    except ApiError as error:
        return {}, {}, None, error.message


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


def _plugin_pods(cluster: Cluster) -> dict[str, str]:
    """Node → Running, or the reason why the device plugin's pod is not."""
    found = cluster.get("/api/v1/pods", {"labelSelector": _PLUGIN_SELECTOR}) or {}
    return {str(pod["spec"].get("nodeName")): pod_state(pod) for pod in found.get("items", [])}


def pod_state(pod: Mapping[str, Any]) -> str:
    """Its phase in a word, or why its container waits or has ended."""
    status = pod.get("status", {})
    for container in status.get("containerStatuses", []):
        for state in ("waiting", "terminated"):
            if detail := container.get("state", {}).get(state):
                return f"{detail.get('reason', state)}: {detail.get('message', '')}".rstrip(": ")
    return str(status.get("phase", "Unknown"))
