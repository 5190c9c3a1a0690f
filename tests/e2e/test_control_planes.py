"""Two control planes stay one cluster, whatever their order, and when the one that founded it is made anew.

Judged by the cluster: etcd's own list of members, the API of each control plane, the certificate that it shows, the
identity of kube-system. The tests build on one another, in the order of the file.
"""

from __future__ import annotations

import hashlib
import json
import re
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.e2e.conftest import made_lab
from tests.e2e.tool import Lab, wait_for

pytestmark = pytest.mark.e2e
LANE_COST_S = 800  # two cores, everything built, other lanes beside it

PLANES = ("cp1", "gpu1")  # in the order in which the first bootstrap sees them: cp1 founds the cluster
PKI = "/etc/kubernetes/pki"
GPU = "nvidia.com/gpu"
MARK = "gpuctl/cordoned"
NOUVEAU = "/etc/modprobe.d/gpuctl-nouveau.conf"


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """Two control planes, one of them with GPUs, and a worker with GPUs."""
    with made_lab(tmp_path_factory.mktemp("lab"), "c", "--hosts", "3", "--gpus", "2") as made:
        in_order(made, *PLANES)
        yield made


@pytest.fixture(scope="module")
def cluster(lab: Lab) -> dict[str, Any]:
    """The cluster as the first bootstrap made it."""
    lab.gpuctl("bootstrap", *lab.named)
    return identity(lab, "cp1")


def test_two_control_planes_are_one_cluster(lab: Lab, cluster: dict[str, Any]) -> None:
    assert set(cluster["members"]) == {"cp1", "gpu1"}
    assert identity(lab, "gpu1") == cluster, "asked through the other control plane"
    assert {serving_authority(lab, host) for host in PLANES} == {cluster["authority"]}
    assert whole(lab) == WHOLE
    ran = lab.json("verify-gpus", *lab.named)["data"]
    assert (ran["gpus_total"], ran["gpus_passed"]) == (4, 4)


def test_reordered_control_planes_are_nothing_to_do(lab: Lab, cluster: dict[str, Any]) -> None:
    in_order(lab, "gpu1", "cp1")
    assert lab.plan() == {}
    ran = lab.json("bootstrap", *lab.named)["data"]
    assert all(outcome["changed"] == 0 for outcome in ran["outcomes"])
    assert {host: identity(lab, host) for host in PLANES} == dict.fromkeys(PLANES, cluster)


def test_a_control_plane_that_is_reset_leaves_etcd_and_the_cluster(lab: Lab, cluster: dict[str, Any]) -> None:
    in_order(lab, "cp1", "gpu1")
    lab.gpuctl("reset", *lab.named, "--limit", "cp1", "--yes")
    left = identity(lab, "gpu1")
    assert left == {**cluster, "members": {"gpu1": cluster["members"]["gpu1"]}}
    assert set(nodes(lab, "gpu1")) == {"gpu1", "gpu2"}
    plan = lab.plan()
    assert {step.split()[0] for step in plan} == {"cp1", "gpu1", "gpu2"}, "the cluster's own objects are untouched"
    moving = {f"{host} {component}" for host in ("gpu1", "gpu2") for component in ("kube_host", "kubeadm")}
    assert {step for step in plan if not step.startswith("cp1 ")} == moving
    moved = f"cluster_endpoint_address {address(lab, 'cp1')} → {address(lab, 'gpu1')}"
    assert moved in plan["gpu2 kube_host"], "the endpoint's name led to the host that has left"


