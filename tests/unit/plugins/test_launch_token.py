"""The token of the Launch agent on its host: renewed in time, removed once lapsed, read anew by the client."""

from __future__ import annotations

import base64
import json
import runpy
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.unit.plugins_cluster.rendering import ROLES

FILES = ROLES / "launch_agent_host" / "files"
RENEW = runpy.run_path(str(FILES / "renew.py"))
DAY = 86400.0
ACCOUNT = ("wandb", "agent")


def token(made: float, ends: float, mark: str = "") -> str:
    claims = {"iat": made, "exp": ends, "mark": mark}
    return f"head.{base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip('=')}.signature"


class Host:
    """The agent's folder, and an API that makes tokens or says why not."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.path, self.config = folder, folder / "token", folder / "config"
        self.admin = folder / "admin.conf"
        self.config.write_text(json.dumps({"clusters": [{"cluster": {"server": "https://api:6443"}}]}))
        pem = base64.b64encode(b"PEM").decode()
        self.admin.write_text(f"    client-certificate-data: {pem}\n    client-key-data: {pem}\n")
        self.new = token(time.time(), time.time() + DAY, "new")
        self.asked: list[tuple[str, int, bytes, str]] = []
        self.says: Exception | None = None

    def ask(self, _cluster: dict[str, Any], path: str, seconds: int, pem: bytes, old: str) -> str:
        self.asked.append((path, seconds, pem, old))
        if self.says:
            raise self.says
        return self.new

    def renew(self, *admins: str) -> str:
        return str(RENEW["renew"](self.config, self.path, ACCOUNT, 3600, list(admins)))


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    made = Host(tmp_path)
    monkeypatch.setitem(RENEW["renew"].__globals__, "ask", made.ask)
    return made


def test_the_account_asks_with_its_own_token(host: Host) -> None:
    old = token(time.time() - 20 * DAY, time.time() + 10 * DAY)
    host.path.write_text(old)
    assert host.renew() == ""
    assert host.path.read_text() == host.new
    assert host.path.stat().st_mode & 0o777 == 0o600
    assert host.asked == [("/api/v1/namespaces/wandb/serviceaccounts/agent/token", 3600, b"", old)]
    assert sorted(path.name for path in host.folder.iterdir()) == ["admin.conf", "config", "token"]


def test_root_asks_with_the_administrators_certificate(host: Host) -> None:
    assert host.renew("/nowhere/admin.conf", f"{host.folder}/*.conf") == ""
    assert [asked[2:] for asked in host.asked] == [(b"PEM\nPEM", "")]
    assert host.path.read_text() == host.new


def test_a_token_of_which_more_than_half_is_left_stays(host: Host) -> None:
    host.path.write_text(token(time.time() - DAY, time.time() + 2 * DAY))
    assert host.renew() == ""
    assert host.asked == []


@pytest.mark.parametrize("left_s", [3600.0, -1.0])
def test_one_that_has_lapsed_is_removed_and_no_other(host: Host, left_s: float) -> None:
    host.says = OSError("connection refused")
    host.path.write_text(token(time.time() - 30 * DAY, time.time() + left_s))
    assert "connection refused" in host.renew()
    assert host.path.exists() is (left_s > 0)


def test_one_that_the_api_refuses_is_removed(host: Host) -> None:
    host.says = RENEW["RefusedError"]("the API takes it no more (401)")
    host.path.write_text(token(time.time() - 20 * DAY, time.time() + 10 * DAY))
    assert host.renew().startswith("the token has lapsed")
    assert not host.path.exists()


@pytest.mark.parametrize("break_it", [lambda h: h.config.write_text("{"), lambda h: h.config.unlink(), lambda _: None])
def test_what_lacks_is_told_in_a_line(host: Host, break_it: Callable[[Host], None]) -> None:
    break_it(host)
    assert host.renew().startswith("the token could not be renewed: ")  # the last has no old token


@pytest.mark.parametrize(
    ("text", "said"),
    [(token(1, 4e9), "until 4000000000"), (token(1, 2), "lapsed 2"), ("x", "missing"), ("a.b.c", "missing")],
)  # fmt: skip
def test_it_says_how_long_a_token_is_valid(
    text: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "token").write_text(text)
    assert RENEW["main"]([str(tmp_path / "token")]) == 0
    assert capsys.readouterr().out == f"{said}\n"


def test_the_client_reads_the_token_before_each_request(tmp_path: Path) -> None:
    class Loader:
        def _set_config(self, configuration: Any) -> None:
            configuration.host = "https://api:6443"
            configuration.api_key = {"BearerToken": "Bearer first"}

    class Configuration:
        host = ""
        api_key: dict[str, str]
        refresh_api_key_hook: Callable[[Any], None]

    path = tmp_path / "token"
    runpy.run_path(str(FILES / "agent.py"))["keep_fresh"](Loader, path)
    configuration = Configuration()
    Loader()._set_config(configuration)
    assert configuration.host == "https://api:6443"
    for text, used in (("second\n", "second"), ("third", "third")):
        path.write_text(text)
        configuration.refresh_api_key_hook(configuration)
        assert configuration.api_key["BearerToken"] == f"Bearer {used}"
    path.unlink()  # it has lapsed: the API says so
    configuration.refresh_api_key_hook(configuration)
    assert configuration.api_key["BearerToken"] == "Bearer third"
