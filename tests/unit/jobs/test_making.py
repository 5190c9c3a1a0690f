"""The objects of a job: all or none are made, and those that are ours are deleted."""

from __future__ import annotations

import pytest

from bootstrap.errors import GpuctlError
from bootstrap.exit_codes import ExitCode
from bootstrap.jobs import making
from bootstrap.jobs.objects import kubectl_name
from bootstrap.jobs.ranks import Rank
from bootstrap.jobs.render import render
from bootstrap.jobs.run import Following, run_job
from bootstrap.jobs.spec import Launcher
from bootstrap.kube.client import ApiError
from bootstrap.ui.job import run_screen
from tests.unit.jobs.cluster import FakeCluster, pod
from tests.unit.jobs.following import DONE, EVER, JOB, SERVICE, T1, Notes, follow, refused
from tests.unit.jobs.test_render import spec


def test_what_the_api_refuses_leaves_nothing() -> None:
    cluster = FakeCluster()
    cluster.refuses["Job"] = ApiError(422, "pods is forbidden: exceeded quota")
    assert refused(cluster, spec()) == ["job-refused: Job default/train was refused: pods is forbidden: exceeded quota"]
    assert "/api/v1/namespaces/default/services/train" in cluster.deleted


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
    with pytest.raises(GpuctlError) as caught:
        run_job(cluster, spec(nodes=2), Following(said=interrupt), notes)
    (problem,) = caught.value.problems
    assert problem.message.startswith("interrupted; it could not be deleted: kubectl -n default delete")
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
    with pytest.raises(GpuctlError) as caught:
        follow(cluster)
    assert caught.value.exit_code is ExitCode.INTERRUPTED
    assert [problem.message for problem in caught.value.problems] == ["interrupted; job default/train is deleted"]
    assert len(cluster.deleted) == 2


def test_ctrl_c_leaves_a_job_that_is_to_be_kept() -> None:
    cluster = FakeCluster([pod(0), pod(1)])
    cluster.looked = _interrupt
    with pytest.raises(GpuctlError) as caught:
        follow(cluster, keep=True)
    assert [problem.message for problem in caught.value.problems] == [
        "interrupted; job default/train is kept, and goes on"
    ]
    assert cluster.deleted == []


def _interrupt() -> None:
    raise KeyboardInterrupt