def test_the_first_host_of_the_inventory_joins_the_living_cluster(lab: Lab, cluster: dict[str, Any]) -> None:
    before = {name: node["metadata"]["uid"] for name, node in nodes(lab, "gpu1").items()}
    ran = lab.json("bootstrap", *lab.named)
    assert "kubeadm" in lab.applied(ran)["cp1"]
    assert lab.applied(ran)["gpu1"] == lab.applied(ran)["gpu2"] == ["kube_host", "kubeadm"]
    units = lab.ssh("cp1", "systemctl", "show", "-p", "Id,LoadState", "gpuctl-kubeadm-init", "gpuctl-kubeadm-join")
    assert re.findall(r"LoadState=(\S+)", units) == ["not-found", "loaded"], units

    now = identity(lab, "cp1")
    assert set(now["members"]) == {"cp1", "gpu1"}
    assert now["members"]["cp1"] != cluster["members"]["cp1"], "a new member, not the old one's data"
    assert {**now, "members": None} == {**cluster, "members": None}
    assert identity(lab, "gpu1") == now
    assert {serving_authority(lab, host) for host in PLANES} == {cluster["authority"]}
    after = {name: node["metadata"]["uid"] for name, node in nodes(lab, "cp1").items()}
    assert {name: after[name] for name in before} == before, "the others were not made again"
    assert whole(lab) == WHOLE
    assert endpoint_of_kube_proxy(lab, "gpu2") == address(lab, "gpu1"), "it would lose the API with the founder"
    assert lab.plan() == {}


def test_settings_of_kube_proxy_are_applied_without_the_founder(lab: Lab) -> None:
    settings = {"conntrack": {"maxPerCore": 0, "min": 0}, "iptables": {"syncPeriod": "31s"}}
    generation = ("get", "daemonset", "kube-proxy", "-n", "kube-system", "-o", "jsonpath={.metadata.generation}")
    before = int(kubectl(lab, "gpu1", *generation))
    with lab.inventory.open("a") as inventory:
        inventory.write(f"\n[all:vars]\nkubeadm_kube_proxy_config={json.dumps(settings)}\n")
    assert set(lab.plan()) == {f"{name} kubeadm" for name in WHOLE}
    lab.gpuctl("bootstrap", *lab.named)
    assert "syncPeriod: 31s" in kubectl(
        lab, "gpu1", "get", "configmap", "kube-proxy", "-n", "kube-system", "-o", "yaml"
    )
    assert int(kubectl(lab, "gpu1", *generation)) > before, "its pods are made anew"
    kubectl(lab, "gpu1", "rollout", "status", "daemonset/kube-proxy", "-n", "kube-system", "--timeout=90s")
    assert lab.plan() == {}


def test_deleted_nodes_are_named_and_registered_again(lab: Lab) -> None:
    lost = ("cp1", "gpu2")
    before = nodes(lab, "gpu1")
    kubectl(lab, "gpu1", "delete", "node", *lost)
    plan = lab.plan()
    assert set(plan) == {f"{name} kubeadm" for name in lost}
    assert all(f"node {name} is not in the cluster" in plan[f"{name} kubeadm"] for name in lost)
    assert lab.applied(lab.json("bootstrap", *lab.named)) == {name: ["kubeadm"] for name in lost}
    after = nodes(lab, "gpu1")
    assert whole(lab) == WHOLE
    for name in lost:
        assert after[name]["metadata"]["uid"] != before[name]["metadata"]["uid"]
        assert roles(after[name]) == roles(before[name])
        taints = {taint["key"] for taint in after[name]["spec"].get("taints", [])}
        assert ("node-role.kubernetes.io/control-plane" in taints) is (name == "cp1")
    assert after["gpu2"]["metadata"]["labels"]["nvidia.com/gpu.present"] == "true"
    assert lab.plan() == {}


def test_a_restarted_runtime_leaves_gpu_pods_running(lab: Lab) -> None:
    kubectl(lab, "gpu1", "apply", "-f", "-", stdin=json.dumps(HOLDER))
    pod = wait_for("the GPU pod to run", lambda: holder(lab), 300)
    before = main_pid(lab, pod["node"])
    with added(lab, "containerd_max_concurrent_downloads=7"):
        plan = lab.json("plan", *lab.named)["data"]["plan"]["steps"]
        effects = {step["host"]: (step["component"], step["effect"]) for step in plan}
        assert effects == dict.fromkeys(("cp1", "gpu1", "gpu2"), ("containerd", "restarts-service"))
        lab.gpuctl("bootstrap", *lab.named)
        assert main_pid(lab, pod["node"]) != before
        assert holder(lab) == pod, "the same pod, never restarted"
    lab.gpuctl("bootstrap", *lab.named)


