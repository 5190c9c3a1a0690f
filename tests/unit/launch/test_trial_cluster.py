"""What is read of Kubernetes objects, logs and events, and of a queue's configuration."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootstrap.kube.client import ApiError
from bootstrap.launch.trial_cluster import ClusterSide, job_of, newest_warning, pod_of, read_hello
from bootstrap.launch.trial_model import Hello
from bootstrap.launch.trial_queue import bounds, check_variables, namespace_of, wanted_gpus
from tests.unit.launch.kube_fixture import NAMESPACE, FakeCluster
from tests.unit.launch.trial_examples import ASKED

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=12), inner, max_size=3),
)


def side(cluster: FakeCluster) -> ClusterSide:
    cluster.make_job("abcd1234", "item1")
    return ClusterSide(cluster, NAMESPACE)


def test_a_job_that_vanishes_is_remembered() -> None:
    cluster = FakeCluster()
    seen = side(cluster)
    for _ in range(6):
        seen.look("abcd1234", "item1")
    assert seen.hello == Hello(2, ("nvidia0", "nvidia1"), "void", "registered")
    cluster.make_job("other", "other")
    seen.look("abcd1234", "item1")

    assert seen.job is not None
    assert seen.job.gone
    assert seen.pod is not None
    assert seen.pod.gone
    assert seen.hello is not None


def test_no_job_is_asked_for_before_the_item_is_claimed() -> None:
    cluster = FakeCluster()
    ClusterSide(cluster, NAMESPACE).look("", "item1")

    assert cluster.paths == ["/api/v1/pods"]


def test_a_complete_report_is_not_read_again() -> None:
    cluster = FakeCluster()
    seen = side(cluster)
    for _ in range(6):
        seen.look("abcd1234", "item1")
    cluster.log = "now it says something else"
    before = seen.hello
    seen.look("abcd1234", "item1")

    assert seen.hello == before


def test_a_log_that_may_not_be_read_is_said_so(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = FakeCluster()
    seen = side(cluster)

    def refuse(*_: object) -> str:
        raise ApiError(403, "pods/log is forbidden")

    monkeypatch.setattr(cluster, "text", refuse)
    for _ in range(5):
        seen.look("abcd1234", "item1")

    assert seen.hello is None
    assert seen.pod is not None
    assert seen.pod.log_tail == "its log cannot be read: pods/log is forbidden"


def test_an_api_that_is_away_is_an_error() -> None:
    cluster = FakeCluster()
    cluster.error = ApiError(0, "refused")

    with pytest.raises(ApiError):
        side(cluster).look("abcd1234", "item1")


def test_the_container_with_gpus_is_the_one_that_counts() -> None:
    side_car = {"name": "proxy", "image": "p"}
    main = {"name": "main", "image": "m", "resources": {"limits": {"nvidia.com/gpu": 4}}}
    states = [{"name": "proxy", "state": {"running": {}}}, {"name": "main", "state": {"waiting": {"reason": "X"}}}]
    pod = pod_of({
        "metadata": {"name": "p", "namespace": "n"},
        "spec": {"containers": [side_car, main], "nodeName": "gpu1"},
        "status": {"phase": "Pending", "containerStatuses": states},
    })  # fmt: skip

    assert (pod.image, pod.gpus, pod.started, pod.waiting, pod.owner) == ("m", 4, False, "X", ("Pod", "p"))


def test_a_failed_job_says_why() -> None:
    status = {"conditions": [{"type": "Failed", "status": "True", "reason": "BackoffLimitExceeded"}]}
    job = job_of({"metadata": {"name": "j", "namespace": "n"}, "status": status})

    assert (job.failed, job.ended, job.agent) == ("BackoffLimitExceeded", True, "")


def test_the_newest_warning_that_says_something() -> None:
    def event(kind: str, message: str, at: str) -> dict[str, str]:
        return {"type": kind, "message": message, "lastTimestamp": at}

    said = [event("Warning", "old", "1"), event("Warning", "new", "2"), event("Normal", "n", "3")]
    assert newest_warning([*said, event("Warning", "Error: ErrImagePull", "4")]) == "new"
    assert newest_warning([]) == ""


def test_the_report_stands_between_other_lines() -> None:
    lines = ["warming up", '{"a": 1}', "[1]", '{"gpuctl_hello": 1, "gpus": 2, "devices": ["nvidia0"]}', "done"]
    assert read_hello("\n".join(lines)) == Hello(2, ("nvidia0",), "", "")
    assert read_hello('{"gpuctl_run": "registered"}') is None


@given(st.lists(st.text(max_size=20) | JSON.map(json.dumps), max_size=6))
def test_no_log_is_an_error(lines: list[str]) -> None:
    read_hello("\n".join(lines))


@given(st.dictionaries(st.sampled_from(["gpuctl_hello", "gpus", "devices", "visible", "gpuctl_run"]), JSON))
def test_no_report_is_an_error(said: dict[str, Any]) -> None:
    read_hello(json.dumps(said))


GPUS = {"type": "integer", "default": 1, "minimum": 1, "maximum": 8}


@pytest.mark.parametrize(
    ("gpus", "variables", "codes"),
    [
        (2, {"gpus": GPUS}, []),
        (8, {"gpus": GPUS}, []),
        (9, {"gpus": GPUS}, ["launch-variable-bounds"]),
        (0, {"gpus": GPUS}, ["launch-variable-bounds"]),
        (3, {"gpus": {"type": "integer", "enum": [1, 2, 4]}}, ["launch-variable-bounds"]),
        (3, {"gpus": {"type": "integer"}}, []),
        (2, {}, ["launch-variable-unknown"]),
        (None, {}, []),
        (None, {"gpus": {"type": "integer"}}, ["launch-variable-unset"]),
        (2, {"gpus": GPUS, "team": {"type": "string"}}, ["launch-variable-unset"]),
    ],
)
def test_what_the_queue_takes(gpus: int | None, variables: dict[str, Any], codes: list[str]) -> None:
    assert [p.code for p in check_variables(replace(ASKED, gpus=gpus), variables)] == codes


@given(st.integers(0, 20), st.none() | st.integers(0, 20), st.none() | st.integers(0, 20))
def test_a_number_in_bounds_is_taken_and_no_other(gpus: int, low: int | None, high: int | None) -> None:
    schema = {"type": "integer", "default": 1, "minimum": low, "maximum": high}
    within = (low is None or gpus >= low) and (high is None or gpus <= high)

    assert (check_variables(replace(ASKED, gpus=gpus), {"gpus": schema}) == ()) == within


def test_bounds_in_words() -> None:
    assert [bounds(s) for s in (GPUS, {"minimum": 1}, {"maximum": 4}, {})] == [
        "1 to 8", "at least 1", "at most 4", "any number",
    ]  # fmt: skip


def test_the_number_to_be_seen() -> None:
    none = replace(ASKED, gpus=None)

    def config(limit: object) -> dict[str, Any]:
        return {"spec": {"containers": [{"resources": {"limits": {"nvidia.com/gpu": limit}}}]}}

    assert wanted_gpus(ASKED, config(1), {}) == 2
    assert wanted_gpus(none, config("{{ gpus }}"), {"gpus": GPUS}) == 1
    assert wanted_gpus(none, config(4), {"gpus": GPUS}) is None  # only its pod can tell
    assert wanted_gpus(none, {}, {}) is None


def test_the_namespace_of_a_configuration() -> None:
    assert namespace_of({"metadata": {"namespace": "a"}, "namespace": "b"}) == "a"
    assert namespace_of({"namespace": "b"}) == "b"
    assert namespace_of({}) == "default"
