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
OVER = {"event": "TaskFailed", "action": "AbortJob"}


def task(name: str, replicas: Any, policy: str | None = "Never", **more: Any) -> dict[str, Any]:
    return {"name": name, "replicas": replicas, "template": {"spec": {"restartPolicy": policy}}, **more}


TASKS = [task("master", 1), task("worker", 3)]
VARYING = [task("master", 1), task("worker", "{{workers}}")]


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
    assert volcano(policies=[], tasks=[{**one, "policies": policies} for one in TASKS]) == []


@pytest.mark.parametrize(
    "policies",
    [
        [],
        [{"event": "PodFailed", "action": "RestartTask"}],
        [{"event": "PodEvicted"}],
        [OVER],  # comes of restarts, and a pod that is never restarted has none
    ],
)
def test_a_worker_that_fails_and_ends_nothing(policies: list[Any]) -> None:
    (said,) = volcano(policies=policies)
    assert said.startswith("no policy for PodFailed")


def test_a_task_s_own_policy_comes_before_the_job_s() -> None:
    again = {"event": "PodFailed", "action": "RestartTask"}
    (said,) = volcano(tasks=[TASKS[0], task("worker", 3, policies=[again])])
    assert said.startswith("no policy for PodFailed")


def test_one_pod_alone_ends_its_job() -> None:
    assert volcano(tasks=[task("master", 1)], policies=[]) == []


@pytest.mark.parametrize(
    ("policy", "policies", "more", "said"),
    [
        ("OnFailure", [ABORT], {}, "task worker: restartPolicy OnFailure: "),
        ("Always", [ABORT], {}, "task worker: restartPolicy Always: "),
        ("OnFailure", [OVER], {}, None),
        ("Always", [OVER], {}, None),
        ("OnFailure", [{"event": "*", "action": "AbortJob"}], {}, None),
        ("OnFailure", [{**OVER, "action": "SyncJob"}], {}, "task worker: restartPolicy OnFailure: "),
        ("OnFailure", [ABORT], {"policies": [OVER]}, None),
        (None, [ABORT, OVER], {}, "task worker: no restartPolicy, so Always: "),
        ("{{policy}}", [ABORT], {}, None),
    ],
)
def test_a_pod_that_is_started_again_and_again(
    policy: str | None, policies: list[Any], more: dict[str, Any], said: str | None
) -> None:
    found = volcano(tasks=[TASKS[0], task("worker", 3, policy, **more)], policies=[ABORT, *policies])
    assert [words.startswith(said or "-") for words in found] == ([True] if said else [])


@pytest.mark.parametrize(
    ("least", "replicas", "job", "said"),
    [
        (1, 3, None, "task worker: minAvailable 1 is not the number"),
        (0, 3, None, "task worker: minAvailable 0 is not the number"),
        (1, 3, 0, "task worker: minAvailable 1 is not the number"),
        (3, 3, None, None),
        (1, 3, 4, None),  # the job's own is what counts
        (1, "{{workers}}", None, "task worker: minAvailable beside replicas that vary"),
        ("{{workers}}", "{{workers}}", None, None),
    ],
)
def test_a_task_that_begins_with_fewer(least: Any, replicas: Any, job: int | None, said: str | None) -> None:
    """Volcano adds the tasks' up where the job has none."""
    tasks = [TASKS[0], task("worker", replicas, minAvailable=least)]
    found = volcano(tasks=tasks, **({} if job is None else {"minAvailable": job}))
    assert [words.startswith(said or "-") for words in found] == ([True] if said else [])


@pytest.mark.parametrize(
    ("least", "tasks", "said"),
    [
        (4, TASKS, None),
        (None, VARYING, None),
        ("{{workers}}", [task("worker", "{{workers}}")], None),
        (0, TASKS, None),  # as if it were not there
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
    assert volcano(tasks=TASKS[1:], plugins={"pytorch": None}) == [said]


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--master=worker", "--worker=master"], []),
        (["-master", "worker", "--worker", "master", "--port=1"], []),
        (["--worker=helper"], ["the pytorch plugin finds no task called helper"]),
        (["--master=worker"], ["the pytorch plugin takes task worker for master and worker"]),
    ],
)
def test_a_plugin_that_knows_tasks_by_other_names(flags: list[str], said: list[str]) -> None:
    tasks = [task("master", 1), task("worker", 1)]
    assert [words.partition(":")[0] for words in volcano(tasks=tasks, plugins={"pytorch": flags})] == said