def test_a_driver_step_under_a_gpu_pod_needs_disrupt(lab: Lab) -> None:
    pod = holder(lab)
    lab.ssh(pod["node"], "sh", "-c", f"echo '# edited by hand' >> {NOUVEAU}")
    ran = lab.json("bootstrap", *lab.named, expect=8)
    assert [(e["code"], e["host"]) for e in ran["errors"]] == [("disruption-needed", pod["node"])]
    assert "--disrupt" in ran["errors"][0]["fix"]
    assert holder(lab) == pod
    assert "edited by hand" in lab.ssh(pod["node"], "cat", NOUVEAU), "nothing was changed"


def test_disrupt_empties_the_node_and_gives_it_back(lab: Lab) -> None:
    pod = holder(lab)
    assert lab.applied(lab.json("bootstrap", *lab.named, "--disrupt")) == {pod["node"]: ["nvidia_driver"]}
    moved = wait_for("the pod elsewhere", lambda: holder(lab), 300)
    assert moved["uid"] != pod["uid"]
    assert moved["node"] != pod["node"], "a cordoned node takes no pod"
    assert cordon(lab, pod["node"]) == (False, None)
    assert "edited by hand" not in lab.ssh(pod["node"], "cat", NOUVEAU)
    assert whole(lab) == WHOLE


def test_the_cordon_of_somebody_else_is_left_as_it_was(lab: Lab) -> None:
    pod = holder(lab)
    kubectl(lab, "gpu1", "cordon", pod["node"])
    lab.ssh(pod["node"], "sh", "-c", f"echo '# edited by hand' >> {NOUVEAU}")
    lab.gpuctl("bootstrap", *lab.named, "--disrupt")
    moved = wait_for("the pod elsewhere", lambda: holder(lab), 300)
    assert moved["node"] != pod["node"]
    assert cordon(lab, pod["node"]) == (True, None)
    kubectl(lab, "gpu1", "uncordon", pod["node"])
    assert lab.plan() == {}


# A pod that holds one GPU and that is made again elsewhere when it is evicted.
_CONTAINER = {"name": "holder", "image": "registry.k8s.io/pause:3.10.2", "resources": {"limits": {GPU: 1}}}
HOLDER = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "holder", "namespace": "default"},
    "spec": {
        "replicas": 1,
        "selector": {"matchLabels": {"app": "holder"}},
        "template": {
            "metadata": {"labels": {"app": "holder"}},
            "spec": {"terminationGracePeriodSeconds": 1, "runtimeClassName": "nvidia", "containers": [_CONTAINER]},
        },
    },
}
# Node → Ready, a control plane, GPUs allocatable.
WHOLE = {"cp1": (True, True, 0), "gpu1": (True, True, 2), "gpu2": (True, False, 2)}


def in_order(lab: Lab, *planes: str) -> None:
    """Write the inventory with these control planes, in this order; the other hosts are workers."""
    lines = lab.inventory.read_text().splitlines(keepends=True)
    hosts = {line.split()[0]: line for line in lines if re.match(r"(cp|gpu)\d+ ansible_host=", line)}
    text = "".join(line for line in lines if line not in hosts.values())
    workers = [hosts[name] for name in sorted(hosts) if name not in planes]
    text = text.replace("[control_plane]\n", "[control_plane]\n" + "".join(hosts[name] for name in planes))
    lab.inventory.write_text(text.replace("[workers]\n", "[workers]\n" + "".join(workers)))


@contextmanager
def added(lab: Lab, setting: str) -> Iterator[None]:
    """The inventory with one more setting for all hosts."""
    text = lab.inventory.read_text()
    lab.inventory.write_text(f"{text}\n[all:vars]\n{setting}\n")
    try:
        yield
    finally:
        lab.inventory.write_text(text)


def address(lab: Lab, host: str) -> str:
    found = re.search(rf"^{host} ansible_host=(\S+)", lab.inventory.read_text(), re.MULTILINE)
    assert found
    return found.group(1)


def endpoint_of_kube_proxy(lab: Lab, host: str) -> str:
    """Where the kube-proxy that runs there finds the API server."""
    container = lab.ssh(host, "crictl", "ps", "--quiet", "--state=running", "--name=^kube-proxy$").strip()
    uid = json.loads(lab.ssh(host, "crictl", "inspect", container))["status"]["labels"]["io.kubernetes.pod.uid"]
    hosts = lab.ssh(host, "cat", f"/var/lib/kubelet/pods/{uid}/etc-hosts")
    return next(line.split()[0] for line in hosts.splitlines() if f"{lab.name}-api" in line.split())


