"""Whether the cluster's API can be reached, as the agent's unit asks before it starts the agent."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.plugins_cluster.rendering import ROLES

REACH = ROLES / "launch_agent_host" / "files" / "reach.py"


def asked(folder: Path, server: str) -> tuple[int, str]:
    """Its exit status and its words for a kubeconfig with that server."""
    path = folder / "config"
    path.write_text(f"apiVersion: v1\nclusters:\n- cluster:\n    server: {server}\n  name: mk\n", encoding="utf-8")
    done = subprocess.run([sys.executable, REACH, path], capture_output=True, text=True, check=False)
    return done.returncode, done.stderr


@pytest.mark.parametrize("quote", ["", '"'])
def test_an_api_that_listens_lets_the_agent_start(tmp_path: Path, quote: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        assert asked(tmp_path, f"{quote}https://127.0.0.1:{port}{quote}") == (0, "")


def test_one_that_does_not_keeps_it_from_taking_jobs(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
    code, said = asked(tmp_path, f"https://127.0.0.1:{port}")
    assert code == 1
    assert said.startswith(f"the cluster's API at 127.0.0.1:{port} cannot be reached, and no job is taken")
    assert len(said.splitlines()) == 1


@pytest.mark.parametrize("server", ["", "https://127.0.0.1:port", "nonsense"])
def test_what_is_no_address_is_told_in_a_line(tmp_path: Path, server: str) -> None:
    code, said = asked(tmp_path, server)
    assert (code, len(said.splitlines())) == (1, 1)
