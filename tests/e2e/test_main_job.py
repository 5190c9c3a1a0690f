"""The main job on three real hosts: bootstrap, again, drift, a new worker, a reboot, proof on every GPU, and away.

The tests build on one another, in the order of the file: each starts from the cluster that the one before left.
"""

from __future__ import annotations

import json
import re
import signal
import time
from collections.abc import Callable

import pytest
import yaml

from bootstrap.testvm.simgpu import hardware
from tests.e2e import jobs, unasked
from tests.e2e.ownership import unexplained_files
from tests.e2e.tool import Lab, wait_for

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def all_workers(lab: Lab) -> str:
    """The text of the lab's inventory, with both workers."""
    return lab.inventory.read_text()


def without(text: str, host: str) -> str:
    return "".join(line for line in text.splitlines(keepends=True) if line.split(maxsplit=1)[:1] != [host])


def test_bootstrap_makes_a_cluster_of_the_hosts_that_the_inventory_names(lab: Lab, all_workers: str) -> None:
    lab.inventory.write_text(without(all_workers, "gpu2"))
    ran = lab.json("bootstrap", *lab.named)
    assert ran["status"] == "ok"
    nodes = {n["name"]: n for n in ran["data"]["readiness"]["nodes"]}
    assert nodes["cp1"]["ready"]
    assert nodes["gpu1"]["ready"]
    assert nodes["gpu1"]["gpus_allocatable"] == 8
    steps = {(s["host"], s["component"]) for s in ran["data"]["plan"]["steps"]}
    assert ("gpu1", "nvidia_driver") in steps
    assert ("cp1", "nvidia_driver") not in steps, "GPU hosts are found by the probe"
    assert sorted(
        json.loads(lab.kubectl("get", "nodes", "-o", "json"))["items"][i]["metadata"]["name"] for i in (0, 1)
    ) == ["cp1", "gpu1"]


def test_kubeconfig_is_private_and_names_the_cluster(lab: Lab) -> None:
    assert lab.kubeconfig.stat().st_mode & 0o777 == 0o600
    config = yaml.safe_load(lab.kubeconfig.read_text())
    assert [c["name"] for c in config["contexts"]] == [f"gpuctl-{lab.name}"]
    assert "insecure-skip-tls-verify" not in lab.kubeconfig.read_text()


def test_second_bootstrap_changes_nothing(lab: Lab) -> None:
    ran = lab.json("bootstrap", *lab.named)
    assert ran["data"]["plan"]["steps"] == []
    assert all(o["changed"] == 0 for o in ran["data"]["outcomes"])
    assert not (lab.last_run() / "events.jsonl").exists(), "no Ansible was started"


def test_a_new_worker_joins_without_touching_the_others(lab: Lab, all_workers: str) -> None:
    before = {h: lab.ssh(h, "stat", "-c", "%n %Y", *_receipts(lab, h)) for h in ("cp1", "gpu1")}
    lab.inventory.write_text(all_workers)
    ran = lab.json("bootstrap", *lab.named)
    assert set(lab.applied(ran)) == {"gpu2"}
    assert ran["data"]["readiness"]["nodes"][2]["gpus_allocatable"] == 8
    after = {h: lab.ssh(h, "stat", "-c", "%n %Y", *_receipts(lab, h)) for h in ("cp1", "gpu1")}
    assert before == after


def test_verify_gpus_computes_on_every_gpu(lab: Lab) -> None:
    ran = lab.json("verify-gpus", *lab.named)
    assert (ran["data"]["gpus_total"], ran["data"]["gpus_passed"]) == (16, 16)
    for node in ran["data"]["nodes"]:
        assert node["simulated"]
        assert all(layer["state"] == "ok" for layer in node["layers"].values()), node["layers"]
        assert len({gpu["uuid"] for gpu in node["gpus"]}) == 8
    assert "simulated" in lab.gpuctl("verify-gpus", *lab.named).out
    assert not [
        n for n in lab.kubectl("get", "namespaces", "-o", "name").split() if "verify" in n and not _terminating(lab, n)
    ]


def test_pods_without_a_request_see_no_gpu(lab: Lab, figure: Callable[[str], None]) -> None:
    uuid = lab.json("verify-gpus", *lab.named, "--limit", "gpu1")["data"]["nodes"][0]["gpus"][0]["uuid"]
    found = unasked.seen(lab, [*unasked.tries(uuid), unasked.pod("asks", gpus=2)])
    assert found.pop("unasked-asks") == 2
    figure(f"pods without a GPU request: {len(found)}, they see {sum(found.values())} GPUs")
    assert found == dict.fromkeys(found, 0)


def test_all_nodes_add_up_over_the_pod_network(lab: Lab) -> None:
    found = lab.json("verify-gpus", *lab.named, "--collective")["data"]["collective"]
    assert (found["nodes"], found["code"]) == (["gpu1", "gpu2"], "")
    assert all(rank["sum_right"] and rank["bytes_per_s"] > 0 for rank in found["ranks"])