def kubectl(lab: Lab, host: str, *arguments: str, stdin: str = "") -> str:
    """kubectl on a control plane, with that host's own API server."""
    server = f"--server=https://{address(lab, host)}:6443"
    return lab.ssh(host, "kubectl", "--kubeconfig=/etc/kubernetes/admin.conf", server, *arguments, stdin=stdin)


def identity(lab: Lab, host: str) -> dict[str, Any]:
    """What makes a cluster this one, as one control plane has it: etcd's members, kube-system, the authority."""
    container = lab.ssh(host, "crictl", "ps", "--quiet", "--state=running", "--name=^etcd$").strip()
    tls = (f"--cacert={PKI}/etcd/ca.crt", f"--cert={PKI}/etcd/server.crt", f"--key={PKI}/etcd/server.key")
    asked = ("etcdctl", "--endpoints=https://127.0.0.1:2379", *tls, "--write-out=json", "member", "list")
    listed = json.loads(lab.ssh(host, "crictl", "exec", container, *asked))
    return {
        "etcd": listed["header"]["cluster_id"],
        "members": {m["name"]: m["ID"] for m in listed["members"] if not m.get("isLearner")},
        "kube-system": kubectl(lab, host, "get", "namespace", "kube-system", "-o", "jsonpath={.metadata.uid}"),
        "authority": fingerprint(lab.ssh(host, "cat", f"{PKI}/ca.crt")),
    }


def serving_authority(lab: Lab, host: str) -> str:
    """Fingerprint of the host's authority, by which the certificate that its API server shows must be signed."""
    pem = lab.ssh(host, "cat", f"{PKI}/ca.crt")
    context = ssl.create_default_context(cadata=pem)
    with socket.create_connection((address(lab, host), 6443), timeout=10) as raw:
        context.wrap_socket(raw, server_hostname=address(lab, host)).close()
    return fingerprint(pem)


def fingerprint(pem: str) -> str:
    return hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem)).hexdigest()


def nodes(lab: Lab, host: str) -> dict[str, Any]:
    listed = json.loads(kubectl(lab, host, "get", "nodes", "-o", "json"))
    return {node["metadata"]["name"]: node for node in listed["items"]}


def whole(lab: Lab) -> dict[str, tuple[bool, bool, int]]:
    """Node → Ready, a control plane, GPUs allocatable."""
    return {
        name: (
            any(c["type"] == "Ready" and c["status"] == "True" for c in node["status"]["conditions"]),
            "node-role.kubernetes.io/control-plane" in roles(node),
            int(node["status"]["allocatable"].get(GPU, 0)),
        )
        for name, node in nodes(lab, "gpu1").items()
    }


def roles(node: dict[str, Any]) -> set[str]:
    return {label for label in node["metadata"]["labels"] if label.startswith("node-role.kubernetes.io/")}


def cordon(lab: Lab, name: str) -> tuple[bool, str | None]:
    """Whether the node takes no pods, and our mark on it."""
    node = nodes(lab, "gpu1")[name]
    return bool(node["spec"].get("unschedulable")), node["metadata"]["annotations"].get(MARK)


def holder(lab: Lab) -> dict[str, Any]:
    """The GPU pod that runs; empty while there is none, or more than one."""
    pods = json.loads(kubectl(lab, "gpu1", "get", "pods", "-l", "app=holder", "-o", "json"))["items"]
    found = [
        {"node": pod["spec"]["nodeName"], "uid": pod["metadata"]["uid"], "restarts": status["restartCount"]}
        for pod in pods
        if "deletionTimestamp" not in pod["metadata"]
        for status in pod["status"].get("containerStatuses", [])
        if status["ready"]
    ]
    return found[0] if len(found) == 1 else {}


def main_pid(lab: Lab, host: str) -> str:
    return lab.ssh(host, "systemctl", "show", "-p", "MainPID", "--value", "containerd.service").strip()
