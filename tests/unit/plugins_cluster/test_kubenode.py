"""A Node object that was deleted comes back with what kubeadm had put on it, or the failure says so."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bootstrap.hostside import gpuctl_kubeadmops as ops
from bootstrap.hostside import gpuctl_kubeadmstate as state
from bootstrap.hostside import gpuctl_kubenode as kubenode
from bootstrap.hostside.gpuctl_hostio import HostError
from bootstrap.hostside.gpuctl_kube import MERGE, Api, KubeError
from bootstrap.hostside.gpuctl_kubeadmstate import node_name

PATH = f"/api/v1/nodes/{node_name()}"


class Cluster(Api):
    """An API with at most this host's node; a restarted kubelet registers it after `answers_late` looks."""

    def __init__(self, there: bool) -> None:
        self.there = there
        self.registers = True
        self.answers_late = 2
        self.restarts = 0
        self.patches: list[Any] = []
        self.failing = 0

    def get(self, path: str) -> Any:
        assert path == PATH
        if self.failing:
            raise KubeError(self.failing, "no")
        if not self.there and self.restarts and self.registers:
            self.answers_late -= 1
            self.there = self.answers_late <= 0
        if not self.there:
            raise KubeError(404, "not found")
        return {"metadata": {}, "spec": {}}

    def request(self, method: str, path: str, body: Any = None, content_type: str = "") -> Any:
        assert (method, path, content_type) == ("PATCH", PATH, MERGE)
        self.patches.append(body)

    def control(self, verb: str, names: list[str]) -> None:
        assert (verb, names) == ("restart", ["kubelet.service"])
        self.restarts += 1


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cluster:
    made = Cluster(there=False)
    monkeypatch.setattr(Api, "from_admin_conf", lambda _conf: made)
    monkeypatch.setattr(kubenode, "control", made.control)
    monkeypatch.setattr(kubenode, "_POLL_S", 0.0)
    monkeypatch.setattr(kubenode, "_REGISTER_S", 0.2)
    path = str(tmp_path / "state.json")
    monkeypatch.setattr(kubenode, "load_state", lambda: state.load_state(path))
    monkeypatch.setattr(kubenode, "save_state", lambda **more: state.save_state(path, **more))
    monkeypatch.setattr(kubenode, "INSTANCE_CONFIG", str(tmp_path / "instance-config.yaml"))
    monkeypatch.setattr(kubenode, "KUBELET_FLAGS", str(tmp_path / "kubeadm-flags.env"))
    return made


def test_a_node_that_is_there_is_left_alone(cluster: Cluster) -> None:
    cluster.there = True
    assert kubenode.register_again("conf", True) == []
    assert (cluster.restarts, cluster.patches) == (0, [])


def test_a_deleted_worker_registers_again(cluster: Cluster, tmp_path: Path) -> None:
    (tmp_path / "kubeadm-flags.env").write_text(
        'KUBELET_KUBEADM_ARGS="--container-runtime-endpoint=unix:///run/c.sock --node-ip=198.51.100.1"\n'
    )
    assert kubenode.register_again("conf", False) == ["registered the node again"]
    assert cluster.restarts == 1
    assert cluster.patches == [
        {"metadata": {"annotations": {"kubeadm.alpha.kubernetes.io/cri-socket": "unix:///run/c.sock"}}}
    ]


def test_a_deleted_control_plane_is_one_again(cluster: Cluster, tmp_path: Path) -> None:
    (tmp_path / "instance-config.yaml").write_text("containerRuntimeEndpoint: unix:///run/containerd/containerd.sock\n")
    kubenode.register_again("conf", True)
    metadata = cluster.patches[0]["metadata"]
    assert "node-role.kubernetes.io/control-plane" in metadata["labels"]
    assert list(metadata["annotations"].values()) == ["unix:///run/containerd/containerd.sock"]


def test_a_node_that_does_not_come_back_is_named(cluster: Cluster) -> None:
    cluster.registers = False
    with pytest.raises(HostError) as caught:
        kubenode.register_again("conf", False)
    assert caught.value.code == "node-not-ready"
    assert node_name() in caught.value.message
    assert caught.value.fix
    assert cluster.restarts == 1


def test_a_run_killed_before_the_node_is_whole_is_made_good(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(cluster, "request", lambda *_: (_ for _ in ()).throw(KubeError(0, "killed")))
        with pytest.raises(KubeError):
            kubenode.register_again("conf", True)
    assert cluster.there
    assert kubenode.register_again("conf", True)
    assert "labels" in cluster.patches[0]["metadata"]
    assert kubenode.register_again("conf", True) == []


def test_another_refusal_restarts_nothing(cluster: Cluster) -> None:
    cluster.failing = 403
    with pytest.raises(KubeError):
        kubenode.register_again("conf", False)
    assert cluster.restarts == 0


@pytest.mark.parametrize("role", ["worker", "control-plane", "init"])
def test_the_node_is_back_before_kubeadm_asks_for_it(role: str, monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []

    def step(name: str) -> Any:
        def note(*_args: Any, **_more: Any) -> list[str]:
            order.append(name)
            return []

        return note

    for name in ("save_state", "_repair", "_start_kubelet", "_wait_api", "register_again"):
        monkeypatch.setattr(ops, name, step(name))
    for name in ("_certificate", "_kubelet_config", "_labels_and_taint", "_kube_proxy", "renew"):
        monkeypatch.setattr(ops, name, step(name))
    ops.converge(ops.Wanted(role, {}, False, [], {}, False))
    assert order.index("_wait_api") < order.index("register_again") < order.index("_kubelet_config")
    assert ("_kube_proxy" in order) is (role != "worker"), "the control plane that founded the cluster may have left"
