"""What `gpuctl minikube` cannot do, with the real minikube on a test host: each failure's code, and what it leaves.

As in test_minikube.py, node image and GPUs are stand-ins, and there is no internet. The tests build on one another, in
the order of the file: first what needs no cluster, then one that is made by hand. What the kernel would have to be told
(net.core.bpf_jit_harden) a test host hides: that is a unit test.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.e2e.interrupting import Started
from tests.e2e.minikube_machine import PROFILE, SIZE, Machine, made_machine

pytestmark = pytest.mark.e2e
LANE_COST_S = 700  # two cores, everything built, other lanes beside it
BUNDLE = "/var/lib/gpuctl/minikube-bundle/bundle.json"
RECORD = f"/root/.minikube/profiles/{PROFILE}"
LABELS = ("--label", "created_by.minikube.sigs.k8s.io=true", "--label", f"name.minikube.sigs.k8s.io={PROFILE}")
# A kubeconfig of somebody's, with two clusters: one that a profile would have to be named after.
KUBECONFIG = """
apiVersion: v1
kind: Config
clusters:
- cluster: {server: "https://192.0.2.1:6443"}
  name: theirs
- cluster: {server: "https://192.0.2.2:6443"}
  name: taken
users:
- {name: theirs, user: {token: none}}
contexts:
- context: {cluster: theirs, user: theirs}
  name: theirs
- context: {cluster: taken, user: theirs}
  name: taken
