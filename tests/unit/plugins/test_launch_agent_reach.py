"""Whether the cluster's API can be reached, as the agent's unit asks before it starts the agent."""

from __future__ import annotations

import base64
import json
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from bootstrap.testvm import certificates
from tests.unit.plugins_cluster.rendering import ROLES

REACH = ROLES / "launch_agent_host" / "files" / "reach.py"
HERE = "127.0.0.1"
REFUSED = 69


def asked(folder: Path, server: str, authority: Path | None = None, **more: str) -> tuple[int, str]:
    """Its exit status and its words for a kubeconfig with that server."""
    ca = {"certificate-authority-data": base64.b64encode(authority.read_bytes()).decode()} if authority else {}
    path = folder / "config"
    path.write_text(
        json.dumps({"clusters": [{"name": "lab", "cluster": {"server": server, **ca, **more}}]}), encoding="utf-8"
    )
    return run(path)


def token(folder: Path, exp: float) -> Path:
    """A file with a token that ends then."""
    claims = base64.urlsafe_b64encode(json.dumps({"iat": 1, "exp": exp}).encode()).decode().rstrip("=")
    path = folder / "token"
    path.write_text(f"head.{claims}.signature", encoding="ascii")
    return path


def run(path: Path, valid_until: float = 4e9) -> tuple[int, str]:
    words = [sys.executable, REACH, path, token(path.parent, valid_until)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    return done.returncode, done.stderr


@contextmanager
def listening(folder: Path) -> Iterator[int]:
    """A server with a certificate of its own authority, on a port of this machine."""
    certificates.make(folder, "lab", HERE)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "server.pem", folder / "server.key")

    def serve(server: socket.socket) -> None:
        with suppress(OSError):
            context.wrap_socket(server.accept()[0], server_side=True).close()

    with socket.create_server((HERE, 0)) as server:
        thread = threading.Thread(target=serve, args=(server,), daemon=True)
        thread.start()
        yield server.getsockname()[1]
    thread.join(10)


def test_an_api_that_answers_lets_the_agent_start(tmp_path: Path) -> None:
    with listening(tmp_path / "a") as port:
        assert asked(tmp_path, f"https://{HERE}:{port}", tmp_path / "a" / "ca.pem") == (0, "")


def test_the_name_that_the_kubeconfig_gives_the_server_counts(tmp_path: Path) -> None:
    with listening(tmp_path / "a") as port:
        named = {"tls-server-name": HERE}
        assert asked(tmp_path, f"https://localhost:{port}", tmp_path / "a" / "ca.pem", **named) == (0, "")


def test_what_accepts_a_connection_in_its_place_does_not(tmp_path: Path) -> None:
    certificates.make(tmp_path / "b", "other", HERE)
    with listening(tmp_path / "a") as port:
        code, said = asked(tmp_path, f"https://{HERE}:{port}", tmp_path / "b" / "ca.pem")
    assert (code, len(said.splitlines())) == (REFUSED, 1)
    assert "certificate verify failed" in said


def test_no_api_keeps_the_agent_from_taking_jobs(tmp_path: Path) -> None:
    with socket.create_server((HERE, 0)) as server:
        port = server.getsockname()[1]
    code, said = asked(tmp_path, f"https://{HERE}:{port}")
    assert (code, len(said.splitlines())) == (REFUSED, 1)
    assert said.startswith(f"the cluster's API (https://{HERE}:{port}) cannot be reached, and no job is taken")


@pytest.mark.parametrize("server", ["", "https://127.0.0.1:port", "nonsense"])
def test_what_is_no_address_is_told_in_a_line(tmp_path: Path, server: str) -> None:
    code, said = asked(tmp_path, server)
    assert (code, len(said.splitlines())) == (REFUSED, 1)


@pytest.mark.parametrize("text", [None, "", "{}", '{"clusters": []}', '{"clusters": [{"cluster": null}]}'])
def test_a_kubeconfig_that_is_none_is_told_in_a_line(tmp_path: Path, text: str | None) -> None:
    if text is not None:
        (tmp_path / "config").write_text(text)
    code, said = run(tmp_path / "config")
    assert (code, len(said.splitlines())) == (REFUSED, 1)
    assert str(tmp_path / "config") in said


def test_the_unit_does_not_take_the_refusal_for_success() -> None:
    unit = (ROLES / "launch_agent_host" / "templates" / "gpuctl-launch-agent.service.j2").read_text(encoding="utf-8")
    (fine,) = [line for line in unit.splitlines() if line.startswith("SuccessExitStatus=")]
    assert str(REFUSED) not in fine.partition("=")[2].split()


def test_a_token_that_has_lapsed_keeps_the_agent_from_taking_jobs(tmp_path: Path) -> None:
    code, said = run(tmp_path / "config", 1e9)
    assert code == REFUSED
    assert said.startswith("the agent may not ask the cluster's API: its token has lapsed (2001-09-0")
    assert said.endswith("run gpuctl bootstrap\n")