def test_a_job_runs_on_two_nodes_with_all_their_gpus(lab: Lab) -> None:
    reports = jobs.all_reduce(lab, "--nodes", "2", "--gpus", "8")
    assert [(found["rank"], found["pods"], found["gpus"], found["sum_right"]) for found in reports] == [
        (0, 2, 8, True),
        (1, 2, 8, True),
    ]
    assert jobs.objects(lab) == []


def test_a_job_that_cannot_ever_run_is_refused(lab: Lab) -> None:
    refused = jobs.run_job(lab, "--nodes", "3", "--gpus", "8", command=("true",), expect=4)
    assert [error["code"] for error in refused["errors"]] == ["job-too-large"]
    refused = jobs.run_job(lab, "--launcher", "jobset", command=("true",), expect=4)
    assert [error["code"] for error in refused["errors"]] == ["job-launcher-missing"]


def test_a_program_that_the_image_lacks_is_named(lab: Lab) -> None:
    failed = jobs.run_job(lab, "--nodes", "1", command=("torchrun", "train.py"), expect=6)
    assert "the image has no torchrun" in failed["errors"][0]["message"]


def test_a_killed_worker_ends_the_job_and_is_named(lab: Lab) -> None:
    with jobs.staying(lab) as (following, nodes):
        lab.ssh(nodes[1], "pkill", "-9", "-f", jobs.STAYING)
        _, said = following.communicate(timeout=60)
    assert following.returncode == 6
    assert f"rank 1 on {nodes[1]} was killed (signal 9)" in said
    assert jobs.objects(lab) == []


def test_ctrl_c_takes_a_job_away(lab: Lab) -> None:
    with jobs.staying(lab) as (following, _):
        taken = jobs.run_job(lab, command=("true",), expect=4)
        assert {error["code"] for error in taken["errors"]} == {"job-name-taken"}
        following.send_signal(signal.SIGINT)
        following.communicate(timeout=60)
    assert following.returncode == 130
    assert jobs.objects(lab) == []


def test_an_edited_file_is_named_and_mended_alone(lab: Lab) -> None:
    lab.ssh("gpu2", "sh", "-c", "echo '# edited by hand' >> /etc/containerd/config.toml")
    assert list(lab.plan()) == ["gpu2 containerd"]
    assert "/etc/containerd/config.toml edited on the host" in lab.plan()["gpu2 containerd"]
    assert lab.applied(lab.json("bootstrap", *lab.named)) == {"gpu2": ["containerd"]}
    assert "edited by hand" not in lab.ssh("gpu2", "cat", "/etc/containerd/config.toml")
    assert lab.plan() == {}


def test_a_downgraded_package_is_named_and_mended_alone(lab: Lab) -> None:
    installed = lab.ssh("gpu1", "dpkg-query", "-W", "-f", "${Version}", "nvidia-persistenced")
    lower = "nvidia-persistenced=580.150.02*"
    lab.ssh("gpu1", "apt-get", "install", "-qy", "--allow-downgrades", "--allow-change-held-packages", lower)
    plan = lab.plan()
    assert set(plan) == {"gpu1 nvidia_driver"}
    assert (
        "nvidia-persistenced 580.178.04-1+sim → 580.150.02-1+sim (downgraded on the host)" in plan["gpu1 nvidia_driver"]
    )
    assert lab.applied(lab.json("bootstrap", *lab.named)) == {"gpu1": ["nvidia_driver"]}
    assert lab.ssh("gpu1", "dpkg-query", "-W", "-f", "${Version}", "nvidia-persistenced") == installed


def test_a_deleted_object_is_named_and_made_again_alone(lab: Lab) -> None:
    lab.kubectl("delete", "runtimeclass", "nvidia")
    plan = lab.plan()
    assert list(plan) == ["cluster nvidia_device_plugin"]
    assert "RuntimeClass" in plan["cluster nvidia_device_plugin"]
    assert "was deleted" in plan["cluster nvidia_device_plugin"]
    assert lab.applied(lab.json("bootstrap", *lab.named)) == {"cp1": ["nvidia_device_plugin"]}
    assert "nvidia" in lab.kubectl("get", "runtimeclass", "-o", "name")


def test_every_file_is_owned_by_a_package_or_by_evidence(lab: Lab) -> None:
    for host in ("cp1", "gpu1"):
        assert unexplained_files(lab, host) == []


def test_a_raised_cluster_version_is_refused_and_upgrade_named(lab: Lab, all_workers: str) -> None:
    lab.inventory.write_text(all_workers + '\n[all:vars]\nkubeadm_kubernetes_version="1.37.2"\n')
    try:
        for verb in ("plan", "bootstrap"):
            ran = lab.json(verb, *lab.named, expect=4)
            assert {e["code"] for e in ran["errors"]} == {"upgrade-needed"}
            assert all("gpuctl upgrade" in e["fix"] for e in ran["errors"])
            assert "1.36.3 → 1.37.2" in ran["errors"][0]["message"]
    finally:
        lab.inventory.write_text(all_workers)