def test_a_plugin_gives_every_master_the_same_rank() -> None:
    (said,) = volcano(tasks=[task("master", 2), task("worker", 1)], plugins={"pytorch": []})
    assert said.startswith("the pytorch plugin gives each of the 2 pods of task master RANK 0")
    assert volcano(tasks=[task("master", 1)], plugins={"pytorch": []}) == [], "a worker is not needed"


def test_other_kinds_of_volcano_are_not_judged_as_jobs() -> None:
    assert told("batch.volcano.sh/v1alpha1", "CronJob", schedule="0 3 * * *", jobTemplate={}) == []


def test_a_pytorchjob_that_loses_its_logs_or_its_container() -> None:
    pods = {name: {"template": {"spec": {"containers": [{"name": called}]}}} for name, called in
            (("Master", "pytorch"), ("Worker", "main"))}  # fmt: skip
    said = told("kubeflow.org/v1", "PyTorchJob", runPolicy={"backoffLimit": 0}, pytorchReplicaSpecs=pods)
    assert [words.partition(":")[0] for words in said] == ["backoffLimit 0", "Worker"]


def torch(policy: str | None = "Never", workers: Any = 3, **spec: Any) -> list[str]:
    """A PyTorchJob whose pods' own restartPolicy is Never, which the operator does not look at."""
    pod = {"template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "pytorch"}]}}}
    worker = {**pod, "replicas": workers, **({"restartPolicy": policy} if policy else {})}
    replicas = {"Master": {**pod, "restartPolicy": "Never"}, "Worker": worker}
    return told("kubeflow.org/v1", "PyTorchJob", **{"pytorchReplicaSpecs": replicas, **spec})


@pytest.mark.parametrize(
    ("policy", "spec", "said"),
    [
        (None, {}, "Worker: no restartPolicy, so OnFailure: "),
        ("OnFailure", {}, "Worker: restartPolicy OnFailure: "),
        ("Always", {}, "Worker: restartPolicy Always: "),
        ("Never", {}, None),
        ("ExitCode", {}, None),
        ("{{policy}}", {}, None),
        (None, {"runPolicy": {"backoffLimit": 3}}, None),
        (None, {"elasticPolicy": {}}, None),
    ],
)
def test_a_worker_that_the_operator_starts_again(policy: str | None, spec: dict[str, Any], said: str | None) -> None:
    assert [words.startswith(said or "-") for words in torch(policy, **spec)] == ([True] if said else [])


@pytest.mark.parametrize(
    ("least", "workers", "said"),
    [
        (4, 3, None),
        (2, 3, "minAvailable 2 is not the number of pods"),
        (0, 3, "minAvailable 0 is not the number of pods"),
        (2, "{{workers}}", "minAvailable beside replicas that vary"),
        (None, "{{workers}}", None),
    ],
)
def test_a_pytorchjob_that_begins_with_fewer(least: Any, workers: Any, said: str | None) -> None:
    found = torch(workers=workers, runPolicy={"schedulingPolicy": {"minAvailable": least}})
    assert [words.startswith(said or "-") for words in found] == ([True] if said else [])


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(["tasks", "policies", "replicas", "event", "events", "action", "plugins", "pytorch", "name",
                         "minAvailable", "template", "restartPolicy", "schedulingPolicy", "spec",
                         "containers", "runPolicy", "pytorchReplicaSpecs"]),
        inner, max_size=4),
    max_leaves=12,
)  # fmt: skip


@given(st.sampled_from([("batch.volcano.sh/v1alpha1", "Job"), ("kubeflow.org/v1", "PyTorchJob")]), JSON)
def test_any_configuration_can_be_looked_at(kind: tuple[str, str], spec: Any) -> None:
    list(gang_cautions(QueueConfig({"apiVersion": kind[0], "kind": kind[1], "spec": spec})))
