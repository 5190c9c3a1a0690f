"""`gpuctl verify-gpus` on a profile: each layer from the host to a pod of the profile, and what cannot be asked."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from bootstrap.errors import GpuctlError
from bootstrap.exit_codes import ExitCode
from bootstrap.kube.client import ApiError
from bootstrap.minikube import verify
from bootstrap.minikube.look import read_look
from bootstrap.minikube.model import MinikubeRequest
from bootstrap.minikube.verify import profile_api, verify_profile
from bootstrap.probe.facts import HostFacts, Unreachable
from bootstrap.progress import Silent
from bootstrap.rundir import RunDirectory
from bootstrap.ui.verification import verify_screen
from bootstrap.verify.container import ContainerGpus
from bootstrap.verify.ended import Computed
from bootstrap.verify.results import LayerState, VerifyResult
from bootstrap.verify.runtime import RuntimeFacts
from tests.unit.factories import host_facts, loaded_driver, minikube_inventory
from tests.unit.minikube.machine import PKI, Machine, node, record

GPUS = 2
PLUGIN = {"items": [{"metadata": {"name": "plugin"}, "status": {"phase": "Running"}}]}


class Api:
    """The profile's API; `asked` is how it was reached."""

    def __init__(self, error: ApiError | None = None) -> None:
        self.error = error
        self.config: dict[str, Any] = {}

    def get(self, path: str, query: Mapping[str, str]) -> dict[str, Any]:
        assert path == "/api/v1/namespaces/kube-system/pods"
        assert query == {"labelSelector": "name=nvidia-device-plugin-ds"}
        if self.error:
            raise self.error
        return PLUGIN


class Bench:
    """A machine with GPUs, what is under them, and what its pods computed."""

    def __init__(self, tmp_path: Path) -> None:
        self.run = RunDirectory.create("verify", root=tmp_path)
        self.machine = Machine.running(GPUS, pci_gpus=GPUS, devices=GPUS)
        self.facts: HostFacts | Unreachable = host_facts("box", gpus=GPUS, driver=loaded_driver(GPUS, "box"))
        self.api = Api()
        self.asked: dict[str, int] = {}
        self.container = ContainerGpus(have=GPUS, got=GPUS)
        self.tried: list[str] = []

    def verify(self) -> VerifyResult:
        return verify_profile(MinikubeRequest(minikube_inventory(), self.run), 5.0, Silent())

    def give_a_container(self, *given: Any) -> ContainerGpus:
        self.tried.append(given[-1])
        return self.container

    def client_of(self, config: dict[str, Any]) -> Api:
        self.api.config = config
        return self.api

    def compute(self, _api: object, nodes: dict[str, int], **_: object) -> dict[str, Computed]:
        self.asked = nodes
        devices = tuple({"uuid": f"GPU-box-{index}", "ok": True, "code": None, "error": None} for index in range(GPUS))
        return {name: Computed(name, devices) for name in nodes}


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    found = Bench(tmp_path)

    @contextmanager
    def reach(*_: object) -> Iterator[Machine]:
        yield found.machine

    cdi = tuple(f"nvidia.com/gpu={index}" for index in range(GPUS))
    runtime = RuntimeFacts(("nvidia", "runc"), cdi_devices=cdi, engine="docker")
    monkeypatch.setattr(verify, "reach", reach)
    monkeypatch.setattr(verify, "probe_hosts", lambda *_: {"box": found.facts})
    monkeypatch.setattr(verify, "ask_docker", lambda *_: runtime)
    monkeypatch.setattr(verify, "container_gpus", found.give_a_container)
    monkeypatch.setattr(verify, "client_of", found.client_of)
    monkeypatch.setattr(verify, "compute", found.compute)
    return found


def codes(result: VerifyResult) -> list[str]:
    return [problem.code for problem in result.problems]


def test_every_gpu_of_a_profile_that_runs_passes(bench: Bench) -> None:
    result = bench.verify()
    assert (result.exit_code, result.cluster_name, codes(result)) == (ExitCode.OK, "gpuctl", [])
    [mine] = result.nodes
    assert mine.passed
    assert all(layer.state is LayerState.OK for layer in mine.layers.values())
    assert bench.asked == {"gpuctl": GPUS}
    assert (mine.layers["docker"].count, mine.layers["container"].count, bench.tried) == (GPUS, GPUS, ["all"])
    assert verify_screen(result)[0].split()[4:8] == ["runtime", "cdi", "docker", "container"]


@pytest.mark.parametrize(
    ("rc", "said", "got", "words"),
    [
        (
            125,
            "docker: Error\ncould not select device driver",
            0,
            "docker run --gpus all: could not select device driver",
        ),
        (127, 'exec: "nvidia-container-runtime": executable file not found', 0, "nvidia-container-runtime"),
        (124, "docker did not end within 120 s", 0, "docker did not end within 120 s"),
        (0, "", GPUS - 1, f"the container sees {GPUS - 1} of {GPUS} GPUs"),
    ],
)
def test_a_docker_that_gives_no_gpus_is_named(bench: Bench, rc: int, said: str, got: int, words: str) -> None:
    bench.container = ContainerGpus(have=GPUS, got=got, rc=rc, said=said)
    result = bench.verify()
    assert codes(result) == ["docker-gpus-missing"]
    assert words in result.problems[0].message
    assert result.nodes[0].layers["container"].state is LayerState.NOT_RUN


def test_words_of_nvidias_tools_keep_their_name_and_remedy(bench: Bench) -> None:
    said = "nvidia-container-cli: initialization error: nvml error: driver/library version mismatch"
    bench.container = ContainerGpus(have=GPUS, got=0, rc=125, said=said)
    (problem,) = bench.verify().problems
    assert problem.code == "docker-driver-mismatch"
    assert problem.fix.startswith("reboot the host")


