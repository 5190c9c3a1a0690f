from __future__ import annotations

import os
import select
import signal
import socket
import ssl
import subprocess
import sys
import time
import urllib.error
from pathlib import Path

import pytest

from tests.doubles.wandb_api import Double
from tests.unit.doubles.conftest import Client
from tests.unit.doubles.requests_of_launch import SEE_AGENT, make_queue, see_queue

ROOT = Path(__file__).resolve().parents[3]
VIEWER = "query Viewer { viewer { id } }"


def test_an_operation_fails_as_often_as_wanted(double: Double, client: Client) -> None:
    double.fail("Viewer", 503, times=2)
    assert [client.ask(VIEWER)[0] for _ in range(3)] == [503, 503, 200]
    assert [line["status"] for line in double.log("Viewer")] == [503, 503, 200]


def test_other_operations_are_not_concerned(double: Double, client: Client) -> None:
    double.fail("LaunchAgent", 401)
    assert client.ask(VIEWER)[0] == 200
    assert client.ask(SEE_AGENT, {"agentId": "x"})[0] == 401


def test_a_refusal_of_ones_own_wording(double: Double, client: Client) -> None:
    double.fail("Viewer", 200, message="rate limit exceeded")
    assert client.refusal(VIEWER) == "rate limit exceeded"


def test_an_outage_closes_connections_and_ends(double: Double, client: Client) -> None:
    double.outage(60)
    with pytest.raises(OSError):  # noqa: PT011 - reset or closed, as the system has it
        client.ask(VIEWER)
    assert client.control("clear") == {}
    assert client.ask(VIEWER)[0] == 200


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("query A { viewer { shoeSize } }", 'Cannot query field "shoeSize" on type "User".'),
        ("query A { viewer { id }", "Syntax Error: Unexpected <EOF>."),
        ("query A { viewer ( }", "Syntax Error"),
        ("mutation A { launchMissiles { success } }", 'Cannot query field "launchMissiles" on type "Mutation".'),
        ("mutation A { ackRunQueueItem(input: {}) { success } }", "bad arguments"),
    ],
)
def test_what_is_no_request_is_refused_with_400(client: Client, query: str, words: str) -> None:
    status, answer = client.ask(query)
    assert status == 400
    assert words in answer["errors"][0]["message"]


@pytest.mark.parametrize("path", ["/sdk/otel/v1/metrics", "/graphql/x", "/files/lab/file_stream"])
def test_what_the_double_does_not_have_is_404(client: Client, path: str) -> None:
    assert client.send(path, {})[0] == 404


def test_bodies_that_are_no_json_and_runs_that_are_unknown(client: Client) -> None:
    assert client.send("/graphql", b"{")[0] == 400
    assert client.send("/files/lab/proj/nope/file_stream", {})[0] == 404
    assert client.send("/_double/nonsense", {})[0] == 404
    assert client.send("/_double/runs/stop", {"run": "nope"}) == (400, {"error": "no run nope"})


def _start(*arguments: str) -> tuple[subprocess.Popen[str], str]:
    argv = [sys.executable, "-m", "tests.doubles.wandb_api", *arguments]
    process = subprocess.Popen(argv, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    ready, _, _ = select.select([process.stdout], [], [], 10)
    line = process.stdout.readline() if ready else ""
    if not line.startswith("listening on "):
        process.kill()
        raise AssertionError(f"the double did not start: {line!r}")
    return process, line.removeprefix("listening on ").strip()


def test_as_a_process_it_can_be_killed_and_started_again_on_its_port(tmp_path: Path) -> None:
    key = tmp_path / "key"
    files = ("--state", str(tmp_path / "state"), "--log", str(tmp_path / "log"))
    account = ("--user", "tester", "--team", "lab", "--api-key-file", str(key))
    process, url = _start("--listen", "127.0.0.1:0", *files, *account)
    try:
        client = Client(url, key.read_text().strip())
        identity = make_queue(client)
        process.send_signal(signal.SIGKILL)
        process.wait(timeout=5)
        with pytest.raises(urllib.error.URLError):
            client.ask(VIEWER)
        process, again = _start("--listen", url.removeprefix("http://"), *files, *account)
        assert again == url
        assert see_queue(client)["id"] == identity
        process.terminate()
        assert process.wait(timeout=5) == 0
    finally:
        process.kill()
        process.wait(timeout=5)
    assert (key.stat().st_mode & 0o777) == 0o600
    assert '"op": "UpsertRunQueue"' in (tmp_path / "log").read_text()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("tls")
    cert, key = folder / "cert.pem", folder / "key.pem"
    argv = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
    argv += ["-subj", "/CN=double", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(cert)]
    subprocess.run(argv, check=True, capture_output=True, timeout=30, env={**os.environ, "RANDFILE": str(folder / "r")})
    return cert, key


def test_tls_and_a_client_that_says_nothing_holds_up_nobody(certificate: tuple[Path, Path]) -> None:
    from tests.doubles.wandb_api import running

    with running(tls=certificate) as double:
        assert double.url.startswith("https://")
        address = ("127.0.0.1", int(double.url.rpartition(":")[2]))
        context = ssl.create_default_context(cafile=str(certificate[0]))
        with (
            socket.create_connection(address),  # a handshake that never comes
            socket.create_connection(address, timeout=5) as plain,
            context.wrap_socket(plain, server_hostname="127.0.0.1") as secure,
        ):
            began = time.monotonic()
            secure.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            assert secure.recv(4096).startswith(b"HTTP/1.1 200")
            assert time.monotonic() - began < 3
