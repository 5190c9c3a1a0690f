"""A whole trial against a server and a cluster of this file: what is asked, what is told, and what is cleaned up."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import pytest

from bootstrap.errors import GpuctlError, Problem
from bootstrap.exit_codes import ExitCode
from bootstrap.kube.client import ApiError
from bootstrap.launch.trial import Queue, try_queue
from bootstrap.launch.trial_cluster import Api
from bootstrap.launch.trial_model import Agent, Item, Stage, StageState, TrialResult
from bootstrap.ui.launch_test import trial_screen
from tests.unit.launch.kube_fixture import NAMESPACE, FakeCluster
from tests.unit.launch.trial_examples import ASKED, POLLING

GPUS = {"gpus": {"type": "integer", "default": 1, "minimum": 1, "maximum": 8}}
CONFIG = {
    "metadata": {"namespace": NAMESPACE},
    "spec": {"template": {"spec": {"containers": [{"resources": {"limits": {"nvidia.com/gpu": "{{gpus}}"}}}]}}},
}
AWAY = GpuctlError(ExitCode.PREFLIGHT, Problem("launch-server-unreachable", "the W&B server does not answer", "wait"))


class FakeServer:
    """A W&B server whose agent takes an item at a given look and makes a Job in the fake cluster."""

    def __init__(self, cluster: FakeCluster, takes_at: int = 2) -> None:
        self.cluster, self.takes_at = cluster, takes_at
        self.looks = 0
        self.calls: list[str] = []
        self.submitted: list[tuple[Mapping[str, Any], int | None]] = []
        self.there = True
        self.agent: tuple[Agent, ...] = (POLLING,)
        self.away_from = 10**6
        self.away_until = 10**6
        self.interrupt_at = 10**6
        self.refusal = ""
        self.keeps_pending_items = False

    def queue(self) -> Queue:
        self.calls.append("queue")
        return Queue(GPUS, CONFIG)

    def submit(self, spec: Mapping[str, Any], gpus: int | None) -> str:
        self.calls.append("submit")
        self.submitted.append((spec, gpus))
        return "item1"

    def item(self, item_id: str) -> Item | None:
        assert item_id == "item1"
        self.looks += 1
        if self.looks == self.interrupt_at:
            raise KeyboardInterrupt
        if self.away_from <= self.looks < self.away_until:
            raise AWAY
        if not self.there:
            return None
        if self.looks < self.takes_at:
            return Item(item_id, "PENDING")
        if self.refusal:
            return Item(item_id, "FAILED", "", self.refusal)
        self.cluster.make_job("abcd1234", item_id)
        return Item(item_id, "DONE" if self.cluster.ended else "CLAIMED", "abcd1234")

    def agents(self) -> tuple[Agent, ...]:
        return self.agent

    def run_state(self, run_id: str) -> str:
        assert run_id == "abcd1234"
        return "finished" if self.cluster.ended else "running"

    def withdraw(self, item_id: str) -> None:
        self.calls.append(f"withdraw {item_id}")
        self.there = self.keeps_pending_items


class Told:
    """A Progress that writes down what it is told."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def started(self, host: str, step: str) -> None:
        self.lines.append(f"{host} {step}")

    def task(self, host: str, step: str, title: str) -> None:
        self.lines.append(f"{host} {step}: {title}")

    def done(self, host: str, step: str, elapsed: float) -> None:
        self.lines.append(f"{host} {step} done in {elapsed:.0f}")

    def failed(self, host: str, step: str, message: str) -> None:
        self.lines.append(f"{host} {step} failed: {message}")

    def note(self, message: str) -> None:
        self.lines.append(message)