@pytest.mark.parametrize(
    "found",
    [
        {"error": "/usr/bin/ls is no 64-bit program"},
        {"rc": 127, "said": "ls: not found"},
        {"rc": 125, "said": "nvidia-container-cli: ldcache error: process /sbin/ldconfig failed"},
        {"rc": 125, "said": "unable to apply apparmor profile"},
    ],
)
def test_what_cannot_be_tried_is_no_layer(bench: Bench, found: dict[str, Any]) -> None:
    bench.container = ContainerGpus(**found)
    result = bench.verify()
    assert result.exit_code is ExitCode.OK
    assert "docker" not in result.nodes[0].layers
    assert result.nodes[0].layers["container"].state is LayerState.OK


def test_a_profile_of_cdi_is_tried_by_cdi(bench: Bench) -> None:
    bench.machine.config = record(GPUs="nvidia.com")
    bench.verify()
    assert bench.tried == ["nvidia.com"]


def test_devices_that_came_after_the_node_are_named(bench: Bench) -> None:
    bench.machine.devices = 1
    [problem] = bench.verify().problems
    assert (problem.code, f"1 of {GPUS} device nodes" in problem.message) == ("minikube-gpus-missing", True)
    assert "`gpuctl minikube stop --profile gpuctl`, then `gpuctl minikube start --profile gpuctl`" in problem.fix


def test_a_node_that_was_made_without_gpus_is_not_told_to_go_up(bench: Bench) -> None:
    bench.machine.config = record(GPUs="")
    bench.machine.node = node(0)
    problem = bench.verify().problems[0]
    assert (problem.code, problem.message) == ("minikube-gpus-missing", "the node was made without GPUs")
    assert problem.fix.startswith("`gpuctl minikube down --profile gpuctl`, then `gpuctl minikube up --profile gpuctl`")


def test_the_device_plugin_is_minikubes(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PLUGIN, "items", [])
    absent = bench.verify().problems[0]
    assert absent.code == "plugin-absent"
    assert "`minikube -p gpuctl addons enable nvidia-device-plugin`" in absent.fix
    monkeypatch.setitem(PLUGIN, "items", [{"status": {"phase": "Pending"}}])
    crashing = bench.verify().problems[0]
    assert crashing.code == "plugin-crashing"
    assert "-l name=nvidia-device-plugin-ds`" in crashing.fix


def test_the_api_is_asked_with_the_users_own_credentials(bench: Bench) -> None:
    bench.verify()
    [cluster], [user] = bench.api.config["clusters"], bench.api.config["users"]
    assert cluster["cluster"]["server"] == "https://127.0.0.1:32771"
    decoded = base64.b64decode(cluster["cluster"]["certificate-authority-data"]).decode()
    assert decoded == PKI["ca.crt"]
    assert set(user["user"]) == {"client-certificate-data", "client-key-data"}


def test_an_api_that_listens_everywhere_is_reached_on_the_host_itself(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.machine.published = "0.0.0.0:32771\n"
    forwarded: list[tuple[str, int]] = []
    monkeypatch.setattr(Machine, "forward", lambda _self, host, port: forwarded.append((host, port)) or 4000)
    with profile_api(bench.machine, read_look(bench.machine._seen()), "gpuctl"):
        pass
    assert forwarded == [("127.0.0.1", 32771)]
    assert bench.api.config["clusters"][0]["cluster"]["server"] == "https://127.0.0.1:4000"


def test_a_profile_that_does_not_run_fails_at_the_node(bench: Bench) -> None:
    bench.machine.stops()
    result = bench.verify()
    assert result.exit_code is ExitCode.NOT_READY
    assert bench.api.config == {}
    [mine] = result.nodes
    assert mine.layers["runtime"].state is LayerState.OK
    assert mine.layers["node"].state is not LayerState.OK
    assert "profile gpuctl does not run" in result.problems[0].message


def test_a_node_that_is_not_ready_is_given_no_pods(bench: Bench) -> None:
    bench.machine.node = node(GPUS, ready=False)
    result = bench.verify()
    assert result.exit_code is ExitCode.NOT_READY
    assert bench.asked == {}
    assert result.problems[0].fix == "`docker exec gpuctl journalctl -u kubelet` on the host"


@pytest.mark.parametrize("change", ["api", "pki"])
def test_an_api_that_cannot_be_asked_is_named(bench: Bench, change: str) -> None:
    if change == "api":
        bench.api.error = ApiError(401, "the certificate has expired")
    else:
        bench.machine.pki = False
    result = bench.verify()
    assert result.exit_code is ExitCode.NOT_READY
    words = "the certificate has expired" if change == "api" else "the credentials or the port of profile gpuctl"
    assert words in result.problems[0].message


def test_what_mends_it_is_up(bench: Bench) -> None:
    bench.facts = host_facts("box", gpus=GPUS)
    result = bench.verify()
    assert codes(result)[0] == "driver-not-loaded"
    assert "gpuctl minikube up --profile gpuctl" in result.problems[0].fix


def test_a_machine_without_gpus_has_nothing_to_verify(bench: Bench) -> None:
    bench.facts = host_facts("box")
    with pytest.raises(GpuctlError, match="no NVIDIA GPU") as caught:
        bench.verify()
    assert caught.value.exit_code is ExitCode.NOT_READY


def test_a_machine_that_cannot_be_reached(bench: Bench) -> None:
    bench.facts = Unreachable("box", "unreachable", "no route to host", "start it")
    with pytest.raises(GpuctlError, match="no route to host"):
        bench.verify()
