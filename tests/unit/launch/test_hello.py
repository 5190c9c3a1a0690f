"""The hello program: run as the agent would run it, against a server on loopback."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from bootstrap.launch import hello
from bootstrap.launch.trial_cluster import read_hello
from bootstrap.launch.trial_queue import run_spec
from tests.unit.launch.trial_examples import ASKED

KEY = "local-" + "0" * 40


class Wire(ThreadingHTTPServer):
    """Answers with `answers[path]`, (status, body), and keeps what it was sent."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers: dict[str, list[tuple[int, Any]]] = {}
        self.seen: list[tuple[str, dict[str, Any], str]] = []


class Handler(BaseHTTPRequestHandler):
    server: Wire

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.seen.append((self.path, body, self.headers["Authorization"]))
        queue = self.server.answers.get(self.path, [(200, {})])
        status, answer = queue.pop(0) if len(queue) > 1 else queue[0]
        self.send_response(status)
        self.end_headers()
        self.wfile.write(json.dumps(answer).encode())

    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.fixture
def wire() -> Iterator[Wire]:
    with Wire() as server:
        server.answers["/graphql"] = [(200, {"data": {"upsertBucket": {"bucket": {"id": "1"}, "inserted": True}}})]
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def environment(wire: Wire | None = None, **changes: str) -> dict[str, str]:
    url = f"http://127.0.0.1:{wire.server_port}" if wire else "http://127.0.0.1:1"
    return {
        "WANDB_BASE_URL": url,
        "WANDB_API_KEY": KEY,
        "WANDB_ENTITY": "team",
        "WANDB_PROJECT": "gpuctl-test",
        "WANDB_RUN_ID": "abcd1234",
        "WANDB_NAME": "gpuctl-launch-test",
    } | changes


def test_the_text_that_is_sent_runs_by_itself_and_is_read_again(wire: Wire, tmp_path: Path) -> None:
    entry = run_spec(ASKED)["overrides"]["entry_point"]
    assert entry[0] == "python3"
    argv = [sys.executable, "-I", *entry[1:]]
    done = subprocess.run(
        argv, env=environment(wire), cwd=tmp_path, capture_output=True, text=True, timeout=30, check=False
    )

    assert (done.returncode, done.stderr) == (0, "")
    said = read_hello(done.stdout)
    assert said is not None
    assert said.registered == "registered"
    assert said.gpus == len(said.devices)
    assert KEY not in done.stdout
    (path, body, authorization), (stream, end, _) = wire.seen
    assert (path, body["operationName"]) == ("/graphql", "UpsertBucket")
    assert body["variables"] == {
        "name": "abcd1234", "project": "gpuctl-test", "entity": "team", "displayName": "gpuctl-launch-test",
    }  # fmt: skip
    assert base64.b64decode(authorization.removeprefix("Basic ")).decode() == f"api:{KEY}"
    assert (stream, end) == ("/files/team/gpuctl-test/abcd1234/file_stream", {"complete": True, "exitcode": 0})


def test_devices_are_counted_by_their_files() -> None:
    names = ["nvidia0", "nvidia10", "nvidiactl", "nvidia-uvm", "nvidia-caps", "null", "nvidia0n"]

    assert hello.look(names, {"NVIDIA_VISIBLE_DEVICES": "void"}) == {
        "gpuctl_hello": 1, "gpus": 2, "devices": ["nvidia0", "nvidia10"], "visible": "void",
    }  # fmt: skip


def test_slices_of_one_device_are_counted_by_their_names() -> None:
    assert hello.look(["nvidia0"], {"NVIDIA_VISIBLE_DEVICES": "MIG-a,MIG-b,MIG-c"})["gpus"] == 3


def test_what_the_environment_lacks_is_named() -> None:
    lacking = environment(WANDB_RUN_ID="")
    del lacking["WANDB_ENTITY"]

    assert hello.register(lacking) == "the container's environment lacks WANDB_ENTITY, WANDB_RUN_ID"


def test_errors_are_told_in_the_server_s_words(wire: Wire) -> None:
    wire.answers["/graphql"] = [(200, {"errors": [{"message": "permission denied"}]})]
    assert hello.register(environment(wire)) == "the W&B server says: permission denied"
    wire.answers["/graphql"] = [(200, {"data": {"upsertBucket": None}})]
    assert hello.register(environment(wire)) == "the W&B server did not register the run"
    wire.answers["/graphql"] = [(401, {})]
    said = hello.register(environment(wire))
    assert "HTTP 401 Unauthorized" in said
    assert KEY not in said


def test_a_server_that_restarts_is_asked_again(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hello, "_PAUSE_S", 0.0)
    wire.answers["/graphql"].insert(0, (503, {}))

    assert hello.register(environment(wire)) == "registered"
    assert len(wire.seen) == 3


def test_no_server_no_success(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hello, "_PAUSE_S", 0.0)

    assert "refused" in hello.register(environment())
    assert hello.register(environment(WANDB_BASE_URL="ftp://x")) == "ftp://x: no http or https address"
