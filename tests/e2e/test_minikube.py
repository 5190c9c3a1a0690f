"""One machine: from no Docker to pods that compute on its GPUs, with the real minikube on a test host.

The node image is a stand-in made of Debian packages (components/kicbase), the GPUs are simulated; minikube, Docker,
Kubernetes, the container toolkit and the device plugin are the real ones, without internet. First over ssh, as root;
then as a person on the machine itself, with the Launch agent, whose server is the double in tests/doubles/wandb_api.
The tests build on one another, in the order of the file.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from bootstrap.testvm import firewall, state
from bootstrap.testvm.names import LabPaths
from tests.doubles import wandb_api
from tests.e2e.minikube_machine import PROFILE, SIZE, Machine, made_machine
from tests.e2e.researcher import PASSWORD, Researcher
from tests.e2e.tool import Lab

pytestmark = pytest.mark.e2e
LANE_COST_S = 900  # two cores, everything built, other lanes beside it
QUEUE, ENTITY = "gpus", "vision"
UNIT = "gpuctl-launch-agent.service"
_HERE = "mk1 ansible_connection=local"


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """A fresh host with eight simulated GPUs, without Docker."""
    with made_machine(tmp_path_factory.mktemp("lab"), "k", LANE_COST_S) as made:
        yield made


def test_what_cannot_work_is_refused_before_anything_is_changed(machine: Machine) -> None:
    refused = machine.up("--container-runtime", "containerd", expect=2)
    assert machine.codes(refused) == ["minikube-gpus-runtime"]
    assert machine.codes(machine.minikube("status", expect=6)) == ["minikube-profile-unknown"]
    assert machine.codes(machine.minikube("start", expect=6)) == ["minikube-profile-unknown"]
    assert machine.ssh("ls", "/var/lib/gpuctl/receipts", expect=None).split() == []
    bootstrap = machine.lab.json("bootstrap", *machine.lab.named, expect=3)
    assert machine.codes(bootstrap) == ["minikube-inventory"]


def test_from_no_docker_to_gpus(machine: Machine) -> None:
    assert machine.ssh("sh", "-c", "command -v docker", expect=None) == ""
    done = machine.up()["data"]
    assert done["started"]
    assert (done["node"], done["gpus"], done["gpus_expected"]) == (PROFILE, 8, 8)
    assert set(done["outcomes"][0]["completed"]) == {
        "kube_host", "nvidia_driver", "docker", "nvidia_container_toolkit", "minikube",
    }  # fmt: skip


def test_the_second_run_does_nothing(machine: Machine) -> None:
    before = machine.started()
    done = machine.up()["data"]
    assert not done["started"]
    assert [outcome["changed"] for outcome in done["outcomes"]] == [0]
    assert machine.started() == before
    assert machine.nodes_from_here(done["home"]) == [PROFILE]


def test_pods_compute_on_every_gpu(machine: Machine) -> None:
    found = machine.lab.json("verify-gpus", "--profile", PROFILE, *machine.lab.named)["data"]
    assert found["gpus_passed"] == 8
    assert [found["nodes"][0]["layers"][name]["count"] for name in ("docker", "container")] == [8, 8]


def test_a_pod_sees_the_gpus_that_it_asks_for(machine: Machine) -> None:
    assert machine.seen_by_a_pod(2) == "2\n"


def test_what_a_profile_lacks_is_had_without_a_start_of_it(machine: Machine) -> None:
    """A start ends all that runs in it."""
    before = machine.started()
    machine.ssh("mv", "/root/.kube/config", "/root/.kube/gone")
    assert machine.minikube("up", "--addons", "metrics-server")["data"]["gpus"] == 8
    assert f"current-context: {PROFILE}" in machine.ssh("cat", "/root/.kube/config")
    assert not machine.minikube("up", "--addons", "metrics-server")["data"]["started"]
    assert machine.started() == before


def test_a_profile_that_was_made_otherwise_is_named(machine: Machine) -> None:
    refused = machine.minikube("up", "--cpus", "1", expect=4)
    assert machine.codes(refused) == ["minikube-differs"]
    assert "CPUs 2 → 1" in refused["errors"][0]["message"]


def test_down_leaves_nothing_of_it_and_all_else(machine: Machine) -> None:
    machine.ssh("docker", "volume", "create", "of-somebody-else")
    machine.minikube("down", "--yes")
    assert machine.objects() == []
    assert machine.ssh("ls", "/root/.minikube/profiles", expect=None).split() == []
    assert PROFILE not in machine.ssh("cat", "/root/.kube/config")
    assert "of-somebody-else" in machine.ssh("docker", "volume", "ls", "-q")


def test_docker_without_the_toolkit_is_named_and_the_profile_taken_away(machine: Machine) -> None:
    """What another minikube start would say after half a minute, and leave behind."""
    machine.ssh("mv", "/usr/bin/nvidia-container-runtime", "/usr/bin/gone")
    assert machine.codes(machine.up(expect=5)) == ["minikube-toolkit-missing"]
    assert machine.objects() == []
    machine.ssh("mv", "/usr/bin/gone", "/usr/bin/nvidia-container-runtime")


class Workstation(Researcher):
    """The same host for the person who works there."""

    def __init__(self, lab: Lab, server: Any) -> None:
        super().__init__(lab, "mk1")
        ca = (LabPaths.of(lab.name).state / "mirror" / "ca.pem").read_text()
        kept = [line for line in lab.inventory.read_text().splitlines() if not line.startswith("ansible_")]
        text = "\n".join(kept).replace(next(line for line in kept if line.startswith("mk1 ")), _HERE)
        self.write("ca.pem", ca)
        self.inventory = self.write("here.ini", re.sub(r"(?m)^cluster_ca_file=.*", "cluster_ca_file=ca.pem", text))
        password = self.write("password", f"{PASSWORD}\n")
        self.environment = {
            "WANDB_BASE_URL": server.url, "WANDB_ENTITY": ENTITY, "GPUCTL_BECOME_PASSWORD_FILE": password,
            "GPUCTL_API_KEY_FILE": self.write("wandb.key", f"{server.api_key}\n"),
        }  # fmt: skip

    def minikube(self, verb: str, *options: str, expect: int = 0) -> dict[str, Any]:
        """`gpuctl minikube VERB` on this machine; the inventory says where the lab's packages come from."""
        named = ("--inventory", self.inventory) if verb in {"up", "start"} else ()
        return self.gpuctl("minikube", verb, *named, *options, expect=expect)

    def agent(self) -> str:
        return self.lab.ssh(self.host, "systemctl", "is-active", UNIT, expect=None).strip()


