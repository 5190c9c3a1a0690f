"""A job from submission to its end: what is made, followed, told and taken away again."""

from __future__ import annotations

import time
from typing import Any

import pytest

from bootstrap.exit_codes import ExitCode
from bootstrap.jobs import run as running
from bootstrap.jobs.ranks import culprit, first_failed, rank_of, ranks_of, telling, why_failed
from bootstrap.kube.client import ApiError
from tests.unit.jobs.cluster import FakeCluster, ended, pod, taken, unplaced
from tests.unit.jobs.following import DONE, NO_GPUS, T1, T2, follow


def test_all_ranks_are_followed_to_their_end() -> None:
    logs = {
        "train-0-abc": "2026-11-23T10:00:00.1Z step 1\n2026-11-23T10:00:00.2Z step 2\n",
        "train-1-abc": "2026-11-23T10:00:00.3Z hello\n",
    }
    cluster = FakeCluster([], [pod(0)], [pod(0), pod(1)], [pod(0), ended(1, 0, T1)], DONE, logs=logs)
    result, lines, _ = follow(cluster)
    assert (result.exit_code, result.problems) == (ExitCode.OK, ())
    assert lines == ["0 step 1", "0 step 2", "1 hello"]
    assert [rank.exit_code for rank in result.ranks] == [0, 0]
    assert cluster.deleted == [
        "/apis/batch/v1/namespaces/default/jobs/train",
        "/api/v1/namespaces/default/services/train",
    ]
    assert not [path for path in cluster.there if path.endswith("/train")]


def test_a_job_is_kept_when_that_is_asked_for() -> None:
    cluster = FakeCluster([pod(0), pod(1)], DONE)
    result = follow(cluster, keep=True)[0]
    assert (result.kept, result.deleted) == (True, False)
    assert cluster.deleted == []


def test_the_rank_that_failed_first_is_named_with_its_last_lines() -> None:
    logs = {"train-1-abc": f"{T1[:-1]}.5Z Traceback\n{T1[:-1]}.6Z ValueError: nan\n"}
    cluster = FakeCluster([pod(0), pod(1)], [ended(0, 1, T2), ended(1, 3, T1)], logs=logs)
    result = follow(cluster)[0]
    (problem,) = result.problems
    assert (result.exit_code, problem.code) == (ExitCode.NOT_READY, "job-failed")
    assert problem.message == "rank 1 on gpu2 ended with 3: ValueError: nan"
    assert problem.details == "also failed: rank 0 on gpu1\nTraceback\nValueError: nan"


TORCHRUN = (
    "[default0]:Traceback (most recent call last):",
    "[default0]:ValueError: loss is NaN",
    "torch.distributed.elastic.multiprocessing.errors.ChildFailedError: ",
    *["  error_file: <N/A>"] * 40,
    "  traceback : To enable traceback see: https://pytorch.org/docs/stable/elastic/errors.html",
    "=" * 60,
)


def test_behind_the_banner_of_torchrun_stands_the_exception() -> None:
    lines = "".join(f"{T1[:-1]}.{number:03}Z {line}\n" for number, line in enumerate(TORCHRUN))
    cluster = FakeCluster([pod(0), pod(1)], [ended(0, 1, T2), ended(1, 1, T1)], logs={"train-1-abc": lines})
    result, _, notes = follow(cluster)
    (problem,) = result.problems
    assert problem.message == "rank 1 on gpu2 ended with 1: [default0]:ValueError: loss is NaN"
    assert problem.details.endswith("=" * 60)
    assert problem.message in notes[: notes.index(next(n for n in notes if n.startswith("deleting")))]


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ((), ""),
        (("", " "), ""),
        (("FooError: caught", "no data left"), "no data left"),
        (("epoch 3", "====", "----"), "epoch 3"),
        (("====",), ""),
    ],
)
def test_the_line_that_tells_why(lines: tuple[str, ...], said: str) -> None:
    assert telling(lines) == said


def test_a_rank_that_is_taken_away_is_named() -> None:
    (problem,) = follow(FakeCluster([pod(0), pod(1)], [pod(0)]))[0].problems
    assert problem.message == "rank 1 on gpu2 was taken away in the middle: its pod train-1-abc is gone"


