"""Pods of a DaemonSet that are made anew on some nodes, and for how long a plugin has run."""

from __future__ import annotations

import time
from typing import Any

import pytest

from bootstrap.hostside import gpuctl_renew as renew
from bootstrap.hostside.gpuctl_facts_cluster import plugin_ages
from bootstrap.hostside.gpuctl_hostio import HostError
from bootstrap.hostside.gpuctl_kube import KubeError

SET = "apps/v1/DaemonSet/kube-system/nvidia-device-plugin"


def pod(name: str, node: str, owner: str = "nvidia-device-plugin", *, ready: bool = True) -> dict[str, Any]:
    return {
        "metadata": {
            "name": name,
            "uid": f"uid-{name}",
            "namespace": "kube-system",
            "ownerReferences": [{"kind": "DaemonSet", "name": owner}],
        },
        "spec": {"nodeName": node},
        "status": {"conditions": [{"type": "Ready", "status": "True" if ready else "False"}]},
    }


class Api:
    """Makes another pod in place of each that is deleted."""

    def __init__(self, *pods: dict[str, Any], makes: bool = True) -> None:
        self.pods = list(pods)
        self.makes = makes

    def get(self, path: str) -> dict[str, Any]:
        assert path == "/api/v1/namespaces/kube-system/pods"
        return {"items": list(self.pods)}

    def request(self, method: str, path: str) -> None:
        assert method == "DELETE"
        name = path.rpartition("/")[2]
        old = next((p for p in self.pods if p["metadata"]["name"] == name), None)
        if old is None:
            raise KubeError(404, "not found")
        self.pods.remove(old)
        if self.makes:
            self.pods.append(pod(name + "-new", old["spec"]["nodeName"]))


def test_only_the_sets_pods_on_those_nodes_are_made_anew() -> None:
    api: Any = Api(pod("a", "gpu1"), pod("b", "gpu2"), pod("c", "gpu2", "kube-proxy"))
    assert renew.renew_pods(api, SET, ["gpu2"], 5) == ["b"]
    assert sorted(p["metadata"]["name"] for p in api.pods) == ["a", "b-new", "c"]


def test_a_pod_that_does_not_come_is_told_with_its_node(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(renew, "_POLL_S", 0.01)
    api: Any = Api(pod("b", "gpu2"), makes=False)
    with pytest.raises(HostError, match="no new pod is ready on gpu2") as caught:
        renew.renew_pods(api, SET, ["gpu2"], 0.05)
    assert caught.value.code == "rollout-timeout"


def test_the_age_of_a_plugin_is_that_of_its_youngest_container() -> None:
    def running(seconds: int) -> dict[str, Any]:
        begun = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() - seconds))
        return {"state": {"running": {"startedAt": begun}}}

    def with_states(name: str, node: str, *states: dict[str, Any], **meta: Any) -> dict[str, Any]:
        made = pod(name, node)
        made["status"]["containerStatuses"] = list(states)
        made["metadata"].update(meta)
        return made

    ages = plugin_ages(
        [
            with_states("a", "gpu1", running(500), running(40)),
            with_states("b", "gpu2", running(500), {"state": {"waiting": {}}}),
            with_states("c", "gpu3", running(500), namespace="team"),
            pod("d", "gpu4", "kube-proxy"),
        ]
    )
    assert list(ages) == ["gpu1"]
    assert 38 <= ages["gpu1"] <= 45
