"""What every pod of a kubeadm cluster needs, whatever the node: kube-proxy, cluster DNS, the RuntimeClass. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bootstrap.errors import Problem

_PROXIES = ("kube-proxy", "cilium", "calico-node", "kube-router", "antrea-agent")  # the last four may stand in for it
_DNS = ("coredns", "kube-dns", "rke2-coredns")
_SYSTEM = "kube-system"
_MADE_BY = "`kubeadm init phase addon {part} --config /etc/kubernetes/gpuctl/kubeadm.yaml` on a control plane"


def system_problems(
    daemonsets: Sequence[Mapping[str, Any]],
    deployments: Sequence[Mapping[str, Any]],
    nodes: int,
    missing_class: str,
    mended_by: str = "gpuctl bootstrap",
) -> tuple[Problem, ...]:
    """What is broken; `deployments` are those of kube-system. The cluster is one that kubeadm made."""
    found = [_proxy(daemonsets, nodes), _dns(deployments)]
    if missing_class:
        words = f"the cluster has no RuntimeClass {missing_class}"
        found.append(Problem("runtimeclass-missing", words, f"run `{mended_by}`"))
    return tuple(problem for problem in found if problem)


def is_starting(daemonsets: Sequence[Mapping[str, Any]], deployments: Sequence[Mapping[str, Any]]) -> bool:
    """Whether kube-proxy or the cluster's DNS is there, is to have pods, and none of them is ready (yet)."""
    proxy = next((d for d in daemonsets if _is_proxy(d)), None)
    dns = next((d for d in deployments if d["metadata"]["name"] in _DNS), None)
    counts = [proxy and _of_proxy(proxy, 0), dns and _of_dns(dns)]
    return any(count and count[1] and not count[0] for count in counts)


def _is_proxy(daemonset: Mapping[str, Any]) -> bool:
    meta = daemonset["metadata"]
    return bool(meta.get("namespace") == _SYSTEM and meta["name"] == "kube-proxy")


def _of_proxy(daemonset: Mapping[str, Any], nodes: int) -> tuple[int, int]:
    """(pods that are ready, pods that there are to be)."""
    status = daemonset.get("status", {})
    return status.get("numberReady", 0), status.get("desiredNumberScheduled", nodes)


def _of_dns(deployment: Mapping[str, Any]) -> tuple[int, int]:
    """(pods that are ready, pods that there are to be)."""
    return deployment.get("status", {}).get("readyReplicas", 0), deployment.get("spec", {}).get("replicas", 1)


def _proxy(daemonsets: Sequence[Mapping[str, Any]], nodes: int) -> Problem | None:
    mine = {d["metadata"]["name"]: d for d in daemonsets if d["metadata"].get("namespace") == _SYSTEM}
    if not any(name.startswith(_PROXIES) for name in mine):
        words = "no kube-proxy runs: pods do not reach services, the cluster's DNS among them"
        return Problem("kube-proxy-missing", words, _MADE_BY.format(part="kube-proxy"))
    if "kube-proxy" not in mine:
        return None
    ready, wanted = _of_proxy(mine["kube-proxy"], nodes)
    if ready:
        return None
    words = f"kube-proxy is ready on {ready} of {wanted} nodes"
    fix = "`kubectl -n kube-system describe daemonset kube-proxy` says why its pods do not run"
    return Problem("kube-proxy-missing", words, fix)


def _dns(deployments: Sequence[Mapping[str, Any]]) -> Problem | None:
    mine = {d["metadata"]["name"]: d for d in deployments}
    name = next((known for known in _DNS if known in mine), "")
    if not name:
        return Problem("dns-broken", "no CoreDNS runs: pods resolve no names", _MADE_BY.format(part="coredns"))
    ready, wanted = _of_dns(mine[name])
    if ready:
        return None
    words = f"{name} has {ready} of {wanted} pods ready: pods resolve no names"
    if not wanted:
        return Problem("dns-broken", words, f"`kubectl -n kube-system scale deployment {name} --replicas=2`")
    return Problem("dns-broken", words, f"`kubectl -n kube-system describe deployment {name}` says why they do not run")