@pytest.fixture(scope="module")
def workstation(machine: Machine) -> Iterator[Workstation]:
    record = state.load(LabPaths.of(machine.lab.name))
    assert record is not None
    with wandb_api.running(address=(str(record.subnet.gateway), 0), teams=[ENTITY]) as server:
        firewall.open_ports(machine.lab.name, [server.port])
        yield Workstation(machine.lab, server)


def test_who_may_not_use_docker_is_told_so_before_anything_is_changed(workstation: Workstation) -> None:
    refused = workstation.minikube("up", *SIZE, expect=4)
    assert [error["code"] for error in refused["errors"]] == ["minikube-docker-denied"]
    assert "--docker-group" in refused["errors"][0]["fix"]


def test_from_a_queue_to_two_of_eight_gpus_as_cdi_devices(workstation: Workstation) -> None:
    workstation.gpuctl("launch", "queue", "apply", QUEUE, "--preset", "job", "--cpu", "1", "--memory", "1Gi")
    agent = ("--launch-agent", "-q", QUEUE, "-j", "2")
    done = workstation.minikube("up", "--gpus", "nvidia.com", *SIZE, "--docker-group", *agent)["data"]
    assert (done["host"], done["started"], done["gpus"], done["queues"]) == ("mk1", True, 8, [QUEUE])
    asked = workstation.lab.ssh("mk1", "docker", "inspect", "-f", "{{json .HostConfig.DeviceRequests}}", "gpuctl")
    assert [(one["Driver"], one["DeviceIDs"]) for one in json.loads(asked)] == [("cdi", ["nvidia.com/gpu=all"])]
    workstation.gpuctl("launch", "test", "-q", QUEUE, "--gpus", "2", "--context", "gpuctl")


def test_less_asked_for_takes_nothing_away(workstation: Workstation) -> None:
    """Neither the person out of the group docker, nor the agent from its queues, nor what the inventory has set up."""
    for done in (workstation.minikube("up")["data"], workstation.gpuctl("minikube", "up")["data"]):
        assert not done["started"]
        assert [outcome["changed"] for outcome in done["outcomes"]] == [0]
    assert workstation.minikube("status")["data"]["gpus"] == 8
    assert workstation.agent() == "active"
    refused = workstation.minikube("up", "--profile", "second", "--launch-agent", "-q", QUEUE, expect=4)
    assert [error["code"] for error in refused["errors"]] == ["minikube-services-taken"]


def test_the_agent_stops_and_starts_with_its_profile(workstation: Workstation) -> None:
    """A boot starts no profile: the agent, which takes jobs as soon as it runs, waits for one."""
    workstation.minikube("stop")
    assert workstation.agent() == "inactive"
    workstation.lab.gpuctl("testvm", "reboot", "mk1", "--name", workstation.lab.name)
    assert workstation.lab.ssh("mk1", "systemctl", "is-enabled", UNIT).strip() == "enabled"
    assert workstation.agent() == "activating"
    assert workstation.minikube("start")["data"]["gpus"] == 8
    assert workstation.agent() == "active"
    workstation.minikube("down", "--yes")
    assert workstation.agent() == "inactive"
    assert workstation.lab.ssh("mk1", "docker", "ps", "--all", "--quiet") == ""
