"""Configurations of jobs with several pods: what makes them hang, told before anybody sends one."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootstrap.launch.queue_file import QueueConfig
from bootstrap.launch.queue_gangs import gang_cautions
from bootstrap.launch.queue_preset import DEFAULT_GPUS, PresetChoices, render_preset

ABORT = {"event": "PodFailed", "action": "AbortJob"}
TASKS = [{"name": "master", "replicas": 1}, {"name": "worker", "replicas": 3}]
VARYING = [{"name": "master", "replicas": 1}, {"name": "worker", "replicas": "{{workers}}"}]


def told(version: str, kind: str, **spec: Any) -> list[str]:
    config = QueueConfig({"apiVersion": version, "kind": kind, "spec": spec})
    return [caution.message for caution in gang_cautions(config)]


def volcano(**spec: Any) -> list[str]:
    return told("batch.volcano.sh/v1alpha1", "Job", **{"tasks": TASKS, "policies": [ABORT], **spec})


@pytest.mark.parametrize("name", ["job", "volcano", "pytorchjob"])
def test_what_comes_with_gpuctl_needs_no_warning(name: str) -> None:
    assert list(gang_cautions(render_preset(name, PresetChoices(DEFAULT_GPUS), {}))) == []


@pytest.mark.parametrize(
    "policies",
    [
        [ABORT],
        [{"events": ["PodEvicted", "PodFailed"], "action": "RestartJob"}],
        [{"event": "*", "action": "TerminateJob"}],
    ],
)
def test_a_policy_that_ends_the_job(policies: list[Any]) -> None:
    assert volcano(policies=policies) == []
    assert volcano(policies=[], tasks=[{**task, "policies": policies} for task in TASKS]) == []


@pytest.mark.parametrize("policies", [[], [{"event": "PodFailed", "action": "RestartTask"}], [{"event": "PodEvicted"}]])
def test_a_worker_that_fails_and_ends_nothing(policies: list[Any]) -> None:
    (said,) = volcano(policies=policies)
    assert said.startswith("no policy for PodFailed")


@pytest.mark.parametrize(
    ("least", "tasks", "said"),
    [
        (4, TASKS, None),
        (None, VARYING, None),
        ("{{workers}}", [{"name": "worker", "replicas": "{{workers}}"}], None),
        (2, TASKS, "minAvailable 2 is not the number of pods"),
        (2, VARYING, "minAvailable beside replicas that vary"),
        ("{{workers}}", VARYING, "minAvailable beside replicas that vary"),
    ],
)
def test_a_gang_that_begins_with_fewer(least: Any, tasks: list[Any], said: str | None) -> None:
    found = volcano(tasks=tasks, **({} if least is None else {"minAvailable": least}))
    assert [words.startswith(said or "-") for words in found] == ([True] if said else [])


def test_a_plugin_without_its_master() -> None:
    (said,) = volcano(tasks=TASKS[1:], plugins={"pytorch": ["--worker=worker"]})
    assert said.startswith("the pytorch plugin finds no task called master")
    assert volcano(plugins={"pytorch": ["--master=worker"]}) == []


def test_a_pytorchjob_that_loses_its_logs_or_its_container() -> None:
    pods = {name: {"template": {"spec": {"containers": [{"name": called}]}}} for name, called in
            (("Master", "pytorch"), ("Worker", "main"))}  # fmt: skip
    said = told("kubeflow.org/v1", "PyTorchJob", runPolicy={"backoffLimit": 0}, pytorchReplicaSpecs=pods)
    assert [words.partition(":")[0] for words in said] == ["backoffLimit 0", "Worker"]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(["tasks", "policies", "replicas", "event", "events", "action", "plugins", "pytorch", "name",
                         "minAvailable", "template", "spec", "containers", "runPolicy", "pytorchReplicaSpecs"]),
        inner, max_size=4),
    max_leaves=12,
)  # fmt: skip


@given(st.sampled_from(["batch.volcano.sh/v1alpha1", "kubeflow.org/v1"]), JSON)
def test_any_configuration_can_be_looked_at(version: str, spec: Any) -> None:
    list(gang_cautions(QueueConfig({"apiVersion": version, "kind": "PyTorchJob", "spec": spec})))
