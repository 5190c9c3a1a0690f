"""A job from submission to its end: what is made, followed, told and taken away again."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import pytest

from bootstrap.errors import GpuctlError
from bootstrap.exit_codes import ExitCode
from bootstrap.jobs import making
from bootstrap.jobs import run as running
from bootstrap.jobs.check import refusals, without_missing_class
from bootstrap.jobs.objects import kubectl_name
from bootstrap.jobs.ranks import Rank, culprit, first_failed, rank_of, ranks_of, why_failed
from bootstrap.jobs.render import render
from bootstrap.jobs.run import Following, JobResult, run_job
from bootstrap.jobs.spec import JobSpec, Launcher
from bootstrap.jobs.waiting import own_events, why_waiting
from bootstrap.kube.client import ApiError
from bootstrap.progress import Silent
from bootstrap.ui.job import run_screen
from tests.unit.jobs.cluster import FakeCluster, ended, node, pod, taken, unplaced
from tests.unit.jobs.test_render import spec

T1, T2 = "2026-11-23T10:00:01Z", "2026-11-23T10:00:02Z"
NO_GPUS = "0/3 nodes are available: 1 node(s) had untolerated taint {dedicated: x}, 2 Insufficient nvidia.com/gpu."
DONE = [ended(0, 0, T1), ended(1, 0, T2)]


class Notes(Silent):
    def __init__(self) -> None:
        self.said: list[str] = []

    def note(self, message: str) -> None:
        self.said.append(message)


@pytest.fixture(autouse=True)
def _quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (running, making):
        monkeypatch.setattr(module, "PAUSE_S", 0.001)
    monkeypatch.setattr(making, "GONE_S", 3.0)
    monkeypatch.setattr(running, "_SILENCE_S", 0.05)
    monkeypatch.setattr(running, "_WORDS_S", 0.05)


def follow(cluster: FakeCluster, job: JobSpec | None = None, **how: Any) -> tuple[JobResult, list[str], list[str]]:
    lines: list[str] = []
    notes = Notes()
    following = Following(said=lambda rank, line: lines.append(f"{rank.rank} {line}"), **how)
    result = run_job(cluster, job or spec(nodes=2, gpus=8), following, notes)
    return result, lines, notes.said


def refused(cluster: FakeCluster, job: JobSpec) -> list[str]:
    with pytest.raises(GpuctlError) as caught:
        run_job(cluster, job, Following(), Silent())
    assert caught.value.exit_code is ExitCode.PREFLIGHT
    assert all(problem.fix for problem in caught.value.problems)
    return [f"{problem.code}: {problem.message}" for problem in caught.value.problems]


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
    assert problem.details == "Traceback\nValueError: nan"


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
    assert notes[1:-1] == [f"waits: {why}"]


def test_a_job_that_takes_too_long_is_ended_and_its_ranks_are_named() -> None:
    cluster = FakeCluster([pod(0), pod(1)], [pod(0), ended(1, 0, T1)])
    result = follow(cluster, whole_s=0.05)[0]
    (problem,) = result.problems
    assert (result.exit_code, problem.code) == (ExitCode.NOT_READY, "job-timeout")
    assert problem.message == "it has not ended after 0 s; not ended: rank 0 on gpu1"
    assert "/apis/batch/v1/namespaces/default/jobs/train" in cluster.deleted


PULL = {"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}}


@pytest.mark.parametrize(
    ("pods", "events", "said"),
    [
        ([pod(0, "Pending", **PULL)], [], "the image cannot be pulled on gpu1: no such image"),
        (
            [pod(0, "Pending", waiting={"reason": "CreateContainerConfigError", "message": "no claim"})],
            [],
            "rank 0 on gpu1 cannot begin: CreateContainerConfigError: no claim",
        ),
        (
            [],
            ["resource in cluster is overused: overused nvidia.com/gpu"],
            "2 pods with 8 GPUs each, all or none of them: that is more than the cluster has free together",
        ),
        (
            [],
            ["queue resource quota insufficient: insufficient nvidia.com/gpu"],
            (
                "2 pods with 8 GPUs each, all or none of them: that is more than the queue default may have "
                "(queue resource quota insufficient: insufficient nvidia.com/gpu)"
            ),
        ),
        (
            [unplaced(0, "3 Insufficient nvidia.com/gpu")],
            ["2/2 tasks in gang unschedulable: pod group is not ready, 2 Pending; 3 Insufficient nvidia.com/gpu"],
            (
                "2 pods with 8 GPUs each, all or none of them: they do not fit on the nodes as these are filled "
                "(3 Insufficient nvidia.com/gpu)"
            ),
        ),
        ([], ["0/2 tasks in gang unschedulable: pod group is ready, 2 Binding"], ""),
        ([], ["0/0 tasks in gang unschedulable: pod group is not ready, 2 minAvailable"], ""),
        ([pod(0, "Pending", waiting={"reason": "ContainerCreating"})], [], ""),
        ([unplaced(0, "volume node affinity conflict")], [], "rank 0 has no node: volume node affinity conflict"),
    ],
)
def test_why_a_job_waits(pods: list[dict[str, Any]], events: list[str], said: str) -> None:
    warnings = [{"type": "Warning", "reason": "Unschedulable", "message": text} for text in events]
    assert why_waiting(spec(Launcher.VOLCANO, nodes=2, gpus=8), ranks_of(pods), warnings) == said


def test_a_pull_that_failed_is_told_alike_at_each_try() -> None:
    first = (
        'rpc error: code = NotFound desc = failed to pull image "r/n:1": failed to resolve reference "r/n:1": '
        "r/n:1: not found"
    )
    for reason, message in (("ErrImagePull", first), ("ImagePullBackOff", f'Back-off pulling image "r/n:1": {first}')):
        ranks = ranks_of([pod(0, "Pending", waiting={"reason": reason, "message": message})])
        assert why_waiting(spec(), ranks, ()) == "the image cannot be pulled on gpu1: r/n:1: not found"


def event(name: str, at: str, **more: Any) -> dict[str, Any]:
    return {"involvedObject": {"name": name}, "lastTimestamp": at, "message": f"{name} {at}", **more}


def test_events_of_other_jobs_and_of_earlier_ones_are_not_told() -> None:
    made = {"name": "train", "uid": "u2", "creationTimestamp": T2}
    mine = [
        event("train", "", series={"lastObservedTime": f"{T2[:-1]}.4Z"}),
        event("train-u2", "2026-11-23T10:00:04Z"),
        event("train-master-0", "", eventTime="2026-11-23T10:00:05.25Z"),
    ]
    others = [event("train", T1), event("train-u1", T2), event("train-big-u3", T2), event("train-big", T2), {}]
    assert own_events([*reversed(mine), *others], made, {"train-master-0"}) == mine


def test_what_another_job_of_a_longer_name_waits_for_is_not_told() -> None:
    cluster = FakeCluster()
    cluster.events = [{**event("train-big", T1), "type": "Warning", "reason": "FailedCreate"}]
    (problem,) = follow(cluster, start_s=0.02)[0].problems
    assert problem.message.endswith("0 of 2 ranks have begun: nothing says why")


def test_ranks_without_a_node_are_told_together() -> None:
    ranks = ranks_of([unplaced(0, NO_GPUS), unplaced(1, NO_GPUS)])
    assert why_waiting(spec(gpus=8), ranks, ()).startswith("ranks 0, 1 have no node: no node has 8 GPUs free")


def test_pods_that_cannot_be_made_are_told() -> None:
    event = {"type": "Warning", "reason": "FailedCreate", "message": "exceeded quota"}
    assert why_waiting(spec(), (), [event]) == "its pods cannot be made: exceeded quota"


def warning(name: str, reason: str, message: str, kind: str = "Pod") -> dict[str, Any]:
    about = {"kind": kind, "name": name}
    return {"type": "Warning", "reason": reason, "message": message, "involvedObject": about, "lastTimestamp": T1}


NO_NFS = (
    'MountVolume.SetUp failed for volume "nfs" : mount failed: exit status 32\nOutput: mount.nfs: Connection refused\n'
)


@pytest.mark.parametrize(
    ("events", "said"),
    [
        (
            [warning("train", "FailedCreatePod", "exceeded quota", "PyTorchJob")],
            "its pods cannot be made: exceeded quota",
        ),
        ([warning("train", "FailedCreateService", "no", "PyTorchJob")], "its services cannot be made: no"),
        (
            [warning("train-0-abc", "FailedMount", NO_NFS)],
            (
                'rank 0 on gpu1 has not begun: FailedMount: MountVolume.SetUp failed for volume "nfs" : '
                "mount failed: exit status 32 Output: mount.nfs: Connection refused"
            ),
        ),
        (
            [warning("train-0-abc", "FailedCreatePodSandBox", "no network")],
            "rank 0 on gpu1 has not begun: FailedCreatePodSandBox: no network",
        ),
        (
            [warning("train-0-abc", "FailedMount", "old"), warning("train-0-abc", "FailedAttachVolume", "new")],
            "rank 0 on gpu1 has not begun: FailedAttachVolume: new",
        ),
        # One that has begun had its troubles before.
        ([warning("train-1-abc", "FailedMount", "no")], ""),
        ([{**warning("train-0-abc", "Pulling", "image"), "type": "Normal"}], ""),
    ],
)
def test_what_events_say_where_nothing_else_does(events: list[dict[str, Any]], said: str) -> None:
    ranks = ranks_of([pod(0, "Pending", waiting={"reason": "ContainerCreating"}), pod(1)])
    assert why_waiting(spec(nodes=3), ranks, events) == said


def test_pods_that_were_made_in_the_end_are_not_told_as_refused() -> None:
    ranks = ranks_of([pod(0, "Pending", waiting={"reason": "ContainerCreating"})])
    events = [warning("train-0-abc", "FailedMount", "no"), warning("train", "FailedCreate", "exceeded quota", "Job")]
    assert why_waiting(spec(nodes=2), ranks, events) == "its pods cannot be made: exceeded quota"
    assert why_waiting(spec(nodes=1), ranks, events) == "rank 0 on gpu1 has not begun: FailedMount: no"


def test_a_volume_that_cannot_be_mounted_is_told_in_the_end() -> None:
    cluster = FakeCluster([pod(0, "Pending", waiting={"reason": "ContainerCreating"}), pod(1)])
    cluster.events = [warning("train-0-abc", "FailedMount", "mount.nfs: Connection refused")]
    (problem,) = follow(cluster, start_s=0.02)[0].problems
    assert problem.message.endswith("rank 0 on gpu1 has not begun: FailedMount: mount.nfs: Connection refused")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"gpus": 9}, "2 pods with 9 GPUs each: the largest node has 8"),
        ({"nodes": 3, "gpus": 8}, "3 pods with 8 GPUs each: the cluster's 16 GPUs on 2 nodes have room for 2"),
        ({"nodes": 3, "gpus": 5}, "3 pods with 5 GPUs each: the cluster's 16 GPUs on 2 nodes have room for 2"),
    ],
)
def test_more_than_the_cluster_has_is_refused(changes: dict[str, Any], said: str) -> None:
    cluster = FakeCluster()
    assert refused(cluster, spec(**{"nodes": 2, **changes})) == [f"job-too-large: {said}"]
    assert not [path for path in cluster.there if path.endswith("/train")]


def test_a_cluster_without_gpus_is_told() -> None:
    cluster = FakeCluster()
    cluster.nodes = [node("cp1", 0)]
    assert refused(cluster, spec()) == ["job-too-large: 1 pods with 1 GPUs each: no node has any"]


def test_a_name_that_is_taken_is_refused_and_left() -> None:
    cluster = FakeCluster()
    cluster.there["/apis/batch/v1/namespaces/default/jobs/train"] = {}
    assert refused(cluster, spec()) == ["job-name-taken: Job default/train is there already"]
    assert cluster.deleted == []


def test_pods_of_another_job_of_that_name_are_refused() -> None:
    """Of another launcher: pods are found by the name that their label has, and would be judged together."""
    cluster = FakeCluster(DONE)
    cluster.earlier = [ended(0, 1, T1), ended(1, 0, T1)]
    said = "job-name-taken: pods of another job train are in default: train-0-abc, train-1-abc"
    assert refused(cluster, spec(nodes=2)) == [said]
    assert cluster.posted == []


def test_pods_of_an_earlier_run_that_still_end_are_refused() -> None:
    cluster = FakeCluster(DONE)
    cluster.earlier = [{**pod(0), "metadata": {**pod(0)["metadata"], "deletionTimestamp": T1}}]
    said = "job-name-taken: pods of an earlier job train are still ending in default: train-0-abc"
    assert refused(cluster, spec(nodes=2)) == [said]


def test_a_taken_name_is_told_once() -> None:
    cluster = FakeCluster(DONE)
    cluster.there["/apis/batch/v1/namespaces/default/jobs/train"] = {}
    cluster.earlier = [pod(0)]
    assert refused(cluster, spec(nodes=2)) == ["job-name-taken: Job default/train is there already"]


HERE = "/api/v1/namespaces/default"
# What a kubeconfig with rights in one namespace may not: all of it only saves a job that cannot run.
ELSEWHERE = ("/api/v1/nodes", "/apis/node.k8s.io", "/apis/scheduling.volcano.sh/v1beta1/queues")
NO_RIGHT = 'jobs.batch is forbidden: User "ann" cannot create resource "jobs" in API group "batch" in the namespace'


def test_rights_in_one_namespace_suffice() -> None:
    cluster = FakeCluster(DONE)
    cluster.forbidden = (*ELSEWHERE, f"{HERE}/events", f"{HERE}/services", "/apis/batch/v1/namespaces/default/jobs")
    job = without_missing_class(cluster, spec(nodes=2, gpus=8))
    assert job.runtime_class == "nvidia"
    assert follow(cluster, job)[0].exit_code is ExitCode.OK


def test_a_namespace_and_a_queue_that_may_not_be_read_are_taken_as_there() -> None:
    cluster = FakeCluster([])
    cluster.refuses["Job"] = ApiError(422, "no")  # so far it comes
    reading = cluster.get

    def get(path: str, query: Mapping[str, str] | None = None) -> dict[str, Any] | None:
        if path in (HERE, "/apis/batch.volcano.sh/v1alpha1", "/apis/scheduling.volcano.sh/v1beta1/queues/mine"):
            raise ApiError(403, "forbidden")
        return reading(path, query)

    cluster.get = get  # type: ignore[method-assign]
    (said,) = refused(cluster, spec(Launcher.VOLCANO, queue="mine"))
    assert said.startswith("job-refused: ")


def test_a_right_to_read_pods_that_is_missing_is_named() -> None:
    cluster = FakeCluster([pod(0)])
    cluster.forbidden = (f"{HERE}/pods",)
    assert refused(cluster, spec()) == ["job-forbidden: this kubeconfig may not list pods in namespace default"]
    assert cluster.posted == []


def test_a_right_to_make_objects_that_is_missing_is_named() -> None:
    cluster = FakeCluster([])
    cluster.refuses["Job"] = ApiError(403, f'{NO_RIGHT} "default"')
    with pytest.raises(GpuctlError) as caught:
        run_job(cluster, spec(), Following(), Silent())
    (problem,) = caught.value.problems
    assert (problem.code, problem.message) == (
        "job-forbidden",
        "this kubeconfig may not create jobs.batch in namespace default",
    )
    assert "kubectl -n default auth can-i create jobs.batch" in problem.fix
    assert problem.details.startswith("jobs.batch is forbidden")


def test_what_a_missing_right_leaves_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(making, "GONE_S", 0.02)
    cluster = FakeCluster([])
    cluster.refuses["Job"] = ApiError(403, NO_RIGHT)
    cluster.keeps[SERVICE] = EVER
    (said,) = refused(cluster, spec())
    assert said.endswith("; it could not be deleted: kubectl -n default delete services/train")


def test_a_quota_is_no_missing_right() -> None:
    cluster = FakeCluster([])
    cluster.refuses["Job"] = ApiError(403, 'jobs.batch "train" is forbidden: exceeded quota: q')
    (said,) = refused(cluster, spec())
    assert said.startswith("job-refused: Job default/train was refused: jobs.batch")


def test_a_right_that_is_taken_away_in_the_middle_is_named() -> None:
    cluster = FakeCluster([pod(0), pod(1)])

    def forbid() -> None:
        if not cluster.deleted:
            raise ApiError(403, "pods is forbidden")

    cluster.looked = forbid
    (problem,) = follow(cluster)[0].problems
    assert (problem.code, problem.message) == (
        "job-forbidden",
        "this kubeconfig may not list pods in namespace default",
    )


def test_an_api_that_does_not_answer_is_told_as_such() -> None:
    cluster = FakeCluster([])

    def get(_path: str, _query: Mapping[str, str] | None = None) -> dict[str, Any] | None:
        raise ApiError(500, "etcd")

    cluster.get = get  # type: ignore[method-assign]
    assert refused(cluster, spec()) == ["cluster-unreachable: etcd"]


def test_a_namespace_that_is_not_there() -> None:
    assert refused(FakeCluster(), spec(namespace="ml")) == ["job-namespace-unknown: there is no namespace ml"]


@pytest.mark.parametrize("launcher", [Launcher.VOLCANO, Launcher.PYTORCHJOB, Launcher.JOBSET])
def test_a_launcher_that_is_not_installed(launcher: Launcher) -> None:
    (said,) = refused(FakeCluster(), spec(launcher))
    assert said.startswith("job-launcher-missing: the cluster knows no ")


def test_a_runtime_class_that_is_not_there() -> None:
    cluster = FakeCluster()
    del cluster.there["/apis/node.k8s.io/v1/runtimeclasses/nvidia"]
    assert refused(cluster, spec()) == ["job-runtime-class-unknown: the cluster has no runtime class nvidia"]
    assert without_missing_class(cluster, spec()).runtime_class == ""
    assert without_missing_class(FakeCluster(), spec()) == spec()


def test_a_queue_that_volcano_does_not_know() -> None:
    cluster = FakeCluster()
    cluster.there["/apis/batch.volcano.sh/v1alpha1"] = {"resources": [{"name": "jobs"}]}
    assert refused(cluster, spec(Launcher.VOLCANO, queue="mine")) == ["job-queue-unknown: Volcano has no queue mine"]


@pytest.mark.parametrize(
    ("volcano", "queue", "said"),
    [
        (True, "nowhere", ["job-queue-unknown: Volcano has no queue nowhere"]),
        (True, "mine", []),
        (False, "nowhere", []),
    ],
)
def test_a_queue_of_a_pytorchjob_that_volcano_does_not_know(volcano: bool, queue: str, said: list[str]) -> None:
    """Its pods would wait for ever, where Volcano begins them; elsewhere nobody minds the queue."""
    cluster = FakeCluster()
    cluster.there["/apis/kubeflow.org/v1"] = {"resources": [{"name": "pytorchjobs"}]}
    if volcano:
        cluster.there["/apis/scheduling.volcano.sh/v1beta1"] = {"resources": [{"name": "queues"}]}
        cluster.there["/apis/scheduling.volcano.sh/v1beta1/queues/mine"] = {}
    job = spec(Launcher.PYTORCHJOB, queue=queue)
    assert [f"{problem.code}: {problem.message}" for problem in refusals(cluster, job, render(job))] == said


def test_what_the_api_refuses_leaves_nothing() -> None:
    cluster = FakeCluster()
    cluster.refuses["Job"] = ApiError(422, "pods is forbidden: exceeded quota")
    assert refused(cluster, spec()) == ["job-refused: Job default/train was refused: pods is forbidden: exceeded quota"]
    assert "/api/v1/namespaces/default/services/train" in cluster.deleted


EVER = 10**9
JOB, SERVICE = "/apis/batch/v1/namespaces/default/jobs/train", "/api/v1/namespaces/default/services/train"


def test_what_somebody_else_makes_meanwhile_is_theirs() -> None:
    cluster = FakeCluster()
    cluster.refuses["Job"] = ApiError(409, 'jobs.batch "train" already exists')
    assert refused(cluster, spec()) == ["job-name-taken: Job default/train is there already"]
    assert cluster.deleted == [SERVICE]


def test_pods_of_somebody_else_are_not_waited_for() -> None:
    cluster = FakeCluster([pod(0)])
    cluster.refuses["Service"] = ApiError(409, 'services "train" already exists')
    cluster.looked = lambda: pytest.fail("looked for pods")
    assert refused(cluster, spec()) == ["job-name-taken: Service default/train is there already"]
    assert cluster.deleted == []


def test_a_quota_that_changes_meanwhile_is_no_taken_name() -> None:
    cluster = FakeCluster()
    cluster.refuses["Job"] = ApiError(409, 'Operation cannot be fulfilled on resourcequotas "q": try again')
    (said,) = refused(cluster, spec())
    assert said.startswith("job-refused: Job default/train was refused: Operation cannot be fulfilled")


@pytest.mark.parametrize("status", [0, 504])
def test_what_may_have_been_made_is_deleted(status: int) -> None:
    """No answer in time: the API may have made it all the same."""
    cluster = FakeCluster()
    cluster.refuses["Job"] = ApiError(status, "timed out")
    refused(cluster, spec())
    assert cluster.deleted == [JOB, SERVICE]


def test_a_delete_that_fails_is_tried_again() -> None:
    cluster = FakeCluster(DONE)
    cluster.keeps[JOB] = 2
    result = follow(cluster)[0]
    assert (result.deleted, result.left) == (True, ())
    assert cluster.deleted == [SERVICE, JOB]


def test_what_cannot_be_deleted_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(making, "GONE_S", 0.02)
    cluster = FakeCluster(DONE)
    cluster.keeps[JOB] = EVER
    result, _, notes = follow(cluster)
    assert (result.deleted, result.left) == (False, ("jobs.batch/train",))
    assert notes[-1] == "it could not be deleted: kubectl -n default delete jobs.batch/train"
    assert run_screen(result)[-1].endswith("; it could not be deleted: kubectl -n default delete jobs.batch/train")


def test_what_cannot_be_deleted_is_told_after_ctrl_c(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(making, "GONE_S", 0.02)
    cluster = FakeCluster([pod(0), pod(1)])
    cluster.keeps = {JOB: EVER, SERVICE: EVER}
    notes = Notes()

    def interrupt(_rank: Rank, _line: str) -> None:
        raise KeyboardInterrupt

    cluster.logs = {"train-0-abc": f"{T1} word\n"}
    with pytest.raises(KeyboardInterrupt):
        run_job(cluster, spec(nodes=2), Following(said=interrupt), notes)
    assert notes.said[-1] == "it could not be deleted: kubectl -n default delete jobs.batch/train services/train"


def test_pods_that_still_end_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(making, "GONE_S", 0.02)
    cluster = FakeCluster(DONE)
    cluster.lingering = True
    result, _, notes = follow(cluster)
    assert (result.deleted, result.left) == (True, ())
    assert notes[-1] == "pods of default/train are still ending"
    assert run_screen(result)[-1].endswith("; it is deleted")


def test_what_a_refused_job_leaves_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(making, "GONE_S", 0.02)
    cluster = FakeCluster()
    cluster.refuses["Job"] = ApiError(422, "no")
    cluster.keeps[SERVICE] = EVER
    (said,) = refused(cluster, spec())
    assert said == (
        "job-refused: Job default/train was refused: no; "
        "it could not be deleted: kubectl -n default delete services/train"
    )


@pytest.mark.parametrize(
    ("launcher", "name"),
    [
        (Launcher.JOB, "jobs.batch/train"),
        (Launcher.VOLCANO, "jobs.batch.volcano.sh/train"),
        (Launcher.PYTORCHJOB, "pytorchjobs.kubeflow.org/train"),
        (Launcher.JOBSET, "jobsets.jobset.x-k8s.io/train"),
    ],
)
def test_names_of_objects_for_kubectl(launcher: Launcher, name: str) -> None:
    assert kubectl_name(render(spec(launcher))[-1]) == name


def test_ctrl_c_takes_the_job_away() -> None:
    cluster = FakeCluster([pod(0), pod(1)])

    def interrupt() -> None:
        if not cluster.deleted:
            raise KeyboardInterrupt

    cluster.looked = interrupt
    with pytest.raises(KeyboardInterrupt):
        follow(cluster)
    assert len(cluster.deleted) == 2


def test_an_api_that_goes_away_is_not_waited_for_for_ever() -> None:
    cluster = FakeCluster([pod(0), pod(1)])

    def silent() -> None:
        if not cluster.deleted:
            raise ApiError(0, "the API server does not answer")

    cluster.looked = silent
    (problem,) = follow(cluster)[0].problems
    assert problem.code == "cluster-unreachable"
