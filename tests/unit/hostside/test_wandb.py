"""The three questions that are asked of a W&B server before an agent is set to work."""

from __future__ import annotations

import base64
import json
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from bootstrap.hostside.gpuctl_hostio import HostError
from bootstrap.hostside.gpuctl_wandb import Server, check_server

KEY = "0123456789abcdef" * 2 + "01234567"


class Answers:
    """What the server says: data by operation, or a status."""

    def __init__(self) -> None:
        self.status = 200
        self.body: bytes | None = None
        self.data: dict[str, Any] = {
            "Viewer": {"viewer": {"id": "u1", "username": "ada"}},
            "EntityIsTeam": {"entity": {"id": "e1", "isTeam": True}},
            "ProjectRunQueues": {"project": {"runQueues": [{"name": "gpus"}, {"name": "cpus"}]}},
        }
        self.errors: list[dict[str, str]] = []
        self.url = ""
        self.location = ""


@pytest.fixture
def wandb() -> Iterator[Answers]:
    answers = Answers()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            known = self.headers["Authorization"] == "Basic " + base64.b64encode(f"api:{KEY}".encode()).decode()
            status = answers.status if known else 401
            body: dict[str, Any] = {"data": answers.data.get(asked["operationName"])}
            if answers.errors:
                body["errors"] = answers.errors
            self.send_response(status)
            if answers.location:
                self.send_header("Location", answers.location)
            self.end_headers()
            self.wfile.write(answers.body if answers.body is not None else json.dumps(body).encode())

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    answers.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield answers
    server.shutdown()
    server.server_close()


def trouble(answers: Answers, key: str = KEY, entity: str = "lab", queues: tuple[str, ...] = ("gpus",)) -> HostError:
    with pytest.raises(HostError) as caught:
        check_server(Server(answers.url, key, timeout_s=5), entity, list(queues))
    return caught.value


def test_what_is_there_passes(wandb: Answers) -> None:
    check_server(Server(wandb.url + "/", KEY, timeout_s=5), "lab", ["gpus", "cpus"])


def test_a_key_that_the_server_does_not_know(wandb: Answers) -> None:
    found = trouble(wandb, key="f" * 40)
    assert found.code == "launch-key-refused"
    assert "f" * 40 not in found.as_text()


def test_a_key_without_a_user(wandb: Answers) -> None:
    wandb.data["Viewer"] = {"viewer": None}
    assert trouble(wandb).code == "launch-key-refused"


def test_an_entity_that_is_not_there(wandb: Answers) -> None:
    wandb.data["EntityIsTeam"] = {"entity": None}
    found = trouble(wandb)
    assert (found.code, "has no entity lab" in found.message) == ("launch-entity-unknown", True)


@pytest.mark.parametrize(
    ("project", "there"), [({"runQueues": [{"name": "b"}, {"name": "a"}]}, "it has: a, b"), (None, "it has: none")]
)
def test_a_queue_that_is_not_there(wandb: Answers, project: dict[str, Any] | None, there: str) -> None:
    wandb.data["ProjectRunQueues"] = {"project": project}
    found = trouble(wandb)
    assert found.code == "launch-queue-unknown"
    assert there in found.message
    assert "gpuctl launch queue apply gpus --preset job -e lab" in found.fix


def test_the_servers_own_words(wandb: Answers) -> None:
    wandb.errors = [{"message": "permission denied"}]
    found = trouble(wandb)
    assert (found.code, "permission denied" in found.message) == ("launch-refused", True)


def test_a_server_in_trouble(wandb: Answers) -> None:
    wandb.status = 503
    found = trouble(wandb)
    assert (found.code, "503" in found.message) == ("launch-server-unreachable", True)


@pytest.mark.parametrize("body", [b"<html>login</html>", b"[]"])
def test_something_else_at_that_address(wandb: Answers, body: bytes) -> None:
    wandb.body = body
    assert trouble(wandb).code in {"launch-server-unreachable", "launch-refused"}


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:9", "http://h:abc", "http://a b", "ftp://127.0.0.1/", "nonsense", "http://[", ""]
)
def test_no_server(url: str) -> None:
    with pytest.raises(HostError) as caught:
        check_server(Server(url, KEY, timeout_s=2), "lab", ["gpus"])
    assert caught.value.code == "launch-server-unreachable"


def test_words_of_a_refusal_that_has_an_error_status(wandb: Answers) -> None:
    wandb.status, wandb.errors = 400, [{"message": "gpus is out of bounds"}]
    found = trouble(wandb)
    assert (found.code, "says: gpus is out of bounds" in found.message) == ("launch-refused", True)


def test_words_of_a_server_in_trouble_are_no_refusal(wandb: Answers) -> None:
    wandb.status, wandb.errors = 502, [{"message": "upstream"}]
    assert trouble(wandb).code == "launch-server-unreachable"


def test_something_that_speaks_no_http() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def greet() -> None:
            client, _ = server.accept()
            with client:
                client.recv(4096)
                client.sendall(b"SSH-2.0-OpenSSH\r\n")

        thread = threading.Thread(target=greet, daemon=True)
        thread.start()
        with pytest.raises(HostError) as caught:
            check_server(Server(f"http://127.0.0.1:{server.getsockname()[1]}", KEY, timeout_s=5), "lab", [])
        thread.join(5)
    assert caught.value.code == "launch-server-unreachable"


def test_the_key_follows_no_redirect(wandb: Answers) -> None:
    wandb.status, wandb.location = 302, "http://127.0.0.1:9/elsewhere"
    found = trouble(wandb)
    assert (found.code, wandb.location in found.message) == ("launch-server-unreachable", True)
