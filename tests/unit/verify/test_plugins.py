"""Device plugins, whoever installed them, and what keeps them from a node: what the API says, and what it comes to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from bootstrap.kube.client import Cluster
from bootstrap.progress import Silent
from bootstrap.verify import look as looking
from bootstrap.verify.evidence import Evidence
from bootstrap.verify.layers import judge
from bootstrap.verify.look import look, settled
from bootstrap.verify.runtime import RuntimeFacts
from tests.unit.verify.test_layers import GPUS, healthy

GPU = {"nvidia.com/gpu": str(GPUS)}
PROXY = {"metadata": {"name": "kube-proxy", "namespace": "kube-system"}, "status": {"numberReady": 1}}
OURS = "kube-system/nvidia-device-plugin"


def daemonset(name: str = "nvidia-device-plugin", namespace: str = "kube-system", **spec: Any) -> dict[str, Any]:
    manager = "gpuctl" if name == "nvidia-device-plugin" else "kubectl-client-side-apply"
    return {
        "metadata": {"name": name, "namespace": namespace, "managedFields": [{"manager": manager}]},
        "spec": {
            "template": {
                "spec": {
                    "containers": [
                        {"name": "nvidia-device-plugin-ctr", "image": "nvcr.io/nvidia/k8s-device-plugin:v1"}
                    ],
                    "nodeSelector": {"nvidia.com/gpu.present": "true"},
                    "tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}],
                    **spec,
                }
            }
        },
        "status": {"numberReady": 1, "desiredNumberScheduled": 1},
    }


def pod(owner: str = "nvidia-device-plugin", namespace: str = "kube-system", **status: Any) -> dict[str, Any]:
    owners = [{"kind": "DaemonSet", "name": owner}]
    return {
        "metadata": {"name": f"{owner}-x", "namespace": namespace, "ownerReferences": owners},
        "spec": {"nodeName": "gpu1", "containers": []},
        "status": {"phase": "Running", **status},
    }


class Kube(Cluster):
    """An API that holds these objects."""

    def __init__(self, **held: Any) -> None:
        super().__init__(None)
        dns = {"metadata": {"name": "coredns"}, "spec": {"replicas": 2}, "status": {"readyReplicas": 2}}
        node = {
            "metadata": {"name": "gpu1", "labels": {"nvidia.com/gpu.present": "true"}},
            "status": {"allocatable": GPU, "capacity": GPU},
        }
        self.held: dict[str, Any] = {
            "nodes": [node],
            "pods": [pod()],
            "daemonsets": [PROXY, daemonset()],
            "deployments": [dns],
            "events": [],
            "runtimeclasses": True,
            "log": "",
            **held,
        }

    def get(self, path: str, query: Mapping[str, str] | None = None) -> dict[str, Any] | None:
        del query
        if "runtimeclasses" in path:
            return {} if self.held["runtimeclasses"] else None
        return {"items": self.held[path.rpartition("/")[2]]}

    def text(self, path: str, query: Mapping[str, str] | None = None) -> str:
        del path, query
        return str(self.held["log"])


def node(**changes: Any) -> list[dict[str, Any]]:
    """The node with a change: labels, taints, allocatable, capacity."""
    labels = changes.get("labels", {"nvidia.com/gpu.present": "true"})
    meta = {"name": "gpu1", "labels": labels, "managedFields": changes.get("managedFields", [])}
    status = {"allocatable": changes.get("allocatable", GPU), "capacity": changes.get("capacity", GPU)}
    return [{"metadata": meta, "spec": {"taints": changes.get("taints", [])}, "status": status}]


WRITTEN = [
    {
        "manager": "kubectl-taint",
        "time": "2026-12-01T08:00:00Z",
        "fieldsV1": {"f:spec": {"f:taints": {}}},
    }
]
OTHER = daemonset("other-plugin", "team")
FAULTS: dict[str, tuple[Kube, str, str]] = {
    "label-missing": (Kube(nodes=node(labels={}), pods=[]), "nvidia.com/gpu.present=true", "gpuctl bootstrap"),
    "plugin-evicted": (
        Kube(nodes=node(taints=[{"key": "work", "value": "x", "effect": "NoExecute"}], managedFields=WRITTEN), pods=[]),
        "work=x:NoExecute of node gpu1 (set by kubectl-taint at 2026-12-01T08:00:00Z)",
        "`kubectl taint node gpu1 work:NoExecute-`",
    ),
    "plugin-forbidden": (
        Kube(
            pods=[],
            events=[
                {
                    "reason": "FailedCreate",
                    "message": 'pods "nvidia-device-plugin-" is forbidden: violates PodSecurity "restricted:latest"',
                    "type": "Warning",
                }
            ],
        ),
        'violates PodSecurity "restricted:latest"',
        "pod-security.kubernetes.io/enforce=privileged",
    ),
    "plugin-absent": (Kube(daemonsets=[PROXY], pods=[]), "no DaemonSet", "gpuctl bootstrap"),
    "plugin-duplicate": (
        Kube(daemonsets=[PROXY, daemonset(), OTHER], pods=[pod(), pod("other-plugin", "team")]),
        "team/other-plugin",
        "`kubectl -n team delete daemonset other-plugin`",
    ),
    "plugin-crashing": (
        Kube(
            pods=[pod(containerStatuses=[{"name": "c", "state": {"waiting": {"reason": "CrashLoopBackOff"}}}])],
            log="starting\nIncompatible strategy detected auto\n",
        ),
        "its log ends: Incompatible strategy detected auto",
        "log",
    ),
    "image-pull-failed": (
        Kube(
            pods=[
                pod(
                    containerStatuses=[
                        {"name": "c", "state": {"waiting": {"reason": "ImagePullBackOff", "message": "401"}}}
                    ]
                )
            ]
        ),
        "401",
        "image",
    ),
    "plugin-not-registered": (
        # A kubelet keeps the capacity of a plugin that went for some minutes.
        Kube(nodes=node(allocatable={"nvidia.com/gpu": "0"})),
        "the kubelet knows of no device plugin",
        "`kubectl -n kube-system delete pod nvidia-device-plugin-x`",
    ),
}


def judged(cluster: Kube, **changes: Any) -> tuple[Evidence, list[Any]]:
    seen = look(cluster, ["gpu1"], "nvidia")
    sound = healthy()
    assert sound.node
    one = seen.nodes["gpu1"]
    offered = one.allocatable.get(one.resource, 0)
    evidence = replace(
        sound,
        seen=one,
        plugins=seen.plugins["gpu1"],
        node=replace(sound.node, allocatable_gpus=offered),
        computed=None,
        **changes,
    )
    return evidence, [*seen.problems, *judge(evidence)[1]]


def test_a_sound_cluster_has_no_problem() -> None:
    evidence, problems = judged(Kube())
    assert problems == []
    assert evidence.plugins
    assert [str(one) for one in evidence.plugins.sets] == [OURS]


@pytest.mark.parametrize("code", FAULTS)
def test_each_fault_of_a_plugin_has_its_code_and_remedy(code: str) -> None:
    cluster, words, fix = FAULTS[code]
    _, problems = judged(cluster)
    assert problems[0].code == code
    assert words in problems[0].message
    assert fix in problems[0].fix


def test_a_taint_that_the_plugin_stands_is_none() -> None:
    stood = [
        {"key": "nvidia.com/gpu", "value": "x", "effect": "NoSchedule"},
        {"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"},
        {"key": "soft", "effect": "PreferNoSchedule"},
    ]
    _, problems = judged(Kube(nodes=node(taints=stood), pods=[]))
    assert [p.code for p in problems] == ["plugin-absent"]


def test_the_plugins_own_cdi_specification_is_missed_where_it_writes_one() -> None:
    there = RuntimeFacts(
        ("nvidia", "runc"),
        cdi_devices=healthy().runtime.cdi_devices,
        cdi_files={"/var/run/cdi/k8s.device-plugin.nvidia.com-gpu.json": "k8s.device-plugin.nvidia.com/gpu"},
    )
    gone = replace(there, cdi_files={"/var/run/cdi/nvidia.yaml": "nvidia.com/gpu"})
    assert judged(Kube(), plugin_cdi=True, runtime=there)[1] == []
    assert [p.code for p in judged(Kube(), plugin_cdi=True, runtime=gone)[1]] == ["plugin-cdi-missing"]
    assert judged(Kube(), plugin_cdi=False, runtime=gone)[1] == []


def dns(replicas: int, ready: int) -> list[dict[str, Any]]:
    return [{"metadata": {"name": "coredns"}, "spec": {"replicas": replicas}, "status": {"readyReplicas": ready}}]


@pytest.mark.parametrize(
    ("cluster", "code", "fix"),
    [
        (Kube(daemonsets=[daemonset()]), "kube-proxy-missing", "kubeadm init phase addon kube-proxy"),
        (Kube(deployments=[]), "dns-broken", "kubeadm init phase addon coredns"),
        (Kube(deployments=dns(0, 0)), "dns-broken", "--replicas=2"),
        (Kube(deployments=dns(2, 0)), "dns-broken", "describe deployment coredns"),
        (Kube(runtimeclasses=False), "runtimeclass-missing", "gpuctl bootstrap"),
    ],
)
def test_what_the_whole_cluster_lacks_is_one_problem_of_no_host(cluster: Kube, code: str, fix: str) -> None:
    _, problems = judged(cluster)
    assert [(p.code, p.host) for p in problems] == [(code, None)]
    assert fix in problems[0].fix


def test_other_networks_bring_their_own_proxy() -> None:
    cilium = {"metadata": {"name": "cilium", "namespace": "kube-system"}, "status": {}}
    assert judged(Kube(daemonsets=[daemonset(), cilium]))[1] == []


def settle(monkeypatch: pytest.MonkeyPatch, cluster: Kube, ready_after_s: float) -> tuple[list[str], float]:
    """The codes that remain, and the seconds that were waited for them."""
    now = [100.0]

    def sleep(seconds: float) -> None:
        now[0] += seconds
        if now[0] - 100.0 >= ready_after_s:
            cluster.held["deployments"] = dns(2, 2)

    monkeypatch.setattr(looking.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(looking.time, "sleep", sleep)
    seen = look(cluster, ["gpu1"], "nvidia")
    return [problem.code for problem in settled(cluster, seen, Silent())], now[0] - 100.0


def test_dns_that_is_starting_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Right after a bootstrap: CoreDNS pulls its image, and nothing is broken."""
    codes, waited = settle(monkeypatch, Kube(deployments=dns(2, 0)), ready_after_s=20)
    assert (codes, waited) == ([], 20.0)


def test_dns_that_does_not_start_is_told_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    codes, waited = settle(monkeypatch, Kube(deployments=dns(2, 0), runtimeclasses=False), ready_after_s=1e9)
    assert codes == ["dns-broken", "runtimeclass-missing"]
    assert 45 <= waited < 47


@pytest.mark.parametrize("deployments", [dns(2, 2), dns(0, 0), []])
def test_nothing_is_waited_for_that_is_there_or_is_not_to_be(
    monkeypatch: pytest.MonkeyPatch, deployments: list[dict[str, Any]]
) -> None:
    assert settle(monkeypatch, Kube(deployments=deployments), ready_after_s=1e9)[1] == 0.0
