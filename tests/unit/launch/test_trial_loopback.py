"""`gpuctl launch test` as a whole, over loopback: the double of the W&B API, and one Job of a cluster."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bootstrap.cli.main import main
from bootstrap.hostside.gpuctl_wandb import PROJECT, Server
from bootstrap.launch import trial
from bootstrap.launch.trial_model import Limits
from tests.doubles.wandb_api import Double, running
from tests.unit.launch.kube_fixture import FakeCluster
from tests.unit.launch.loopback import RUN, LoopbackAgent, kubeconfig, make_queue

SHORT = functools.partial(Limits, no_agent_s=1.0, not_taken_s=1.0, outage_s=2.0)


@pytest.fixture
def double() -> Iterator[Double]:
    with running() as double:
        make_queue(double)
        yield double


class Command:
    """The command line, with everything on loopback."""

    def __init__(self, double: Double, config: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self._double, self._config, self._capsys = double, config, capsys
        self.out = self.err = ""

    def __call__(self, *words: str, queue: str = "gpu") -> int:
        common = ["-q", queue, "-e", self._double.entity, "--base-url", self._double.url]
        code = main(["launch", "test", *common, "--kubeconfig", str(self._config), *words])
        self.out, self.err = self._capsys.readouterr()
        return code


@pytest.fixture
def cluster() -> FakeCluster:
    return FakeCluster()


@pytest.fixture
def command(
    double: Double,
    cluster: FakeCluster,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Iterator[Command]:
    monkeypatch.setenv("WANDB_API_KEY", double.api_key)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setattr(trial, "_PAUSE_S", 0.1)
    monkeypatch.setattr(trial, "Limits", SHORT)
    with kubeconfig(cluster, tmp_path) as config:
        yield Command(double, config, capsys)


def operations(double: Double) -> list[str]:
    return [line["op"] for line in double.log()]


def items(double: Double) -> dict[str, Any]:
    found: dict[str, Any] = double.state()["items"]
    return found


def test_a_job_that_passes(command: Command, double: Double, cluster: FakeCluster, tmp_path: Path) -> None:
    with LoopbackAgent(double, cluster).running() as agent:
        code = command("--gpus", "2", "-p", "Trials")

    assert code == 0, command.err
    lines = [re.sub(r"\d+\.\d s|\d+ s", "T", line) for line in command.out.splitlines()]
    agent_name = next(iter(double.state()["agents"].values()))["name"]
    assert lines == [
        "  queue    ✓   T   gpus=2 of 1 to 8; item 1",
        f"  agent    ✓   T   taken by agent {agent_name} on gpu1",
        "  job      ✓   T   Job jobs/launch-x",
        "  pod      ✓   T   launch-x-1 on gpu1",
        "  gpu      ✓   T   sees 2 of 2",
        f"  result   ✓   T   run {RUN} finished, item FINISHED",
        "passed in T: a job from queue lab/gpu ran on gpu1 and saw 2 GPUs",
    ]
    assert agent.spec["resource_args"]["kubernetes"]["spec"]["template"]["spec"]["containers"] == [
        {"resources": {"limits": {"nvidia.com/gpu": 2}}}
    ]
    assert [(item["state"], item["associatedRunId"]) for item in items(double).values()] == [("FINISHED", RUN)]
    asked = operations(double)
    assert asked.count("pushToRunQueueByName") == 1
    assert {"UpsertBucket", "file_stream", "RunState", "GetRunQueueItem", "LaunchAgents"} <= set(asked)
    assert "DeleteFromRunQueue" not in asked
    written = "".join(p.read_text() for p in (tmp_path / "state").rglob("*") if p.is_file())
    assert double.api_key not in written + command.out + command.err


def test_json_is_one_document(command: Command, double: Double, cluster: FakeCluster) -> None:
    with LoopbackAgent(double, cluster).running():
        code = command("--gpus", "2", "--output", "json")

    document = json.loads(command.out)
    assert (code, document["command"], document["status"]) == (0, "launch test", "ok")
    assert (document["data"]["run"], document["data"]["gpus_seen"]) == (RUN, 2)
    assert [stage["state"] for stage in document["data"]["stages"]] == ["ok"] * 6


def test_a_queue_that_is_not_there(command: Command, double: Double) -> None:
    assert command("--gpus", "2", queue="nope") == 4
    assert "error: entity lab has no queue nope (it has: gpu)   [launch-queue-unknown]" in command.err
    assert "pushToRunQueueByName" not in operations(double)


def test_a_queue_of_another_kind(command: Command, double: Double) -> None:
    make_queue(double, "local", "local-container")

    assert command(queue="local") == 3
    assert "[launch-queue-foreign]" in command.err


def test_gpus_out_of_bounds(command: Command, double: Double) -> None:
    assert command("--gpus", "9") == 3
    assert "error: gpus=9: queue gpu takes 1 to 8   [launch-variable-bounds]" in command.err
    assert "pushToRunQueueByName" not in operations(double)


def test_a_wrong_key(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "f" * 40)

    assert command() == 4
    assert "[launch-key-refused]" in command.err


def test_no_key(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WANDB_API_KEY")

    assert command() == 3
    assert "[launch-key-missing]" in command.err


def test_the_key_that_a_login_left(
    command: Command, double: Double, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("WANDB_API_KEY")
    place = double.url.removeprefix("http://")
    (tmp_path / "netrc").write_text(f"machine {place}\n  login user\n  password {double.api_key}\n")
    (tmp_path / "netrc").chmod(0o600)

    assert command(queue="nope") == 4
    assert "[launch-queue-unknown]" in command.err


def test_a_key_that_is_none(command: Command, monkeypatch: pytest.MonkeyPatch, double: Double) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "short")

    assert command() == 3
    assert "[launch-key-invalid]" in command.err
    assert operations(double).count("Viewer") == 0


def test_no_server(command: Command) -> None:
    assert command("--base-url", "http://127.0.0.1:9") == 4
    assert "[launch-server-unreachable]" in command.err


def test_nobody_polls(command: Command, double: Double) -> None:
    assert command("--gpus", "1") == 6
    assert "[launch-agent-unseen]" in command.err
    assert "item 1 was withdrawn, nothing is left over" in command.out
    assert items(double) == {}


def test_what_the_agent_refuses(command: Command, double: Double, cluster: FakeCluster) -> None:
    words = "Unsafe resource_args.kubernetes option 'securityContext' is not allowed: the agent manages it"
    with LoopbackAgent(double, cluster, refuses=words).running():
        code = command("--gpus", "2")

    assert code == 6
    assert f"the agent refused the queue's configuration: {words}   [launch-item-refused]" in command.err


def test_what_the_agent_refuses_where_the_server_does_not_tell_it(
    command: Command, double: Double, cluster: FakeCluster
) -> None:
    make_queue(double, "bad", more={"serviceAccountName": "root"})
    with LoopbackAgent(double, cluster, refuses=None, queue="bad").running():
        code = command("--gpus", "2", queue="bad")

    assert code == 6
    assert "the agent gave the item up: the server does not tell why; `serviceAccountName`: the pod's" in command.err


def test_an_image_that_is_not_pulled_leaves_a_job_that_is_named(
    command: Command, double: Double, cluster: FakeCluster
) -> None:
    cluster.stuck = "image"
    with LoopbackAgent(double, cluster).running():
        code = command("--gpus", "2")

    assert code == 6, command.err
    assert "is not pulled: ImagePullBackOff   [image-pull-failed]" in command.err
    assert "Failed to pull image: not found" in command.err
    assert "left over: Job jobs/launch-x (runs on): `kubectl delete job -n jobs launch-x`" in command.out


def test_a_server_that_is_away_in_the_middle(command: Command, double: Double, cluster: FakeCluster) -> None:
    double.fail("GetRunQueueItem", 503, times=8)
    with LoopbackAgent(double, cluster).running():
        code = command("--gpus", "2")

    assert code == 0, command.err


def test_a_server_that_stays_away(command: Command, double: Double) -> None:
    double.fail("GetRunQueueItem", 503, times=10**6)

    assert command("--gpus", "2") == 4
    assert "503" in command.err
    assert "left over: item 1 (PENDING): `gpuctl launch test -q gpu -e lab --withdraw 1`" in command.out
    double.clear_faults()
    assert command("--withdraw", "1") == 0
    assert command.out == "item 1 is out of queue gpu\n"
    assert items(double) == {}


def test_a_server_that_tells_less(command: Command, double: Double, cluster: FakeCluster) -> None:
    """Fields that the client does not use need not be there."""
    double.fail("LaunchAgents", 400, times=10**6, message="Cannot query field launchAgents")
    double.fail("Runs", 400, times=10**6, message="no such filter")
    double.fail("GetRunQueueItem", 400, times=1, message="Cannot query field error")
    with LoopbackAgent(double, cluster).running():
        code = command("--gpus", "2")

    assert code == 0, command.err
    assert "agent    ✓" in command.out


def test_an_agent_that_is_known_by_its_run_only(command: Command, double: Double) -> None:
    double.fail("LaunchAgents", 400, times=10**6, message="Cannot query field launchAgents")
    run = {"name": "k3v9x1ab", "project": PROJECT, "entity": double.entity, "jobType": "sweep-controller"}
    asked = "mutation UpsertBucket($input: UpsertBucketInput!) { upsertBucket(input: $input) { inserted } }"
    given = {"name": run["name"], "modelName": PROJECT, "entityName": run["entity"], "jobType": run["jobType"]}
    Server(double.url, double.api_key).ask(asked, {"input": given})

    assert command("--gpus", "2") == 6
    assert "error: agent k3v9x1ab polls queue gpu, but the item is still PENDING" in command.err
    assert "[launch-item-not-taken]" in command.err


def test_a_refusal_of_the_server_is_told_in_its_words(command: Command, double: Double) -> None:
    double.fail("pushToRunQueueByName", 400, message="template variable gpus: 2 is not allowed")

    assert command("--gpus", "2") == 4
    assert "says: template variable gpus: 2 is not allowed   [launch-refused]" in command.err
    assert "nothing was submitted" in command.out


def test_a_cluster_that_is_not_there(command: Command, double: Double, tmp_path: Path) -> None:
    text = (tmp_path / "kubeconfig").read_text()
    (tmp_path / "kubeconfig").write_text(re.sub(r":\d+$", ":9", text, flags=re.MULTILINE))

    assert command("--gpus", "2") == 4
    assert "[launch-cluster-unreachable]" in command.err
    assert "pushToRunQueueByName" not in operations(double)
