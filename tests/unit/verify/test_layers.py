"""The walk from the PCI bus to a pod: each fault is named at its own layer, with host and fix."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bootstrap.probe.facts import DriverFacts, HostFacts
from bootstrap.verify.ended import Computed, parse_report
from bootstrap.verify.layers import Evidence, judge
from bootstrap.verify.pods import Assignment, assign, pod_manifest
from bootstrap.verify.results import LAYERS, LayerState
from bootstrap.verify.runtime import RuntimeFacts, parse_runtime
from tests.unit.factories import host_facts, loaded_driver, node, pci_address

GPUS = 4


def device(index: int, **changes: object) -> dict[str, object]:
    return {"uuid": f"GPU-gpu1-{index}", "ok": True, "code": None, "error": None, **changes}


def healthy(facts: HostFacts | None = None) -> Evidence:
    mine = facts or host_facts("gpu1", gpus=GPUS, driver=loaded_driver(GPUS))
    return Evidence(
        facts=mine,
        expected=frozenset(pci_address(i) for i in range(GPUS)),
        runtime=RuntimeFacts(("nvidia", "runc"), True, False, tuple(f"nvidia.com/gpu={i}" for i in range(GPUS))),
        node=node("gpu1", gpus=GPUS),
        api_error="",
        plugin_pod="Running",
        computed=Computed("gpu1", tuple(device(i) for i in range(GPUS))),
        runtime_class="nvidia",
    )


def with_driver(**changes: object) -> Evidence:
    sound = healthy()
    return replace(sound, facts=replace(sound.facts, driver=replace(sound.facts.driver, **changes)))


def test_a_healthy_node_passes_every_layer_and_says_simulated() -> None:
    result, problems = judge(healthy())
    assert problems == ()
    assert result.passed
    assert result.simulated
    assert list(result.layers) == list(LAYERS)
    assert all(layer.state is LayerState.OK for layer in result.layers.values())
    assert all(gpu.passed and gpu.allocatable and gpu.computed for gpu in result.gpus)


FAULTS = {
    "gpu-missing": replace(healthy(), facts=host_facts("gpu1", gpus=GPUS - 1, driver=loaded_driver(GPUS - 1))),
    "driver-not-loaded": replace(healthy(), facts=host_facts("gpu1", gpus=GPUS, driver=DriverFacts())),
    "driver-lib-mismatch": with_driver(library_version="580.150.02"),
    "device-nodes-missing": with_driver(device_nodes=("/dev/nvidia0", "/dev/nvidiactl")),
    "nvml-hang": with_driver(nvml_error="no answer from NVML before the deadline", gpus=()),
    "gpu-fell-off-bus": with_driver(gpus=loaded_driver(GPUS).gpus[:-1]),
    "containerd-down": replace(healthy(), runtime=RuntimeFacts(error="containerd config dump: not found")),
    "cri-disabled": replace(healthy(), runtime=replace(healthy().runtime, cri_disabled=True)),
    "nvidia-runtime-missing": replace(healthy(), runtime=replace(healthy().runtime, handlers=("runc",))),
    "cgroup-driver-mismatch": replace(healthy(), runtime=replace(healthy().runtime, systemd_cgroup=False)),
    "cdi-missing": replace(healthy(), runtime=replace(healthy().runtime, cdi_devices=())),
    "cdi-stale": replace(healthy(), runtime=replace(healthy().runtime, cdi_devices=("nvidia.com/gpu=0",))),
    "node-not-ready": replace(healthy(), node=node("gpu1", gpus=GPUS, ready=False, reason="NetworkPluginNotReady")),
    "plugin-absent": replace(healthy(), plugin_pod=""),
    "plugin-crashing": replace(healthy(), plugin_pod="CrashLoopBackOff: back-off 10s"),
    "image-pull-failed": replace(healthy(), plugin_pod="ImagePullBackOff: not found"),
    "allocatable-short": replace(healthy(), node=node("gpu1", gpus=GPUS - 1)),
    "no-device-in-pod": replace(
        healthy(), computed=Computed("gpu1", (), "no-device-in-pod", "libcuda.so.1 is not there")
    ),
    "compute-wrong": replace(
        healthy(),
        computed=Computed(
            "gpu1", tuple(device(i, ok=i != 2, code="compute-wrong", error="element 7") for i in range(GPUS))
        ),
    ),
}


@pytest.mark.parametrize("code", FAULTS)
def test_each_fault_is_named_first_with_host_and_fix(code: str) -> None:
    result, problems = judge(FAULTS[code])
    assert problems[0].code == code
    assert problems[0].host == "gpu1"
    assert problems[0].fix
    assert not result.passed
    assert any(layer.state is LayerState.FAILED for layer in result.layers.values())


def test_memory_that_nvml_does_not_know_breaks_nothing() -> None:
    gpus = tuple(replace(gpu, memory_bytes=None, compute_capability=None) for gpu in loaded_driver(GPUS).gpus)
    result, problems = judge(with_driver(gpus=gpus))
    assert (result.passed, problems) == (True, ())


def test_gpus_that_other_pods_hold_are_named_with_their_pods() -> None:
    held = replace(
        healthy(), computed=Computed("gpu1", tuple(device(i) for i in range(2)), held=("team/train (2 GPUs)",))
    )
    _, problems = judge(held)
    assert problems[0].code == "gpu-taken"
    assert "team/train (2 GPUs)" in problems[0].fix


def test_one_pod_takes_what_no_other_pod_holds() -> None:
    pods = [
        {
            "metadata": {"namespace": "team", "name": "train"},
            "spec": {"nodeName": "gpu1", "containers": [{"resources": {"limits": {"nvidia.com/gpu": "2"}}}]},
            "status": {"phase": "Running"},
        },
        {
            "metadata": {"namespace": "team", "name": "old"},
            "spec": {"nodeName": "gpu1", "containers": [{"resources": {"limits": {"nvidia.com/gpu": "1"}}}]},
            "status": {"phase": "Succeeded"},
        },
    ]
    assert assign(pods, {"gpu1": 8, "gpu2": 4}) == (
        Assignment("gpu1", 6, ("team/train (2 GPUs)",)),
        Assignment("gpu2", 4, ()),
    )


def test_the_pod_keeps_to_the_restricted_standard() -> None:
    spec = pod_manifest(Assignment("gpu1", 3, ()), "python", "nvidia")["spec"]
    container = spec["containers"][0]
    assert container["resources"] == {"limits": {"nvidia.com/gpu": "3"}}
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert container["securityContext"]["runAsNonRoot"] is True
    assert spec["automountServiceAccountToken"] is False
    assert spec["runtimeClassName"] == "nvidia"


def test_a_container_that_asks_for_no_gpu_sees_none() -> None:
    spec = pod_manifest(Assignment("gpu1", 3, ()), "python", "nvidia", unasked=True)["spec"]
    beside = spec["containers"][1]
    assert "resources" not in beside
    assert beside["env"] == [{"name": "NVIDIA_VISIBLE_DEVICES", "value": "all"}]
    assert beside["securityContext"] == spec["containers"][0]["securityContext"]
    computed = healthy().computed
    assert computed
    for unasked, state in ((None, LayerState.OK), (0, LayerState.OK), (8, LayerState.FAILED)):
        result, problems = judge(replace(healthy(), computed=replace(computed, unasked=unasked)))
        assert result.layers["compute"].state is state
        assert [p.code for p in problems] == (["gpu-unasked"] if unasked else [])


@pytest.mark.parametrize("log", ["", "Traceback", "{}", '{"devices": 3}\nnoise'])
def test_a_log_without_a_report_is_a_failure(log: str) -> None:
    computed = parse_report(log, Assignment("gpu1", 1, ()))
    assert computed.devices == ()
    assert computed.code == "compute-failed"
    assert computed.error


def test_containerd_dumps_of_both_major_versions_are_read() -> None:
    dump = """
    version = 3
    [plugins."io.containerd.cri.v1.runtime".containerd.runtimes.nvidia.options]
    SystemdCgroup = true
    [plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc]
    """
    facts = parse_runtime(dump, "INFO found\nnvidia.com/gpu=0\nnvidia.com/gpu=all\n")
    assert facts.handlers == ("nvidia", "runc")
    assert facts.systemd_cgroup is True
    assert facts.cdi_devices == ("nvidia.com/gpu=0", "nvidia.com/gpu=all")
    assert parse_runtime('disabled_plugins = ["cri"]', "").cri_disabled
    assert parse_runtime("not toml [", "").error