current-context: theirs
"""
# Ports that the node's services have, taken on the host for as long as there is a profile.
LISTEN = """
import socket, time
held = [socket.create_server(("", port)) for port in (2376, 2379, 6443, 8443, 10250, 32443)]
time.sleep(86400)
"""


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """A fresh host with eight simulated GPUs, without Docker."""
    with made_machine(tmp_path_factory.mktemp("lab"), "kf", LANE_COST_S) as made:
        yield made


@pytest.fixture(scope="module")
def others(machine: Machine) -> set[str]:
    """What somebody else has there, beside which everything else has to go."""
    image = json.loads(machine.ssh("cat", BUNDLE))["base_image"]
    machine.ssh("docker", "create", "--name", "theirs", "--entrypoint", "sleep", image, "9")
    machine.ssh("docker", "volume", "create", "theirs")
    machine.ssh("docker", "network", "create", "theirs")
    machine.ssh("sh", "-c", "mkdir -p /root/.kube; cat > /root/.kube/config", stdin=KUBECONFIG)
    found = machine.traces()
    assert {f"{kind} theirs" for kind in ("container", "volume", "network", "context", "current")} <= found
    return found


@pytest.mark.parametrize(
    ("options", "count"),
    [
        (("--memory", "900g"), 1),
        (("--memory", "100m"), 1),
        (("--cpus", "512"), 1),
        (("--cpus", "1", "--memory", "1t"), 2),
    ],
)
def test_a_size_that_cannot_be_is_refused_before_anything_is_changed(
    machine: Machine, options: tuple[str, ...], count: int
) -> None:
    assert machine.codes(machine.up(*options, expect=4)) == ["minikube-resources"] * count
    assert machine.ssh("ls", "/var/lib/gpuctl/receipts", expect=None).split() == []


def test_a_docker_that_is_too_old_is_refused_and_left(machine: Machine) -> None:
    apt = "DEBIAN_FRONTEND=noninteractive apt-get -qq --yes"
    machine.ssh("sh", "-c", f"{apt} update && {apt} install --no-install-recommends 'docker.io=20.10*'")
    assert machine.codes(machine.up(expect=4)) == ["minikube-docker-old"]
    assert machine.ssh("docker", "version", "--format", "{{.Server.Version}}").startswith("20.10")
    machine.ssh("sh", "-c", f"{apt} purge --autoremove docker.io")


def test_ctrl_c_while_minikube_makes_the_node(machine: Machine) -> None:
    run = Started(machine.lab, "minikube", "up", "--profile", PROFILE, *machine.lab.named, *SIZE)
    run.wait_for_words("Creating docker container")
    run.interrupt()
    ended = run.end()
    assert ended.code == 130
    assert "Traceback" not in ended.err
    assert not [trace for trace in machine.traces() if PROFILE in trace]


def test_a_node_image_that_cannot_be_pulled(machine: Machine, others: set[str]) -> None:
    """The run after an interrupted one: nothing of that is in its way."""
    failed = machine.up("--base-image", "registry.example.invalid/none:1", expect=5)
    assert machine.codes(failed) == ["minikube-image-pull"]
    assert machine.traces() == others


def test_a_version_of_kubernetes_that_the_bundle_has_not(machine: Machine, others: set[str]) -> None:
    failed = machine.up("--kubernetes-version", "v1.30.0", expect=5)
    assert machine.codes(failed) == ["minikube-image-pull"]
    assert "v1.30.0" in failed["errors"][0]["message"]
    assert machine.traces() == others


def test_a_context_of_another_cluster_is_left(machine: Machine, others: set[str]) -> None:
    assert machine.codes(machine.up("--profile", "taken", expect=4)) == ["minikube-context-taken"]
    assert machine.minikube("down", "--profile", "taken", "--yes")["data"]["was"] == "absent"
    assert machine.traces() == others


@pytest.mark.parametrize("kind", ["container", "volume", "network"])
def test_what_somebody_else_has_under_the_name_is_left(machine: Machine, others: set[str], kind: str) -> None:
    image = json.loads(machine.ssh("cat", BUNDLE))["base_image"]
    machine.ssh("docker", kind, "create", *(["--name", PROFILE, image] if kind == "container" else [PROFILE]))
    refused = machine.up(expect=4)
    assert machine.codes(refused) == ["minikube-name-taken"]
    assert f"a {kind} {PROFILE}" in refused["errors"][0]["message"]
    assert machine.minikube("down", "--yes")["data"]["was"] == "absent"
    assert machine.traces() == others | {f"{kind} {PROFILE}"}
    machine.ssh("docker", kind, "rm", PROFILE)


def test_what_is_left_of_minikubes_own_is_named_and_goes(machine: Machine, others: set[str]) -> None:
    machine.ssh("docker", "volume", "create", *LABELS, PROFILE)
    machine.ssh("docker", "network", "create", *LABELS, PROFILE)
    refused = machine.up(expect=4)
    assert machine.codes(refused) == ["minikube-profile-broken"]
    assert "no record of minikube's, no container, a volume, a network" in refused["errors"][0]["message"]
    machine.minikube("down", "--yes")
    assert machine.traces() == others


def test_a_docker_that_may_not_run_is_refused_and_left(machine: Machine) -> None:
    units = ("docker.socket", "docker.service")
    machine.ssh("systemctl", "mask", "--now", *units)
    try:
        assert machine.codes(machine.up(expect=4)) == ["minikube-docker-away"]
        assert machine.ssh("systemctl", "is-active", "docker.service", expect=None).strip() == "inactive"
    finally:
        machine.ssh("systemctl", "unmask", *units)
        machine.ssh("systemctl", "start", *units)


def test_a_profile_that_was_made_by_hand_otherwise_is_named(machine: Machine, others: set[str]) -> None:
    """It is made beside programs that have the ports of its services: Docker publishes others."""
    machine.ssh("systemd-run", "--unit=e2e-ports", "python3", "-c", LISTEN)
    bundle = json.loads(machine.ssh("cat", BUNDLE))
    machine.ssh(
        "minikube", "start", f"--profile={PROFILE}", "--driver=docker", "--container-runtime=docker", "--gpus=all",
        f"--kubernetes-version={bundle['kubernetes_version']}", f"--base-image={bundle['base_image']}",
        f"--cni={bundle['cni']}", "--preload=false", "--force", "--cpus=2", "--memory=4g", "--keep-context",
        "--extra-config=kubelet.fail-cgroupv1=false", deadline_s=400,
    )  # fmt: skip
    machine.ssh("systemctl", "is-active", "e2e-ports.service")
    before = machine.started()
    for options, words in ((("--cpus", "3"), "CPUs 2 → 3"), (("--gpus", "none"), "GPUs all → none")):
        refused = machine.up(*options, expect=4)
        assert machine.codes(refused) == ["minikube-differs"]
        assert words in refused["errors"][0]["message"]
    assert machine.started() == before
    assert {trace for trace in machine.traces() if PROFILE not in trace} == others


def test_an_addon_image_that_nobody_brings_is_named_and_restarts_nothing(machine: Machine) -> None:
    """By hand nobody said that the device plugin's image is to be another than the one that minikube names."""
    before = machine.started()
    machine.ssh("cp", BUNDLE, "/root/bundle.json")
    bundle = {**json.loads(machine.ssh("cat", BUNDLE)), "addon_images": {}}
    machine.ssh("tee", BUNDLE, stdin=json.dumps(bundle))
    failed = machine.up(expect=6)
    assert machine.codes(failed) == ["minikube-addon-image"]
    assert not failed["data"]["started"]
    assert machine.started() == before


