"""A server to probe, and hosts that name it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bootstrap.inventory.model import Connection, Host
from tests.unit.probe.sshd import SshServer

MakeHost = Callable[..., Host]


@pytest.fixture(autouse=True)
def _own_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No agent, no ~/.ssh of whoever runs the tests."""
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[SshServer]:
    found = SshServer.start(tmp_path)
    yield found
    found.stop()


# An option that paramiko does not follow makes the connection OpenSSH's.
TRANSPORTS = {"paramiko": "-F none", "openssh": "-F none -o RequiredRSASize=1025"}


@pytest.fixture(params=sorted(TRANSPORTS))
def transport(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def make_host(server: SshServer, transport: str) -> MakeHost:
    def make(name: str = "gpu1", **changes: Any) -> Host:
        if "ssh_common_args" in changes:
            changes["ssh_common_args"] = f"{TRANSPORTS[transport]} {changes['ssh_common_args']}"
        arguments = (
            f"{TRANSPORTS[transport]} -o UserKnownHostsFile={server.known_hosts} -o GlobalKnownHostsFile=/dev/null"
        )
        values: dict[str, Any] = {
            "address": "127.0.0.1",
            "port": server.port,
            "user": "root",
            "key_file": str(server.folder / "client"),
            "ssh_common_args": arguments,
            "python": sys.executable,
        }
        variables = changes.pop("variables", {})
        return Host(name, frozenset(), Connection(**{**values, **changes}), {}, connection_vars=variables)

    return make