class Clock:
    """Time goes on only while somebody waits."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now

    def pause(self, seconds: float) -> None:
        self.now += seconds


def reached(cluster: Api) -> contextlib.AbstractContextManager[Api]:
    return contextlib.nullcontext(cluster)


@pytest.fixture
def cluster() -> FakeCluster:
    return FakeCluster()


@pytest.fixture
def server(cluster: FakeCluster) -> FakeServer:
    return FakeServer(cluster)


def trial(server: FakeServer, told: Told | None = None, **changes: Any) -> TrialResult:
    clock = Clock()
    asked = replace(ASKED, **changes)
    return try_queue(asked, server, reached(server.cluster), told or Told(), clock=clock, pause=clock.pause)


def stopped_at(result: TrialResult) -> Stage:
    return next(stage.stage for stage in result.stages if stage.state is StageState.FAILED)


def test_a_job_that_passes(server: FakeServer) -> None:
    told = Told()
    result = trial(server, told)

    assert result.exit_code is ExitCode.OK
    assert (result.item, result.run, result.node, result.gpus_seen) == ("item1", "abcd1234", "gpu1", 2)
    assert (result.left, result.problems, result.withdrawn) == ((), (), False)
    assert all(stage.state is StageState.OK for stage in result.stages)
    assert server.calls == ["queue", "submit"]
    assert [line for line in told.lines if " done in " in line] == [
        "gpu queue done in 0", "gpu agent done in 1", "gpu job done in 1", "gpu pod done in 2", "gpu gpu done in 0",
        "gpu result done in 2",
    ]  # fmt: skip
    assert "gpu pod: launch-x-1 on gpu1 Pending: ContainerCreating" in told.lines


def test_the_job_is_sent_as_the_client_would(server: FakeServer) -> None:
    trial(server)
    ((spec, gpus),) = server.submitted

    assert gpus == 2
    assert set(spec) == {"overrides", "entity", "project", "name", "docker", "resource", "git"}
    assert (spec["resource"], spec["git"], spec["docker"]) == (None, {}, {"docker_image": ASKED.image})
    program, flag, text = spec["overrides"]["entry_point"]
    assert (program, flag) == ("python3", "-c")
    assert not [sign for sign in ("${", "{{", "$(", "$$") if sign in text]  # Launch or Kubernetes would fill them in
    compile(text, "hello", "exec")


def test_without_a_number_the_default_of_the_queue_must_be_seen(server: FakeServer) -> None:
    result = trial(server, gpus=None)

    assert server.submitted[0][1] is None
    assert (result.asked.gpus, stopped_at(result)) == (1, Stage.GPU)  # the fake pod sees two
    assert result.problems[0].code == "launch-gpus-wrong"


def test_out_of_bounds_nothing_is_submitted(server: FakeServer) -> None:
    result = trial(server, gpus=9)

    assert (result.exit_code, stopped_at(result)) == (ExitCode.SETTINGS, Stage.QUEUE)
    assert [p.code for p in result.problems] == ["launch-variable-bounds"]
    assert server.calls == ["queue"]


def test_a_cluster_out_of_reach_is_found_before_anything_is_submitted(server: FakeServer) -> None:
    @contextlib.contextmanager
    def unreachable() -> Iterator[Api]:
        raise GpuctlError(ExitCode.PREFLIGHT, Problem("ssh-unreachable", "no route to host"))
        yield

    with pytest.raises(GpuctlError, match="no route"):
        try_queue(ASKED, server, unreachable(), Told())
    assert server.calls == ["queue"]


def test_what_the_server_refuses_is_told_as_its_own_words(server: FakeServer, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> str:
        raise GpuctlError(ExitCode.PREFLIGHT, Problem("launch-refused", "the W&B server says: value out of range"))

    monkeypatch.setattr(server, "submit", refuse)
    result = trial(server)

    assert (result.exit_code, stopped_at(result), result.item) == (ExitCode.PREFLIGHT, Stage.QUEUE, "")
    assert result.problems[0].message == "the W&B server says: value out of range"


def test_an_item_that_nobody_takes_is_withdrawn(server: FakeServer) -> None:
    server.agent, server.takes_at = (), 10**6
    result = trial(server)

    assert (result.exit_code, stopped_at(result)) == (ExitCode.NOT_READY, Stage.AGENT)
    assert result.problems[0].code == "launch-agent-unseen"
    assert (result.withdrawn, result.left) == (True, ())
    assert server.calls == ["queue", "submit", "withdraw item1"]
    assert 30.0 <= result.elapsed_s <= 33.0


def test_an_item_that_stays_after_its_withdrawal_is_named(server: FakeServer) -> None:
    server.agent, server.takes_at, server.keeps_pending_items = (), 10**6, True
    result = trial(server)

    assert not result.withdrawn
    assert [(each.kind, each.name, each.state) for each in result.left] == [("item", "item1", "PENDING")]


def test_ctrl_c_withdraws_what_nobody_took(server: FakeServer) -> None:
    server.takes_at, server.interrupt_at = 10**6, 4
    result = trial(server)

    assert result.exit_code is ExitCode.INTERRUPTED
    assert result.withdrawn
    assert result.problems[0].message == "interrupted; the item was withdrawn, nothing is left over"


def test_ctrl_c_deletes_a_job_that_has_not_begun(server: FakeServer) -> None:
    server.cluster.stuck = "no_place"
    server.interrupt_at = 4
    result = trial(server)

    assert result.exit_code is ExitCode.INTERRUPTED
    assert (result.withdrawn, result.removed) == (False, f"{NAMESPACE}/launch-x")
    assert server.cluster.deleted == [f"/apis/batch/v1/namespaces/{NAMESPACE}/jobs/launch-x"]
    assert f"Job {NAMESPACE}/launch-x was deleted" in result.problems[0].message


def test_a_job_that_has_no_place_does_not_keep_its_agent(server: FakeServer) -> None:
    server.cluster.stuck = "no_place"
    result = trial(server)

    assert result.exit_code is ExitCode.NOT_READY
    assert result.removed == f"{NAMESPACE}/launch-x"
    assert [each.kind for each in result.left] == ["item"]


def test_ctrl_c_names_the_job_that_may_not_be_deleted(server: FakeServer) -> None:
    server.cluster.stuck = "no_place"
    server.cluster.keeps_jobs = True
    server.interrupt_at = 4
    result = trial(server)

    assert result.left[0].remove == f"kubectl delete job -n {NAMESPACE} launch-x"
    assert f"Job {NAMESPACE}/launch-x (runs on)" in result.problems[0].message
    assert result.problems[0].fix == result.left[0].remove


def test_ctrl_c_names_a_job_that_was_not_seen_before(server: FakeServer) -> None:
    server.cluster.stuck = "no_place"
    server.cluster.keeps_jobs = True
    server.cluster.jump()
    server.takes_at, server.interrupt_at = 2, 2
    result = trial(server)

    assert [each.name for each in result.left] == [f"{NAMESPACE}/launch-x", "item1"]


def test_ctrl_c_after_the_agent_took_the_item_and_before_its_job_names_the_run(server: FakeServer) -> None:
    server.takes_at, server.interrupt_at = 2, 2
    result = trial(server)

    (left,) = result.left
    assert (left.kind, left.state) == ("item", "CLAIMED as run abcd1234, the agent should close it")


def test_a_second_ctrl_c_still_names_the_item(server: FakeServer, monkeypatch: pytest.MonkeyPatch) -> None:
    server.takes_at, server.interrupt_at = 10**6, 4

    def again(_item: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(server, "withdraw", again)
    result = trial(server)

    assert [each.remove for each in result.left] == ["gpuctl launch test -q gpu -e team --withdraw item1"]


def test_ctrl_c_while_submitting_says_that_the_job_may_be_there(
    server: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object) -> str:
        raise KeyboardInterrupt

    monkeypatch.setattr(server, "submit", interrupt)
    result = trial(server)

    assert result.exit_code is ExitCode.INTERRUPTED
    assert "it may be there" in result.problems[0].message
    assert result.unsure
    assert not any("nothing" in line for line in trial_screen(result))


def test_a_server_that_falls_silent_while_it_takes_the_job_may_have_it(
    server: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def silent(*_: object) -> str:
        raise AWAY

    monkeypatch.setattr(server, "submit", silent)
    result = trial(server)

    assert (result.exit_code, result.unsure) == (ExitCode.PREFLIGHT, True)
    assert "may have come into the queue" in result.problems[0].details


def test_ctrl_c_before_that_says_that_nothing_is_there(server: FakeServer, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt() -> Queue:
        raise KeyboardInterrupt

    monkeypatch.setattr(server, "queue", interrupt)
    result = trial(server)

    assert (result.exit_code, result.item) == (ExitCode.INTERRUPTED, "")
    assert result.problems[0].message == "interrupted before the job was put into its queue"


def test_ctrl_c_just_after_that_names_the_item(server: FakeServer) -> None:
    class Interrupting(Told):
        def done(self, *_: object) -> None:
            raise KeyboardInterrupt

    result = trial(server, Interrupting())

    assert result.problems[0].message == "interrupted; left over: item item1"
    assert result.problems[0].fix == "gpuctl launch test -q gpu -e team --withdraw item1"


def test_what_the_agent_refuses(server: FakeServer) -> None:
    server.refusal = "Unsafe resource_args.kubernetes option 'hostPath' is not allowed: hostPath volumes"
    result = trial(server)

    assert (stopped_at(result), result.problems[0].code) == (Stage.JOB, "launch-item-refused")
    assert result.left == ()


@pytest.mark.parametrize(
    ("stuck", "code"),
    [
        ("no_place", "launch-gpus-too-many"),
        ("image", "image-pull-failed"),
        ("crash", "launch-pod-crashed"),
        ("one_gpu", "launch-gpus-wrong"),
        ("unregistered", "launch-run-unregistered"),
        ("quota", "launch-pod-missing"),
    ],
)
def test_where_a_job_stops_in_the_cluster(server: FakeServer, stuck: str, code: str) -> None:
    server.cluster.stuck = stuck
    result = trial(server)

    assert result.exit_code is ExitCode.NOT_READY
    assert [p.code for p in result.problems] == [code]
    assert all(problem.fix for problem in result.problems)


def test_a_server_that_is_away_for_a_while_costs_nothing(server: FakeServer) -> None:
    server.away_from, server.away_until = 2, 42
    result = trial(server)

    assert result.exit_code is ExitCode.OK
    assert result.elapsed_s > 40.0


def test_an_outage_while_nobody_took_the_item_is_not_blamed_on_the_agent(server: FakeServer) -> None:
    server.takes_at, server.away_from, server.away_until = 90, 20, 75
    result = trial(server)

    assert result.exit_code is ExitCode.OK


def test_a_server_that_stays_away_leaves_an_item_that_is_named(server: FakeServer) -> None:
    server.takes_at, server.away_from = 10**6, 3
    result = trial(server)

    assert result.exit_code is ExitCode.PREFLIGHT
    assert result.problems[0].code == "launch-server-unreachable"
    assert [(each.name, each.state) for each in result.left] == [("item1", "PENDING")]


def test_an_api_server_that_refuses(server: FakeServer) -> None:
    server.cluster.error = ApiError(403, "pods is forbidden")
    result = trial(server)

    assert (result.exit_code, result.problems[0].code) == (ExitCode.PREFLIGHT, "launch-cluster-denied")
    assert result.problems[0].message == "the API server refuses: pods is forbidden"


def test_a_user_who_may_see_only_one_namespace(server: FakeServer) -> None:
    server.cluster.only_namespace = True
    assert trial(server).exit_code is ExitCode.OK


def test_the_json_form_has_no_program_and_no_enums(server: FakeServer) -> None:
    data = trial(server).as_dict()

    assert set(data) == {
        "entity", "queue", "project", "image", "gpus", "stages", "elapsed_s", "item", "run", "node", "gpus_seen",
        "withdrawn", "removed", "left", "unsure",
    }  # fmt: skip
    assert data["stages"][0] == {
        "stage": "queue",
        "state": "ok",
        "elapsed_s": 0.0,
        "seen": "gpus=2 of 1 to 8; item item1",
    }