@pytest.mark.parametrize(
    ("terminated", "tail", "said"),
    [
        ({"exitCode": 137}, (), "was killed (signal 9)"),
        ({"exitCode": 137, "reason": "OOMKilled"}, (), "needed more memory than it may have"),
        ({"exitCode": 1}, ("ModuleNotFoundError: No module named 'torch'",), "the image has no torch"),
        (
            {
                "exitCode": 128,
                "reason": "StartError",
                "message": 'exec: "torchrun": executable file not found in $PATH',
            },
            (),
            "the image has no torchrun",
        ),
        ({"exitCode": 2}, ("", "bad", ""), "ended with 2: bad"),
    ],
)
def test_the_cause_is_told_in_words(terminated: dict[str, Any], tail: tuple[str, ...], said: str) -> None:
    (rank,) = ranks_of([pod(1, "Failed", terminated=terminated)])
    what, fix = why_failed(rank, tail)
    assert said in what
    assert what.startswith("rank 1 on gpu2")
    assert fix


def test_of_two_in_one_second_the_one_that_was_killed_is_the_cause() -> None:
    ranks = ranks_of([ended(0, 1, T1), ended(1, 137, T1)])
    first = first_failed(ranks)
    assert first is not None
    assert first.rank == 1


def test_of_two_that_were_deleted_the_first_is_the_cause() -> None:
    """The Job's controller deletes rank 0 because rank 1 is gone; both end in the same second."""
    pods = [ended(0, 137, T1), ended(1, 137, T1)]
    pods[0]["metadata"]["deletionTimestamp"] = T2
    pods[1]["metadata"]["deletionTimestamp"] = T1
    (problem,) = follow(FakeCluster([pod(0), pod(1)], pods))[0].problems
    assert problem.message == "rank 1 on gpu2 was taken away in the middle: its pod train-1-abc was deleted"


def test_a_rank_that_failed_by_itself_comes_before_those_that_were_deleted_for_it() -> None:
    pods = [ended(0, 137, T1), ended(1, 1, T1)]
    pods[0]["metadata"]["deletionTimestamp"] = T2
    first = culprit(ranks_of(pods), ())
    assert first is not None
    assert first.rank == 1


@pytest.mark.parametrize(
    ("reason", "said"),
    [
        ("EvictionByEvictionAPI", "its node is drained, or it was evicted"),
        ("DeletionByTaintManager", "its node was tainted, or does not answer"),
        ("ByWhatComesNext", "words of its own"),
    ],
)
def test_a_rank_that_is_taken_from_outside_is_the_cause_though_another_ends_first(reason: str, said: str) -> None:
    (problem,) = follow(FakeCluster([pod(0), pod(1)], [ended(0, 1, T1), taken(1, reason)]))[0].problems
    assert problem.message == f"rank 1 on gpu2 was taken away in the middle: {said}"


def test_a_rank_on_a_dead_node_is_the_cause_though_the_others_are_deleted() -> None:
    (problem,) = follow(FakeCluster([pod(0), pod(1)], [taken(1, "DeletionByTaintManager")]))[0].problems
    assert problem.message.startswith("rank 1 on gpu2 was taken away")


def test_a_rank_that_is_taken_and_never_goes_ends_the_job(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running, "GONE_S", 0.02)
    (problem,) = follow(FakeCluster([pod(0), taken(1, "DeletionByTaintManager")]))[0].problems
    assert problem.message.startswith("rank 1 on gpu2 was taken away")


def test_a_log_that_cannot_be_read_is_the_trouble_of_its_rank_only() -> None:
    """A kubelet is away for longer than the API may be: the job goes on, and its lines come when it is back."""
    logs = {"train-0-abc": f"{T1} one\n", "train-1-abc": f"{T1} two\n"}
    cluster = FakeCluster([pod(0), pod(1)], logs=logs)
    cluster.mute = {"train-1-abc"}
    back_at = time.monotonic() + 4 * running._SILENCE_S

    def come_back() -> None:
        if time.monotonic() > back_at:
            cluster.course, cluster.mute = [DONE], set()

    cluster.looked = come_back
    result, lines, notes = follow(cluster)
    assert (result.exit_code, result.problems, lines) == (ExitCode.OK, (), ["0 one", "1 two"])
    (said,) = [note for note in notes if "log" in note]
    assert said.startswith("the log of rank 1 on gpu2 cannot be read: ")
    assert said.endswith("no route to host")


