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
from bootstrap.verify.compute import Computed
from bootstrap.verify.results import LayerState, VerifyResult
from bootstrap.verify.runtime import RuntimeFacts
from tests.unit.factories import host_facts, loaded_driver, minikube_inventory
from tests.unit.minikube.machine import Machine, node

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
        self.machine = Machine.running(GPUS, pci_gpus=GPUS)
        self.facts: HostFacts | Unreachable = host_facts("box", gpus=GPUS, driver=loaded_driver(GPUS, "box"))
        self.api = Api()
        self.asked: dict[str, int] = {}

    def verify(self) -> VerifyResult:
        return verify_profile(MinikubeRequest(minikube_inventory(), self.run), 5.0, Silent())

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


def test_the_api_is_asked_with_the_users_own_credentials(bench: Bench) -> None:
    bench.verify()
    [cluster], [user] = bench.api.config["clusters"], bench.api.config["users"]
    assert cluster["cluster"]["server"] == "https://127.0.0.1:32771"
    decoded = base64.b64decode(cluster["cluster"]["certificate-authority-data"]).decode()
    assert decoded == "ca.crt of 198.51.100.20\n"
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
    assert bench.verify().exit_code is ExitCode.NOT_READY
    assert bench.asked == {}


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
