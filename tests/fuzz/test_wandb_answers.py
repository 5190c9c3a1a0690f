"""What a W&B server may answer, with one thing changed: a result, or an error that names the server."""

from __future__ import annotations

import io
import json
import time
import traceback
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest

from bootstrap.errors import GpuctlError
from bootstrap.hostside.gpuctl_hostio import HostError
from bootstrap.hostside.gpuctl_wandb import Server, check_server
from bootstrap.launch.agent_model import Target
from bootstrap.launch.agent_server import agents_of, judge_agents
from bootstrap.launch.queue_file import QueueConfig
from bootstrap.launch.queues import Queues, differences
from bootstrap.launch.trial_model import Asked
from bootstrap.launch.trial_server import WandbSide
from tests.doubles.wandb_api import Double, running
from tests.fuzz.mutate import document_mutations
from tests.fuzz.share import cases
from tests.unit.launch.loopback import make_queue

CASES = 2_000
TARGET = Target("cluster", "rel", "wandb", ("jobs",), "https://api.wandb.ai", "lab", ("gpu",))
RUNS = {
    "edges": [
        {
            "node": {
                "name": "a1",
                "state": "running",
                "jobType": "sweep-controller",
                "heartbeatAt": "2026-11-23T10:00:00",
            }
        }
    ]
}
ITEM = {"id": "i1", "state": "FAILED", "associatedRunId": "run1", "error": {"message": "m", "stage": "agent"}}
AGENT = {
    "id": "a",
    "name": "n",
    "runQueues": ["q1"],
    "hostname": "h",
    "agentStatus": "POLLING",
    "heartbeatAt": "2026-11-23T10:00:00",
}


def recorded() -> dict[str, Any]:
    """Operation → what the double answers to it, and what a server with more fields does."""
    found: dict[str, Any] = {}
    with running() as double:
        make_queue(double)
        _record(double, found)
    found["LaunchAgents"] = {"data": {"project": {"runQueues": [{"id": "q1", "name": "gpu"}], "launchAgents": [AGENT]}}}
    found["GetRunQueueItem"] = {"data": {"project": {"runQueue": {"runQueueItem": ITEM}}}}
    found["Runs"] = {"data": {"project": {"runs": RUNS}}}
    found["RunState"] = {"data": {"project": {"run": {"state": "running"}}}}
    return found


def _record(double: Double, found: dict[str, Any]) -> None:
    plain = Server.ask

    def ask(self: Server, query: str, variables: Mapping[str, Any]) -> dict[str, Any]:
        answer = plain(self, query, variables)
        found[query.split("(")[0].split()[1]] = {"data": answer}
        return answer

    Server.ask = ask  # type: ignore[method-assign]
    try:
        read_all(Server(double.url, double.api_key), double.entity)
    finally:
        Server.ask = plain  # type: ignore[method-assign]


def read_all(server: Server, entity: str) -> Counter[str]:
    """Every reader once; how many came to a result, and how many to an error."""
    ended: Counter[str] = Counter()
    side = WandbSide(server, Asked(entity, "gpu", "p", "i", 1))
    for read in readers(server, entity, side):
        try:
            read()
            ended["results"] += 1
        except (HostError, GpuctlError):
            ended["errors"] += 1
    return ended


def readers(server: Server, entity: str, side: WandbSide) -> Iterator[Callable[[], object]]:
    queues = Queues(server, entity)
    yield lambda: check_server(server, entity, ["gpu"])
    yield lambda: judge_agents(TARGET, agents_of(server, entity))
    yield queues.lines
    yield lambda: [differences(queue, QueueConfig({}, {}), "off") for queue in [queues.read("gpu")] if queue]
    yield lambda: queues.write("gpu", QueueConfig({}, {}), "off")
    yield side.queue
    yield lambda: side.submit({}, 1)
    yield lambda: side.item("i1")
    yield side.agents
    yield lambda: side.run_state("run1")


class Answers:
    """In place of the connection: what the server would have sent, by the operation that was asked."""

    def __init__(self, texts: Mapping[str, str]) -> None:
        self._texts = texts

    def open(self, request: urllib.request.Request, timeout: float) -> io.BytesIO:  # noqa: ARG002
        asked = json.loads(request.data or b"{}")  # type: ignore[arg-type]
        return io.BytesIO(self._texts.get(asked["operationName"], "{}").encode())


def test_mutated_answers_of_a_wandb_server_end_in_results_or_errors(
    figure: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = recorded()
    assert len(answers) > 9
    texts = {name: json.dumps(answer) for name, answer in answers.items()}
    server = Server("http://127.0.0.1:9", "k" * 40)
    seen: Counter[str] = Counter()
    failures: Counter[str] = Counter()
    slowest, number = 0.0, 0
    share = max(-(-cases(CASES) // len(answers)), 3)
    for number, (name, answer) in enumerate(sorted(answers.items())):
        for where, changed in document_mutations({"answer": answer}, 20261204 + number, share):
            told = {**texts, name: json.dumps(changed.get("answer"))}
            monkeypatch.setattr(urllib.request, "build_opener", lambda *_, told=told: Answers(told))
            began = time.monotonic()
            try:
                seen += read_all(server, "lab")
            except Exception as error:  # noqa: BLE001 - a traceback for what a server says is what is looked for
                place = traceback.extract_tb(error.__traceback__)[-1]
                at = f"{place.filename.rpartition('/')[2]}:{place.lineno}"
                failures[f"{type(error).__name__} in {at}, as {name}: {where}"] += 1
            seen["answers"] += 1
            slowest = max(slowest, time.monotonic() - began)
    figure(
        f"mutated W&B answers: {seen['answers']} × 10 readers: {seen['results']} results, {seen['errors']} errors; "
        f"{failures.total()} tracebacks, slowest {slowest:.2f} s"
    )
    assert not failures, "\n".join(failures)
    assert slowest < 5