def test_a_rank_on_a_dead_node_is_named_without_its_log(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running, "GONE_S", 0.02)
    cluster = FakeCluster([pod(0), pod(1)], [pod(0), taken(1, "DeletionByTaintManager")])
    cluster.mute = {"train-1-abc"}
    (problem,) = follow(cluster)[0].problems
    assert (problem.code, problem.details) == ("job-failed", "")
    assert problem.message.startswith("rank 1 on gpu2 was taken away")


@pytest.mark.parametrize("code", [0, 3])
def test_last_words_that_cannot_be_read_at_once_are_waited_for(code: int) -> None:
    cluster = FakeCluster([ended(0, 0, T1), ended(1, code, T2)], logs={"train-1-abc": f"{T1} last words\n"})
    cluster.mute = {"train-1-abc"}
    cluster.log_asked = lambda tries: cluster.mute.clear() if tries == 4 else None
    result, lines, _ = follow(cluster)
    assert lines == ["1 last words"]
    assert [problem.details for problem in result.problems] == ["last words"] * bool(code)


def test_last_words_are_not_waited_for_for_ever() -> None:
    cluster = FakeCluster(DONE)
    cluster.mute = {"train-0-abc", "train-1-abc"}
    assert follow(cluster)[0].exit_code is ExitCode.OK


def test_a_kubelet_that_answers_slowly_does_not_hold_up_the_others() -> None:
    """A node that is dead lets each read wait for its whole timeout."""
    cluster = FakeCluster([pod(0), pod(1)], *[[pod(0), ended(1, 0, T1)]] * 20, DONE)
    cluster.mute = {"train-1-abc"}
    cluster.log_asked = lambda _tries: time.sleep(0.1)
    begun = time.monotonic()
    follow(cluster)
    assert time.monotonic() - begun < 1.5


def test_a_rank_that_ends_well_while_it_is_taken_has_ended_well() -> None:
    well = taken(1, "EvictionByEvictionAPI")
    well["status"] |= ended(1, 0, T1)["status"]
    assert follow(FakeCluster([pod(0), well], [ended(0, 0, T2), well]))[0].problems == ()


@pytest.mark.parametrize(
    ("name", "rank"),
    [("train-master-0", 0), ("train-worker-0", 1), ("train-worker-11", 12), ("train-files", None)],
)
def test_ranks_of_the_operators_pods(name: str, rank: int | None) -> None:
    assert rank_of(pod(9, name=name)) == rank


def test_what_it_waits_for_is_told_once_and_at_the_end() -> None:
    cluster = FakeCluster([pod(0), unplaced(1, NO_GPUS)])
    result, _, notes = follow(cluster, start_s=0.05)
    (problem,) = result.problems
    assert problem.code == "job-pending"
    why = "rank 1 has no node: no node has 8 GPUs free (taints: dedicated: x); the ranks that have one wait for it"
    assert problem.message.endswith(f"1 of 2 ranks have begun: {why}")
    assert notes[1:-1] == [f"waits: {why}", problem.message]


def test_a_job_that_takes_too_long_is_ended_and_its_ranks_are_named() -> None:
    cluster = FakeCluster([pod(0), pod(1)], [pod(0), ended(1, 0, T1)])
    result = follow(cluster, whole_s=0.05)[0]
    (problem,) = result.problems
    assert (result.exit_code, problem.code) == (ExitCode.NOT_READY, "job-timeout")
    assert problem.message == "it has not ended after 0 s; not ended: rank 0 on gpu1"
    assert "/apis/batch/v1/namespaces/default/jobs/train" in cluster.deleted


def test_an_api_that_goes_away_is_not_waited_for_for_ever() -> None:
    cluster = FakeCluster([pod(0), pod(1)])

    def silent() -> None:
        if not cluster.deleted:
            raise ApiError(0, "the API server does not answer")

    cluster.looked = silent
    (problem,) = follow(cluster)[0].problems
    assert problem.code == "cluster-unreachable"
