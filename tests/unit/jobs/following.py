"""Run a job on a cluster that is none, and keep what it said."""

from __future__ import annotations

from typing import Any

import pytest

from bootstrap.errors import GpuctlError
from bootstrap.exit_codes import ExitCode
from bootstrap.jobs.run import Following, JobResult, run_job
from bootstrap.jobs.spec import JobSpec
from bootstrap.progress import Silent
from tests.unit.jobs.cluster import FakeCluster, ended
from tests.unit.jobs.test_render import spec

T1, T2 = "2026-11-23T10:00:01Z", "2026-11-23T10:00:02Z"
NO_GPUS = "0/3 nodes are available: 1 node(s) had untolerated taint {dedicated: x}, 2 Insufficient nvidia.com/gpu."
EVER = 10**9
JOB, SERVICE = "/apis/batch/v1/namespaces/default/jobs/train", "/api/v1/namespaces/default/services/train"
DONE = [ended(0, 0, T1), ended(1, 0, T2)]


class Notes(Silent):
    def __init__(self) -> None:
        self.said: list[str] = []

    def note(self, message: str) -> None:
        self.said.append(message)


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
