"""The way of the API client: no proxy of the environment's stands between gpuctl and what it reaches directly."""

from __future__ import annotations

import json
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from bootstrap.kube import client
from bootstrap.kube.client import client_of, kubeconfig_api
from bootstrap.testvm import certificates

NOWHERE = "http://127.0.0.1:9"  # port 9: nothing listens
VERSION = {"gitVersion": "v1.36.3"}


class Api(BaseHTTPRequestHandler):
    """An API that knows its version."""

    def do_GET(self) -> None:
        body = json.dumps(VERSION).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), Api) as found:
        threading.Thread(target=found.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{found.server_port}"
        found.shutdown()


@pytest.fixture(autouse=True)
def _behind_a_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"):
        monkeypatch.setenv(name, NOWHERE)
    for name in ("NO_PROXY", "no_proxy", "REQUEST_METHOD"):
        monkeypatch.delenv(name, raising=False)


def config(server: str, **cluster: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "c", "cluster": {"server": server, **cluster}}],
        "users": [{"name": "u", "user": {"token": "t"}}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
        "current-context": "x",
    }


def proxy_of(found: client.Cluster) -> str | None:
    proxy: str | None = found._client.configuration.proxy
    return proxy


def of_kubeconfig(tmp_path: Path, server: str, **cluster: str) -> str | None:
    path = tmp_path / "config"
    path.write_text(yaml.safe_dump(config(server, **cluster)), encoding="utf-8")
    with kubeconfig_api(path) as found:
        return proxy_of(found)


def test_what_was_reached_directly_is_asked_without_it(server: str) -> None:
    assert client_of(config(server)).get("/version") == VERSION
    assert proxy_of(client_of(config("https://192.0.2.7:6443"))) is None


def test_nobody_is_sent_elsewhere(server: str, tmp_path: Path) -> None:
    asked: list[str] = []

    class Elsewhere(Api):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(302)
            self.send_header("Location", f"{server}/version")
            self.send_header("Content-Length", "0")
            self.end_headers()

    with HTTPServer(("127.0.0.1", 0), Elsewhere) as found:
        threading.Thread(target=found.serve_forever, daemon=True).start()
        path = tmp_path / "config"
        path.write_text(yaml.safe_dump(config(f"http://127.0.0.1:{found.server_port}")), encoding="utf-8")
        with kubeconfig_api(path) as named:
            for api in (named, client_of(config(f"http://127.0.0.1:{found.server_port}"))):
                with pytest.raises(client.ApiError, match="302: the API server sends elsewhere, which is not followed"):
                    api.get("/version")
        found.shutdown()
    assert asked == ["/version", "/version"]


def test_a_context_that_leads_to_this_machine(server: str, tmp_path: Path) -> None:
    path = tmp_path / "config"
    path.write_text(yaml.safe_dump(config(server)), encoding="utf-8")
    with kubeconfig_api(path) as found:
        assert found.get("/version") == VERSION


@pytest.mark.parametrize(
    ("host", "answers", "direct"),
    [
        ("localhost", False, True),
        ("[::1]", False, True),
        ("192.168.49.2", True, True),
        ("192.168.49.2", False, False),
        ("198.18.0.1", False, False),
        ("9.9.9.9", True, False),
        ("api.example.com", True, False),
    ],
)
def test_the_environment_s_proxy_is_for_what_is_not_near(
    host: str, answers: bool, direct: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def greet(*_: object) -> None:
        if not answers:
            raise TimeoutError

    monkeypatch.setattr(client, "_greet", greet)
    assert of_kubeconfig(tmp_path, f"https://{host}:8443") == (None if direct else NOWHERE)


def test_who_only_accepts_a_connection_is_no_server_near(server: str) -> None:
    """A gateway may do so for what is behind it; nor is a server of another CA the one that is meant."""
    port = int(server.rpartition(":")[2])
    with pytest.raises(ssl.SSLError):
        client._greet("127.0.0.1", port, None)
    with socket.create_server(("127.0.0.1", 0)) as silent, pytest.raises(OSError, match="timed out"):
        client._greet("127.0.0.1", silent.getsockname()[1], None)


def test_a_server_of_the_kubeconfig_s_ca_is_near(tmp_path: Path) -> None:
    certificates.make(tmp_path / "a", "lab", "127.0.0.1")
    certificates.make(tmp_path / "b", "other", "127.0.0.1")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "a" / "server.pem", tmp_path / "a" / "server.key")

    def serve() -> None:
        for _ in range(2):
            with suppress(OSError):
                context.wrap_socket(listening.accept()[0], server_side=True).close()

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        client._greet("127.0.0.1", listening.getsockname()[1], str(tmp_path / "a" / "ca.pem"))
        with pytest.raises(ssl.SSLCertVerificationError):
            client._greet("127.0.0.1", listening.getsockname()[1], str(tmp_path / "b" / "ca.pem"))
        thread.join(10)


def test_a_proxy_of_the_kubeconfig_s_stays(tmp_path: Path) -> None:
    own = {"proxy-url": "http://proxy.example.com:3128"}
    assert of_kubeconfig(tmp_path, "https://127.0.0.1:8443", **own) == own["proxy-url"]


def test_no_proxy_is_honoured(server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "_answers_directly", lambda *_: False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    path = tmp_path / "config"
    path.write_text(yaml.safe_dump(config(server)), encoding="utf-8")
    with kubeconfig_api(path) as found:
        assert found.get("/version") == VERSION
