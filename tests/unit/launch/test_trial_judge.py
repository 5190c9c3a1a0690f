"""Where a job stands and what stops it, from what is seen alone."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootstrap.errors import Problem
from bootstrap.launch.trial_judge import advance, begin, reached, results
from bootstrap.launch.trial_model import STAGES, Agent, Hello, Item, Job, Sight, Stage, StageState
from tests.unit.launch import trial_examples as ex
from tests.unit.launch.trial_examples import ASKED, CLAIMED, HELLO, JOB, LIMITS, POD, UNPLACED, WAITING, course, sight

AWAY = Problem("launch-server-unreachable", "the W&B server does not answer: refused", "look at its address")
STRANGER = Problem("launch-key-refused", "the W&B server does not know the API key", "copy it anew")
CLUSTER_AWAY = Problem("launch-cluster-unreachable", "the API server does not answer: refused", "look at the network")
REFUSAL = "Unsafe resource_args.kubernetes option 'securityContext' is not allowed: the agent manages it"


def failed(message: str, run: str = "") -> Item:
    return Item("item1", "FAILED", run, message)


def test_a_job_that_passes_has_all_stages_with_their_times() -> None:
    track = course(*ex.whole())

    assert track.passed
    assert track.problem is None
    stages = results(track, 99.0)
    assert [s.stage for s in stages] == list(STAGES)
    assert {s.state for s in stages} == {StageState.OK}
    assert [s.elapsed_s for s in stages] == [0.3, 9.0, 1.0, 3.0, 1.0, 6.0]
    assert [s.seen for s in stages] == [
        "gpus=2 of 1 to 8; item item1",
        "taken by agent ada1byte on gpu1",
        "Job default/launch-team-gpuctl-test-x7",
        "launch-team-gpuctl-test-x7-1 on gpu1",
        "sees 2 of 2",
        "run abcd1234 finished, item FINISHED",
    ]


def test_stages_that_passed_between_two_looks_are_told_too() -> None:
    track = course(sight(1.0), sight(30.0, CLAIMED, job=JOB, pod=POD, hello=HELLO))

    assert [(s.stage, s.elapsed_s) for s in track.ended[1:]] == [
        (Stage.AGENT, 30.0),
        (Stage.JOB, 0.0),
        (Stage.POD, 0.0),
        (Stage.GPU, 0.0),
    ]
    assert track.ended[1].seen == "taken by agent ada1byte on gpu1"


STOPS = {
    "nobody polls": ([sight(31.0, agents=())], Stage.AGENT, "launch-agent-unseen", "no agent polls queue gpu of team"),
    "silent": (
        [sight(31.0, agents=(Agent("old", "gpu1", "POLLING", 900.0),))],
        Stage.AGENT,
        "launch-agent-silent",
        "agent old on gpu1 was last heard of 15 min ago",
    ),
    "stopped": (
        [sight(31.0, agents=(Agent("old", "", "KILLED", 5.0),))],
        Stage.AGENT,
        "launch-agent-silent",
        "agent old stopped",
    ),
    "not taken": (
        [sight(61.0)],
        Stage.AGENT,
        "launch-item-not-taken",
        "agent ada1byte on gpu1 polls queue gpu, but the item is still PENDING after 61 s",
    ),
    "busy": (
        [sight(301.0, agents=(Agent("ada", "gpu1", "RUNNING", 3.0),))],
        Stage.AGENT,
        "launch-agent-busy",
        "agent ada on gpu1 runs as many jobs as it may; the item is still PENDING after 301 s",
    ),
    "popped only": ([sight(61.0, Item("item1", "LEASED"))], Stage.AGENT, "launch-item-not-taken", "has not claimed"),
    "item gone": ([sight(6.0, None)], Stage.AGENT, "launch-item-gone", "no longer in queue gpu"),
    "refused": ([sight(9.0, failed(REFUSAL))], Stage.JOB, "launch-item-refused", "securityContext"),
    "no right": (
        [sight(40.0, failed("Error: (403)\nForbidden: secrets", "abcd1234"))],
        Stage.JOB,
        "launch-right-missing",
        "Error: (403)",
    ),
    "given up": ([sight(9.0, failed("awscli is required"))], Stage.JOB, "launch-item-failed", "awscli is required"),
    "no Job": ([sight(1.0, CLAIMED), sight(92.0, CLAIMED)], Stage.JOB, "launch-job-missing", "run-id=abcd1234"),
    "Job without pod": (
        [sight(1.0, CLAIMED, job=JOB), sight(32.0, CLAIMED, job=replace(JOB, words="exceeded quota: gpus"))],
        Stage.POD,
        "launch-pod-missing",
        "exceeded quota: gpus",
    ),
    "Job deleted": ([sight(1.0, CLAIMED, job=replace(JOB, gone=True))], Stage.POD, "launch-job-gone", "was deleted"),
    "too many GPUs": (
        [sight(9.0, CLAIMED, job=JOB, pod=UNPLACED, nodes=ex.NODES)],
        Stage.POD,
        "launch-gpus-too-many",
        "the Job asks for 9 GPUs; the largest node, gpu1, has 8 allocatable",
    ),
    "no GPU anywhere": (
        [sight(9.0, CLAIMED, pod=UNPLACED, nodes=(("cp1", 0),))],
        Stage.POD,
        "launch-gpus-too-many",
        "no node has any allocatable",
    ),
    "all taken": (
        [
            sight(1.0, CLAIMED, job=JOB, pod=replace(UNPLACED, gpus=2), nodes=ex.NODES),
            sight(62.0, CLAIMED, job=JOB, pod=replace(UNPLACED, gpus=2), nodes=ex.NODES),
        ],
        Stage.POD,
        "pod-pending",
        ex.UNPLACED_WORDS,
    ),
    "image": (
        [sight(9.0, CLAIMED, job=JOB, pod=replace(WAITING, waiting="ImagePullBackOff", words="not found"))],
        Stage.POD,
        "image-pull-failed",
        f"image {ex.IMAGE} is not pulled: ImagePullBackOff",
    ),
    "no Secret": (
        [
            sight(1.0, CLAIMED, pod=replace(WAITING, waiting="CreateContainerConfigError", words="secret not found")),
            sight(22.0, CLAIMED, pod=replace(WAITING, waiting="CreateContainerConfigError", words="secret not found")),
        ],
        Stage.POD,
        "launch-pod-not-started",
        "CreateContainerConfigError: secret not found",
    ),
    "not admitted": (
        [sight(1.0, CLAIMED, pod=replace(WAITING, waiting="", phase="Failed", reason="UnexpectedAdmissionError"))],
        Stage.POD,
        "launch-pod-not-started",
        "UnexpectedAdmissionError",
    ),
    "volume never comes": (
        [sight(1.0, CLAIMED, pod=WAITING), sight(301.0, CLAIMED, pod=replace(WAITING, words="MountVolume failed"))],
        Stage.POD,
        "launch-pod-not-started",
        "ContainerCreating: MountVolume failed",
    ),
    "pod deleted": ([sight(1.0, CLAIMED, pod=replace(POD, gone=True))], Stage.GPU, "launch-pod-gone", "was deleted"),
    "crash": (
        [sight(1.0, CLAIMED, pod=replace(POD, exit_code=127, reason="Error", log_tail="python3: not found"))],
        Stage.GPU,
        "launch-pod-crashed",
        "ended with exit code 127 and no report",
    ),
    "out of memory": (
        [sight(1.0, CLAIMED, pod=replace(POD, exit_code=137, reason="OOMKilled"))],
        Stage.GPU,
        "launch-pod-crashed",
        "exit code 137 (OOMKilled)",
    ),
    "says nothing": (
        [sight(1.0, CLAIMED, pod=POD), sight(122.0, CLAIMED, pod=POD)],
        Stage.GPU,
        "launch-no-report",
        "runs for 121 s",
    ),
    "one GPU of two": (
        [sight(1.0, CLAIMED, pod=POD, hello=Hello(1, ("nvidia0",), "void"))],
        Stage.GPU,
        "launch-gpus-wrong",
        "the job sees 1 GPU, 2 were asked",
    ),
    "limit is not the variable": (
        [sight(1.0, CLAIMED, pod=replace(POD, gpus=1), hello=Hello(1, ("nvidia0",), "void"))],
        Stage.GPU,
        "launch-gpus-wrong",
        "and its pod asks for 1",
    ),
    "cannot register": (
        [sight(1.0, CLAIMED, pod=POD, hello=replace(HELLO, registered="http://w: refused"))],
        Stage.RESULT,
        "launch-run-unregistered",
        "http://w: refused",
    ),
    "never registered": (
        [sight(1.0, CLAIMED, pod=POD, hello=HELLO), sight(62.0, CLAIMED, pod=POD, hello=HELLO)],
        Stage.RESULT,
        "launch-run-unregistered",
        "knows no run abcd1234 in project gpuctl-test of team",
    ),
    "item failed at last": (
        [sight(1.0, failed("failed to call wandb.init", "abcd1234"), pod=POD, hello=HELLO)],
        Stage.RESULT,
        "launch-item-failed",
        "failed to call wandb.init",
    ),
    "run crashed": (
        [sight(1.0, CLAIMED, pod=POD, hello=HELLO, run="crashed")],
        Stage.RESULT,
        "launch-run-failed",
        "run abcd1234 is crashed",
    ),
    "item stays open": (
        [
            sight(1.0, CLAIMED, pod=POD, hello=HELLO, run="finished"),
            sight(92.0, CLAIMED, pod=POD, hello=HELLO, run="finished"),
        ],
        Stage.RESULT,
        "launch-item-open",
        "its run is finished and the item CLAIMED",
    ),
    "server away": (
        [sight(1.0, server_problem=AWAY), sight(62.0, server_problem=AWAY)],
        Stage.AGENT,
        "launch-server-unreachable",
        "does not answer",
    ),
    "key taken back": ([sight(1.0, server_problem=STRANGER)], Stage.AGENT, "launch-key-refused", "does not know"),
    "cluster away": (
        [sight(1.0, CLAIMED, cluster_problem=CLUSTER_AWAY), sight(62.0, CLAIMED, cluster_problem=CLUSTER_AWAY)],
        Stage.JOB,
        "launch-cluster-unreachable",
        "does not answer",
    ),
}


@pytest.mark.parametrize("name", STOPS)
def test_where_it_stops(name: str) -> None:
    sights, stage, code, words = STOPS[name]
    track = course(*sights)

    assert track.problem is not None
    assert (track.stage, track.problem.code) == (stage, code)
    assert words in track.problem.message
    assert track.problem.fix
    assert not track.passed
    assert [s.state for s in results(track, 400.0)].count(StageState.FAILED) == 1


GOES_ON = {
    "an agent may be starting": [sight(29.0, agents=())],
    "a busy agent gets the whole time": [sight(299.0, agents=(Agent("ada", "", "RUNNING", 3.0),))],
    "one fresh agent is enough": [sight(45.0, agents=(Agent("old", "", "KILLED", 9.0), ex.POLLING))],
    "an item may be listed late": [sight(2.0, None)],
    "the agent makes its Secret": [sight(1.0, CLAIMED), sight(60.0, CLAIMED)],
    "an image is pulled": [sight(1.0, CLAIMED, pod=WAITING), sight(200.0, CLAIMED, pod=WAITING)],
    "a first pull failed": [sight(1.0, CLAIMED, pod=replace(WAITING, waiting="ErrImagePull"))],
    "GPUs may become free": [sight(9.0, CLAIMED, pod=replace(UNPLACED, gpus=8), nodes=ex.NODES)],
    "nodes may not be read": [sight(9.0, CLAIMED, pod=UNPLACED)],
    "a short outage": [sight(1.0, server_problem=AWAY), sight(50.0, server_problem=AWAY)],
    "two short outages": [sight(1.0, server_problem=AWAY), sight(40.0), sight(41.0, CLAIMED, server_problem=AWAY)],
    "registering takes time": [sight(1.0, CLAIMED, pod=POD, hello=replace(HELLO, registered=""))],
}


@pytest.mark.parametrize("name", GOES_ON)
def test_where_it_goes_on(name: str) -> None:
    track = course(*GOES_ON[name])

    assert track.problem is None
    assert not track.passed


def test_an_outage_that_ended_is_forgotten() -> None:
    track = course(sight(1.0, server_problem=AWAY), sight(30.0), sight(31.0, server_problem=AWAY))

    assert track.silent_since == {"launch-server-unreachable": 31.0}


def test_what_a_pod_asks_for_counts_where_nothing_else_is_known() -> None:
    asked = replace(ASKED, gpus=None)

    assert reached(sight(1.0, CLAIMED, pod=POD, hello=HELLO), asked) is Stage.RESULT
    assert reached(sight(1.0, CLAIMED, pod=replace(POD, gpus=4), hello=HELLO), asked) is Stage.GPU


def test_a_run_that_ended_passes_though_the_log_was_cut() -> None:
    cut = replace(HELLO, registered="")

    assert course(sight(1.0, ex.CLOSED, pod=POD, hello=cut, run="finished")).passed


def test_the_fix_for_a_fixed_limit_names_the_template_variable_as_it_is_written() -> None:
    track = course(*STOPS["limit is not the variable"][0])

    assert track.problem is not None
    assert track.problem.fix == "let the GPU limit in queue gpu be the template variable {{gpus}}"


ITEMS = st.sampled_from(
    [None, ex.PENDING, Item("item1", "LEASED"), CLAIMED, ex.CLOSED, failed("x"), failed(REFUSAL, "abcd1234")]
)
PODS = st.sampled_from(
    [None, WAITING, POD, UNPLACED, replace(POD, gone=True), replace(POD, exit_code=1), replace(WAITING, phase="Failed")]
)
SIGHTS = st.builds(
    Sight,
    at=st.just(0.0),
    item=ITEMS,
    agents=st.sampled_from([(), (ex.POLLING,), (Agent("a", "", "KILLED", None),)]),
    job=st.sampled_from([None, JOB, replace(JOB, gone=True), Job("n", "j", failed="BackoffLimitExceeded", ended=True)]),
    pod=PODS,
    hello=st.sampled_from([None, HELLO, Hello(1), replace(HELLO, registered="refused")]),
    run=st.sampled_from(["", "running", "finished", "crashed", "pending"]),
    nodes=st.sampled_from([(), ex.NODES]),
    server_problem=st.sampled_from([None, AWAY]),
    cluster_problem=st.sampled_from([None, CLUSTER_AWAY]),
)


@given(st.lists(st.tuples(st.floats(0.1, 50.0), SIGHTS), min_size=1, max_size=25))
def test_whatever_is_seen_it_goes_forward_and_comes_to_an_end(steps: list[tuple[float, Sight]]) -> None:
    track, now = begin(0.0, ex.QUEUE_DONE), 0.0
    for pause, seen in steps:
        now += pause
        before = track
        track = advance(track, replace(seen, at=now), ASKED, LIMITS)
        assert STAGES.index(track.stage) >= STAGES.index(before.stage)
        assert [s.stage for s in results(track, now)] == list(STAGES)
        assert not (track.passed and track.problem)
        assert all((s.elapsed_s or 0.0) >= 0.0 for s in results(track, now))


@given(SIGHTS)
def test_no_wait_is_endless(seen: Sight) -> None:
    """What stays as it is for longer than the whole time is over, with a reason that has a fix."""
    track = begin(0.0, ex.QUEUE_DONE)
    for at in (1.0, 400.0, 900.0):
        track = advance(track, replace(seen, at=at), ASKED, LIMITS)

    assert track.over
    assert track.passed or (track.problem and track.problem.message)