def test_an_immutable_setting_is_refused(lab: Lab, all_workers: str) -> None:
    lab.inventory.write_text(all_workers + '\n[all:vars]\ncluster_pod_cidr="10.42.0.0/16"\n')
    try:
        ran = lab.json("bootstrap", *lab.named, expect=4)
        assert any(
            e["code"] == "variable-immutable" and "10.244.0.0/16 → 10.42.0.0/16" in e["message"] for e in ran["errors"]
        )
    finally:
        lab.inventory.write_text(all_workers)


def test_a_missing_gpu_is_named_by_its_layer(lab: Lab) -> None:
    hardware.set_fault(lab.home("gpu2"), 5, "lost")
    try:
        ran = lab.json("verify-gpus", *lab.named, expect=6)
        assert ran["errors"][0]["code"] == "gpu-lost"
        assert ran["data"]["gpus_passed"] < ran["data"]["gpus_total"] == 16
        assert {e["host"] for e in ran["errors"]} == {"gpu2"}
    finally:
        hardware.clear_faults(lab.home("gpu2"))


def test_a_gpu_that_is_well_again_is_offered_again(lab: Lab) -> None:
    """The device plugin never takes a GPU back by itself: bootstrap makes its pod on that node anew."""
    wait_for("the plugin to be due", lambda: lab.plan() != {}, 60)
    assert set(lab.plan()) == {"cluster nvidia_device_plugin"}
    lab.gpuctl("bootstrap", *lab.named)
    assert lab.json("verify-gpus", *lab.named)["data"]["gpus_passed"] == 16


def test_a_rebooted_host_comes_back_with_its_gpus(lab: Lab) -> None:
    boot = lab.ssh("gpu1", "cat", "/proc/sys/kernel/random/boot_id")
    marker = lab.ssh("gpu1", "cat", "/proc/1/stat").split()[21]
    lab.gpuctl("testvm", "reboot", "gpu1", "--name", lab.name)
    wait_for("gpu1 to boot anew", lambda: _start_of_init(lab, "gpu1") not in {"", marker}, 120)

    def allocatable() -> bool:
        node = json.loads(lab.kubectl("get", "node", "gpu1", "-o", "json"))
        ready = any(c["type"] == "Ready" and c["status"] == "True" for c in node["status"]["conditions"])
        return ready and node["status"]["allocatable"].get("nvidia.com/gpu") == "8"

    assert boot
    wait_for("8 GPUs allocatable on gpu1", allocatable, 180)
    assert wait_for("no drift after the reboot", lambda: lab.plan() == {}, 60)


def test_no_secret_in_run_directories_or_receipts(lab: Lab) -> None:
    """Every run directory was searched when its command ended; processes are watched in test_interruptions."""
    assert lab.runs
    assert lab.leaks == []
    token = re.compile(r"\b[a-z0-9]{6}\.[a-z0-9]{16}\b")
    for host in ("cp1", "gpu1", "gpu2"):
        receipts = lab.ssh(host, "sh", "-c", "cat /var/lib/gpuctl/receipts/*.json")
        assert not token.search(receipts)
        assert "PRIVATE KEY" not in receipts
        modes = lab.ssh(host, "sh", "-c", "stat -c %a /var/lib/gpuctl/receipts/*.json")
        assert set(modes.split()) == {"600"}


def test_reset_leaves_the_hosts_as_they_were_and_bootstrap_makes_them_again(lab: Lab) -> None:
    ran = lab.json("reset", *lab.named, "--yes")
    assert ran["data"]["kubeconfig_removed"] == f"gpuctl-{lab.name}"
    for host in ("cp1", "gpu1", "gpu2"):
        left = lab.ssh(
            host,
            "sh",
            "-c",
            "ls -d /etc/kubernetes /var/lib/gpuctl/receipts/*.json /etc/containerd/config.toml 2>/dev/null",
            expect=None,
        )
        assert left.strip() == ""
        packages = lab.ssh(host, "dpkg-query", "-W", "-f", "${Package} ${db:Status-Abbrev}\\n")
        assert not re.search(r"^(kubelet|kubeadm|containerd\.io|nvidia-\S+) ii", packages, re.MULTILINE)
    made = lab.json("bootstrap", *lab.named)
    assert [n["gpus_allocatable"] for n in made["data"]["readiness"]["nodes"]] == [0, 8, 8]


def _receipts(lab: Lab, host: str) -> list[str]:
    return lab.ssh(host, "ls", "/var/lib/gpuctl/receipts").split() and [
        f"/var/lib/gpuctl/receipts/{name}" for name in lab.ssh(host, "ls", "/var/lib/gpuctl/receipts").split()
    ]


def _terminating(lab: Lab, namespace: str) -> bool:
    time.sleep(1)
    return (
        "Terminating" in lab.kubectl("get", namespace)
        if namespace in lab.kubectl("get", "namespaces", "-o", "name")
        else True
    )


def _start_of_init(lab: Lab, host: str) -> str:
    out = lab.ssh(host, "cat", "/proc/1/stat", expect=None).split()
    return out[21] if len(out) > 21 else ""
