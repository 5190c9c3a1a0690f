"""The walk from the PCI bus to a pod: each fault is named at its own layer, with host and fix."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from bootstrap.probe.facts import DriverFacts, HostFacts, LostGpu, PciGpu
from bootstrap.verify.ended import Computed, parse_report
from bootstrap.verify.evidence import Evidence
from bootstrap.verify.layers import judge, may_start
from bootstrap.verify.nodes import NodeSeen, node_seen
from bootstrap.verify.pods import Assignment, Holder, PodKind, assign, pod_manifest
from bootstrap.verify.results import LAYERS, LayerResult, LayerState
from bootstrap.verify.runtime import Holding, RuntimeFacts, parse_runtime
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


def with_driver(**changes: Any) -> Evidence:
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


def with_gpu(index: int, **changes: Any) -> Evidence:
    gpus = list(loaded_driver(GPUS).gpus)
    gpus[index] = replace(gpus[index], **changes)
    return with_driver(gpus=tuple(gpus))


FAULTS = {
    "gpu-missing": replace(healthy(), facts=host_facts("gpu1", gpus=GPUS - 1, driver=loaded_driver(GPUS - 1))),
    "driver-not-loaded": replace(healthy(), facts=host_facts("gpu1", gpus=GPUS, driver=DriverFacts())),
    "driver-lib-mismatch": with_driver(library_version="580.150.02"),
    "device-nodes-missing": with_driver(device_nodes=("/dev/nvidia0", "/dev/nvidiactl")),
    "nvml-hang": with_driver(nvml_error="NVML did not answer in 8 s", nvml_code=-1, gpus=()),
    "driver-lib-mismatch-by-nvml": with_driver(
        nvml_error="NVML: Driver/library version mismatch (18)", nvml_code=18, gpus=()
    ),
    "nvml-failed": with_driver(nvml_error="NVML: Unknown Error (999)", nvml_code=999, gpus=()),
    "gpu-lost": with_driver(
        gpus=loaded_driver(GPUS).gpus[:-1],
        lost=(LostGpu(3, "GPU-gpu1-3", pci_address(3), "NVML: GPU is lost (15)"),),
    ),
    "wrong-module-flavour": replace(
        with_driver(gpus=loaded_driver(GPUS).gpus[:-1], flavour="open"),
        facts=replace(
            with_driver(gpus=loaded_driver(GPUS).gpus[:-1], flavour="open").facts,
            gpus=tuple(PciGpu(pci_address(i), "1db4" if i == GPUS - 1 else "20b0") for i in range(GPUS)),
        ),
    ),
    "ecc-uncorrectable": with_gpu(1, ecc_uncorrected=3),
    "row-remap-failed": with_gpu(1, remap_failed=True),
    "fabric-not-ready": replace(
        with_gpu(1, fabric_state=2), facts=replace(with_gpu(1, fabric_state=2).facts, nvswitches=4)
    ),
    "gpu-fell-off-bus": with_driver(gpus=loaded_driver(GPUS).gpus[:-1]),
    "containerd-down": replace(healthy(), runtime=RuntimeFacts(error="containerd config dump: not found")),
    "cri-disabled": replace(healthy(), runtime=replace(healthy().runtime, cri_disabled=True)),
    "nvidia-runtime-missing": replace(healthy(), runtime=replace(healthy().runtime, handlers=("runc",))),
    "cgroup-driver-mismatch": replace(healthy(), runtime=replace(healthy().runtime, systemd_cgroup=False)),
    "runtime-binary-missing": replace(
        healthy(), runtime=replace(healthy().runtime, missing=("/usr/bin/nvidia-container-runtime",))
    ),
    "cdi-conflict": replace(
        healthy(),
        runtime=replace(
            healthy().runtime,
            cdi_devices=(),
            cdi_files={"/etc/cdi/own.yaml": "nvidia.com/gpu", "/var/run/cdi/nvidia.yaml": "nvidia.com/gpu"},
        ),
    ),
    "kubelet-down": replace(healthy(), runtime=replace(healthy().runtime, kubelet="inactive")),
    "cni-missing": replace(
        healthy(), node=node("gpu1", gpus=GPUS, ready=False, reason="NetworkPluginNotReady: cni plugin not initialized")
    ),
    "kubelet-cert-expired": replace(
        healthy(), node=node("gpu1", gpus=GPUS, ready=False, reason="certificate has expired or is not yet valid")
    ),
    "cdi-missing": replace(healthy(), runtime=replace(healthy().runtime, cdi_devices=())),
    "cdi-stale": replace(healthy(), runtime=replace(healthy().runtime, cdi_devices=("nvidia.com/gpu=0",))),
    "node-not-ready": replace(healthy(), node=node("gpu1", gpus=GPUS, ready=False, reason="PLEG is not healthy")),
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
    assert problems[0].code == code.removesuffix("-by-nvml")
    assert problems[0].host == "gpu1"
    assert problems[0].fix
    assert not result.passed
    assert any(layer.state is LayerState.FAILED for layer in result.layers.values())


def test_memory_that_nvml_does_not_know_breaks_nothing() -> None:
    gpus = tuple(replace(gpu, memory_bytes=None, compute_capability=None) for gpu in loaded_driver(GPUS).gpus)
    result, problems = judge(with_driver(gpus=gpus))
    assert (result.passed, problems) == (True, ())


TRAIN, BIG = Holder("team/train", 2, "u1"), Holder("team/big", 4, "u2")


def held(computed: Computed, *given: Holding, **changes: Any) -> Evidence:
    """A node on which pods hold GPUs; `given` is what the kubelet says of who has which."""
    sound = healthy()
    return replace(sound, computed=computed, runtime=replace(sound.runtime, held=given), **changes)


def test_a_gpu_that_another_pod_holds_is_taken_and_no_failure() -> None:
    two = Computed("gpu1", tuple(device(i) for i in (0, 2)), held=(TRAIN,))
    given = Holding("u1", "nvidia.com/gpu", ("GPU-gpu1-1", "GPU-gpu1-3"))
    gone = Holding("u9", "nvidia.com/gpu", ("GPU-gpu1-2",))  # of a pod that is no more
    result, problems = judge(held(two, given, gone))
    assert (problems, result.passed) == ((), True)
    assert result.layers["compute"] == LayerResult(
        LayerState.TAKEN, 2, "not tried, held by other pods: team/train (2 GPUs)"
    )
    assert [gpu.taken_by for gpu in result.gpus] == ["", "team/train", "", "team/train"]
    assert [gpu.passed for gpu in result.gpus] == [True, False, True, False]


def test_all_required_a_taken_gpu_fails_and_its_holder_is_named() -> None:
    two = Computed("gpu1", tuple(device(i) for i in (0, 2)), held=(TRAIN,))
    result, problems = judge(held(two, require_all=True))
    assert not result.passed
    assert problems[0].code == "gpu-taken"
    assert "team/train" in problems[0].fix


def test_where_all_are_held_nothing_is_wrong() -> None:
    result, problems = judge(held(Computed("gpu1", held=(BIG,))))
    assert (problems, result.passed) == ((), True)
    assert {gpu.taken_by for gpu in result.gpus} == {"team/big"}


def test_what_is_held_does_not_hide_a_gpu_that_nobody_computed_on() -> None:
    one = Computed("gpu1", (device(0),), held=(TRAIN,))
    result, problems = judge(held(one, Holding("u1", "nvidia.com/gpu", ("GPU-gpu1-1", "GPU-gpu1-2"))))
    assert [p.code for p in problems] == ["allocatable-short"]
    assert "GPU-gpu1-3" in problems[0].message
    assert [gpu.detail for gpu in result.gpus] == ["", "", "", "no pod computed on it"]


def test_the_gpu_that_the_plugin_calls_unhealthy_is_accused_and_no_other() -> None:
    healthy_ones = [i for i in range(GPUS) if i != 1]
    sound = healthy()
    short = replace(
        sound,
        node=node("gpu1", gpus=GPUS - 1),
        runtime=replace(sound.runtime, registered={"nvidia.com/gpu": tuple(f"GPU-gpu1-{i}" for i in healthy_ones)}),
        computed=Computed("gpu1", tuple(device(i) for i in healthy_ones)),
    )
    result, problems = judge(short)
    assert [p.code for p in problems] == ["gpu-unhealthy"]
    assert "GPU-gpu1-1" in problems[0].message
    assert "GPU-gpu1-3" not in problems[0].message
    assert [gpu.passed for gpu in result.gpus] == [True, False, True, True]
    assert result.gpus[1].detail == "pods cannot ask for it"


def test_where_the_kubelet_does_not_say_which_are_offered_those_that_computed_pass() -> None:
    computed = Computed("gpu1", tuple(device(i) for i in (0, 2, 3)))
    stale = {"nvidia.com/gpu": tuple(f"GPU-gpu1-{i}" for i in range(GPUS))}  # written before one was lost
    for registered in (None, {}, stale):
        sound = healthy()
        runtime = replace(sound.runtime, registered=registered)
        result, problems = judge(replace(sound, runtime=runtime, node=node("gpu1", gpus=GPUS - 1), computed=computed))
        assert [p.code for p in problems] == ["allocatable-short"]
        assert [gpu.passed for gpu in result.gpus] == [True, False, True, True]


def test_one_pod_takes_what_no_other_pod_holds() -> None:
    pods = [
        {
            "metadata": {"namespace": "team", "name": "train", "uid": "u1"},
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
        Assignment("gpu1", 6, (Holder("team/train", 2, "u1"),)),
        Assignment("gpu2", 4, ()),
    )


def test_the_pod_keeps_to_the_restricted_standard() -> None:
    spec = pod_manifest(Assignment("gpu1", 3, ()), PodKind("python", "nvidia"))["spec"]
    container = spec["containers"][0]
    assert container["resources"] == {"limits": {"nvidia.com/gpu": "3"}}
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert container["securityContext"]["runAsNonRoot"] is True
    assert spec["automountServiceAccountToken"] is False
    assert spec["runtimeClassName"] == "nvidia"


def test_a_container_that_asks_for_no_gpu_sees_none() -> None:
    spec = pod_manifest(Assignment("gpu1", 3, ()), PodKind("python", "nvidia", unasked=True))["spec"]
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


def test_the_broken_gpu_is_accused_by_its_uuid_and_no_other() -> None:
    for code in ("gpu-lost", "ecc-uncorrectable", "row-remap-failed"):
        _, problems = judge(FAULTS[code])
        number = 3 if code == "gpu-lost" else 1
        assert f"GPU-gpu1-{number}" in problems[0].message
        assert not any(f"GPU-gpu1-{other}" in problems[0].message for other in range(GPUS) if other != number)


def test_a_library_that_hangs_accuses_no_single_gpu() -> None:
    result, _ = judge(FAULTS["nvml-hang"])
    assert {gpu.detail for gpu in result.gpus} == {"NVML did not answer in 8 s"}


@pytest.mark.parametrize(("state", "switches"), [(3, 4), (0, 4), (None, 4), (2, 0)])
def test_a_fabric_that_is_ready_or_not_there_is_no_fault(state: int | None, switches: int) -> None:
    sound = with_gpu(1, fabric_state=state)
    _, problems = judge(replace(sound, facts=replace(sound.facts, nvswitches=switches)))
    assert problems == ()


@pytest.mark.parametrize(
    "code", ["containerd-down", "runtime-binary-missing", "cdi-conflict", "kubelet-down", "nvml-hang"]
)
def test_no_pod_is_started_on_a_layer_that_is_broken(code: str) -> None:
    assert may_start(healthy())
    assert not may_start(FAULTS[code])


@pytest.mark.parametrize("code", ["gpu-missing", "gpu-fell-off-bus", "allocatable-short", "ecc-uncorrectable"])
def test_one_gpu_that_is_short_does_not_keep_pods_from_the_others(code: str) -> None:
    assert may_start(FAULTS[code])


def test_two_cdi_files_are_both_named_and_ours_stays() -> None:
    _, problems = judge(FAULTS["cdi-conflict"])
    assert "/etc/cdi/own.yaml, /var/run/cdi/nvidia.yaml" in problems[0].message
    assert "`rm /etc/cdi/own.yaml`" in problems[0].fix


def shared(resource: str, ids: tuple[str, ...]) -> Evidence:
    """A node on which each GPU is several devices."""
    sound = healthy()
    return replace(
        sound,
        node=node("gpu1", gpus=len(ids)),
        resource=resource,
        seen=NodeSeen("gpu1", allocatable={resource: len(ids)}, capacity={resource: len(ids)}),
        runtime=replace(sound.runtime, registered={resource: ids}),
    )


@pytest.mark.parametrize("resource", ["nvidia.com/gpu", "nvidia.com/gpu.shared", "nvidia.com/small"])
def test_shared_gpus_pass_one_by_one_and_sharing_is_noted(resource: str) -> None:
    ids = tuple(f"GPU-gpu1-{i}::{share}" for i in range(GPUS) for share in range(2))
    result, problems = judge(shared(resource, ids))
    assert (problems, result.passed, len(result.gpus)) == ((), True, GPUS)
    assert result.layers["allocatable"].count == GPUS
    assert any(resource in note and "8" in note for note in result.notes)


def test_mig_instances_are_not_called_tried() -> None:
    result, problems = judge(shared("nvidia.com/mig-1g.10gb", tuple(f"MIG-{i}" for i in range(7))))
    assert not result.passed
    assert problems[0].code == "gpu-partitioned"


def test_a_cordon_is_noted_with_its_author_and_is_no_fault() -> None:
    fields = {"f:spec": {"f:unschedulable": {}}}
    entry = {"manager": "kubectl-cordon", "time": "2026-12-01T08:00:00Z", "fieldsV1": fields}
    seen = node_seen({"metadata": {"name": "gpu1", "managedFields": [entry]}, "spec": {"unschedulable": True}})
    result, problems = judge(replace(healthy(), seen=replace(seen, capacity={"nvidia.com/gpu": GPUS})))
    assert (problems, result.passed) == ((), True)
    assert result.notes[0].startswith(
        "cordoned (set by kubectl-cordon at 2026-12-01T08:00:00Z): `kubectl uncordon gpu1`"
    )