def test_ctrl_c_while_gpus_are_waited_for(machine: Machine) -> None:
    before = machine.started()
    run = Started(machine.lab, "minikube", "up", "--profile", PROFILE, *machine.lab.named, *SIZE)
    run.wait_for_words("Wait for 8 of them")
    run.interrupt()
    ended = run.end()
    assert ended.code == 130
    assert "Traceback" not in ended.err
    assert (machine.minikube("status")["data"]["phase"], machine.started()) == ("running", before)
    # What a person would do about it: bring the image, and tell the addon its name.
    image = json.loads(machine.ssh("cat", "/root/bundle.json"))["addon_images"]["NvidiaDevicePlugin"]
    archive = BUNDLE.replace("bundle.json", "addons/NvidiaDevicePlugin.tar")
    machine.ssh("minikube", "-p", PROFILE, "image", "load", archive)
    enable = ("addons", "enable", "nvidia-device-plugin", f"--images=NvidiaDevicePlugin={image}")
    machine.ssh("minikube", "-p", PROFILE, *enable)
    machine.ssh("cp", "/root/bundle.json", BUNDLE)


def test_a_profile_that_was_made_by_hand_is_adopted(machine: Machine) -> None:
    before = machine.started()
    done = machine.up()["data"]
    assert (done["started"], done["gpus"], machine.started()) == (False, 8, before)


def test_a_docker_that_is_down_hides_a_profile_and_loses_nothing(machine: Machine) -> None:
    before = machine.traces()
    machine.ssh("systemctl", "stop", "docker.socket", "docker.service")
    for verb, options in (("status", ()), ("stop", ()), ("down", ("--yes",))):
        assert machine.codes(machine.minikube(verb, *options, expect=4)) == ["minikube-docker-away"]
    machine.ssh("systemctl", "start", "docker.socket", "docker.service")
    assert machine.traces() == before


def test_half_a_profile_is_named_and_goes(machine: Machine, others: set[str]) -> None:
    machine.ssh("mv", RECORD, "/root/record")
    for verb, options in (("up", SIZE), ("down", ("--yes",))):  # it might be another user's
        assert machine.codes(machine.minikube(verb, *options, expect=4)) == ["minikube-profile-orphan"]
    machine.ssh("mv", "/root/record", RECORD)
    machine.ssh("docker", "rm", "-f", PROFILE)
    refused = machine.up(expect=4)
    assert machine.codes(refused) == ["minikube-profile-broken"]
    assert "minikube's record, no container" in refused["errors"][0]["message"]
    # Minikube would delete it by its name: it has a record.
    image = json.loads(machine.ssh("cat", BUNDLE))["base_image"]
    machine.ssh("docker", "create", "--name", PROFILE, image)
    for verb, options in (("up", SIZE), ("stop", ()), ("down", ("--yes",))):
        assert machine.codes(machine.minikube(verb, *options, expect=4)) == ["minikube-name-taken"]
    machine.ssh("docker", "rm", PROFILE)
    machine.minikube("down", "--yes")
    assert machine.traces() == others
