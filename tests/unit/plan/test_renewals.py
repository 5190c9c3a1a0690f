"""What a node lost without any object of ours having changed: a label, a registration, its network."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from bootstrap.plan.model import CLUSTER, Effect, Step
from bootstrap.plan.planner import decide
from bootstrap.probe.facts import HostFacts, NodeFacts
from tests.unit.factories import loaded_driver
from tests.unit.plan.test_planner import bare, installed, lab


def steps(facts: dict[str, HostFacts], limit: frozenset[str] = frozenset(), **node: Any) -> tuple[Step, ...]:
    """The plan of a lab that is installed, in which node gpu2 has these values."""
    done = installed(lab(), facts)
    kube = done["cp1"].kube
    assert kube
    nodes: tuple[NodeFacts, ...] = tuple(replace(n, **node) if n.name == "gpu2" else n for n in kube.nodes)
    return decide(lab(), {**done, "cp1": replace(done["cp1"], kube=replace(kube, nodes=nodes))}, limit=limit).plan.steps


@pytest.mark.parametrize("labels", [{}, {"nvidia.com/gpu.present": "false"}])
def test_a_label_that_gpuctl_set_is_drift_and_its_repair_disturbs_nobody(labels: dict[str, str]) -> None:
    (step,) = steps(bare(), labels=labels)
    assert (step.host, step.component, step.action, step.effect) == ("gpu2", "kubeadm", "repair", Effect.NONE)
    assert "nvidia.com/gpu.present=true of node gpu2 was" in step.reasons[0]


def test_labels_of_others_are_theirs() -> None:
    assert steps(bare(), labels={"nvidia.com/gpu.present": "true", "team": "vision"}) == ()


@pytest.mark.parametrize("offered", [0, 7])
def test_a_plugin_that_offers_too_few_gpus_is_renewed_there(offered: int) -> None:
    (step,) = steps(bare(), allocatable_gpus=offered, plugin_age_s=3600)
    assert (step.host, step.component, step.effect) == (CLUSTER, "nvidia_device_plugin", Effect.NONE)
    assert step.reasons == ("gpu2 offers fewer GPUs than its driver has: the device plugin's pod there is made anew",)


@pytest.mark.parametrize(
    "node",
    [
        {"allocatable_gpus": 0, "plugin_age_s": 5},  # it was renewed a moment ago: not again and again
        {"allocatable_gpus": 0, "plugin_age_s": None},  # no pod to renew
        {"allocatable_gpus": 0, "plugin_age_s": 3600, "other_gpus": 16},  # they go by another name
        {"allocatable_gpus": 0, "plugin_age_s": 3600, "ready": False, "reason": "kubelet stopped"},
        {"allocatable_gpus": 16, "plugin_age_s": 3600},  # shared
    ],
)
def test_a_plugin_that_cannot_be_mended_so_is_left_alone(node: dict[str, Any]) -> None:
    assert steps(bare(), **node) == ()


def test_a_gpu_that_the_driver_calls_broken_is_no_reason_to_renew() -> None:
    facts = bare()
    done = installed(lab(), facts)
    kube = done["cp1"].kube
    assert kube
    nodes = tuple(replace(n, allocatable_gpus=7, plugin_age_s=3600) if n.name == "gpu2" else n for n in kube.nodes)
    gpus = list(loaded_driver(8, "gpu2").gpus)
    for broken in ({"ecc_uncorrected": 1}, {"remap_failed": True}):
        worse = (*gpus[:7], replace(gpus[7], **broken))
        driver = replace(done["gpu2"].driver, gpus=worse)
        seen = {
            **done,
            "cp1": replace(done["cp1"], kube=replace(kube, nodes=nodes)),
            "gpu2": replace(done["gpu2"], driver=driver),
        }
        assert decide(lab(), seen).plan.steps == ()


def test_a_node_without_a_network_gets_a_new_pod_of_flannel() -> None:
    reason = "container runtime network not ready: NetworkReady=false reason:NetworkPluginNotReady"
    (step,) = steps(bare(), ready=False, reason=reason)
    assert (step.host, step.component, step.effect) == (CLUSTER, "flannel", Effect.NONE)
    assert step.reasons == ("gpu2 has no pod network configuration: flannel's pod there is made anew",)
