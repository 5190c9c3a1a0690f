"""Why a job does not begin, in words."""

from __future__ import annotations

from typing import Any

import pytest

from bootstrap.jobs.ranks import ranks_of
from bootstrap.jobs.spec import Launcher
from bootstrap.jobs.waiting import own_events, why_waiting
from tests.unit.jobs.cluster import FakeCluster, pod, unplaced
from tests.unit.jobs.following import NO_GPUS, T1, T2, follow
from tests.unit.jobs.test_render import spec

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
        (
            [unplaced(0, "0/3 nodes are available: 1 Insufficient nvidia.com/gpu, 2 node(s) were unschedulable.")],
            [],
            "rank 0 has no node: no node has 8 GPUs free (cordoned nodes, which take no pods: 2)",
        ),
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
        ([{**warning("train-0-abc", "Pulling", "image"), "type": "Normal"}], "the image is being pulled on gpu1"),
        # What has passed: it has a place by now, and the kubelet has heard of its files.
        ([warning("train-0-abc", "FailedScheduling", "0/3 nodes are available")], ""),
        ([warning("train-0-abc", "FailedMount", "failed to sync configmap cache")], ""),
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
