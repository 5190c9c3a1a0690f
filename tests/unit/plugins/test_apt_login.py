"""A mirror that asks for a login: apt has it from a file that root alone reads, and it stands nowhere else."""

from __future__ import annotations

import base64
import os
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from bootstrap.hostside import gpuctl_aptsource as aptsource
from bootstrap.hostside.gpuctl_aptsource import Source
from bootstrap.hostside.gpuctl_hostio import HostError
from bootstrap.hostside.gpuctl_url import has_login, logins, parted, without_logins

PASSWORDS = ["plain", "p@ss:w/rd", "#1", 'quo"te', "back\\slash", "$HOME", "käse", "machine", "%41"]


def source(url: str, key_url: str = "https://mirror.example/key.asc") -> Source:
    given = {"url": url, "suite": "./", "key_url": key_url, "key_fingerprint": "A" * 40}
    return Source("containerd", given, None)


@contextmanager
def mirror(logins: set[str]) -> Iterator[tuple[str, list[str]]]:
    """An empty repository for those who send one of these logins; its address, and what was sent."""
    sent: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            login = self.headers.get("Authorization", "").removeprefix("Basic ")
            sent.append(base64.b64decode(login).decode() if login else "")
            good = sent[-1] in logins
            self.send_response(401 if not good else 200 if self.path.endswith("/Packages") else 404)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield f"127.0.0.1:{server.server_address[1]}", sent
        server.shutdown()


def update(folder: Path, found: Source) -> int:
    """apt-get update with this source and no other, in a folder of its own; its exit status."""
    for part in ("lists/partial", "cache/archives/partial", "auth.d", "sources.d", "empty"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    auth = folder / "auth.d" / Path(found.auth_path).name
    auth.write_text(found.auth_text())
    auth.chmod(0o600)
    (folder / "sources.d" / "it.sources").write_text(f"Types: deb\nURIs: {found.url}\nSuites: ./\nTrusted: yes\n")
    settings = {
        "Dir::Etc::sourcelist": "/dev/null",
        "Dir::Etc::sourceparts": f"{folder}/sources.d",
        "Dir::Etc::netrc": "/dev/null",
        "Dir::Etc::netrcparts": f"{folder}/auth.d",
        "Dir::Etc::parts": f"{folder}/empty",
        "Dir::State::lists": f"{folder}/lists",
        "Dir::Cache": f"{folder}/cache",
        "APT::Sandbox::User": "root",
        "Acquire::Languages": "none",
        "Acquire::Retries": "0",
        "Acquire::http::Proxy": "DIRECT",
    }
    options = [word for name, value in settings.items() for word in ("-o", f"{name}={value}")]
    environment = {"PATH": os.environ["PATH"], "LC_ALL": "C", "APT_CONFIG": "/dev/null"}
    argv = ["apt-get", *options, "-qq", "--error-on=any", "update"]
    return subprocess.run(argv, capture_output=True, env=environment, check=False, timeout=60).returncode


@pytest.mark.skipif(not shutil.which("apt-get"), reason="needs apt-get")
def test_the_real_apt_sends_the_login_and_no_other_does(tmp_path: Path) -> None:
    wanted = {f"ann:{password}" for password in PASSWORDS} | {"token-4711:"}
    with mirror(wanted) as (place, sent):
        for number, login in enumerate([*(f"ann:{quote(p, safe='')}" for p in PASSWORDS), "token-4711"]):
            assert update(tmp_path / str(number), source(f"http://{login}@{place}/deb")) == 0, login
        assert wanted <= set(sent)
        assert set(sent) <= wanted | {""}
        assert update(tmp_path / "none", source(f"http://{place}/deb")) != 0


def test_the_login_is_in_its_own_file_alone() -> None:
    secret = source("https://ann:s3cret@mirror.example:8443/deb")
    assert secret.url == "https://mirror.example:8443/deb/"
    assert "s3cret" not in secret.entry("amd64")
    assert secret.auth_text().splitlines()[1:] == [
        "machine https://mirror.example:8443/deb/", "login ann", "password s3cret"
    ]  # fmt: skip
    assert source("https://mirror.example/deb").auth_text() == ""


def test_a_login_that_apt_cannot_read_is_refused() -> None:
    for login in ("ann:a%20b", "ann:a%0Amachine%20x", "a%09b"):
        with pytest.raises(HostError) as caught:
            source(f"https://{login}@mirror.example/deb").auth_text()
        assert caught.value.code == "variable-invalid"
        assert "%20" not in caught.value.message


def test_the_key_is_asked_for_with_the_login_of_its_server_and_no_other() -> None:
    url = "https://ann:s3cret@mirror.example/deb"
    assert source(url).login_for_key() == ("https://mirror.example/key.asc", "ann", "s3cret")
    for elsewhere in ("https://vendor.example/key.asc", "https://mirror.example:8443/key.asc"):
        assert source(url, elsewhere).login_for_key() == (elsewhere, "", "")
    assert source(url, "https://bob:x@vendor.example/k").login_for_key() == ("https://vendor.example/k", "bob", "x")


def test_the_files_of_a_host(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("key_path", "list_path", "conf_path", "pin_path", "auth_path"):
        monkeypatch.setattr(Source, name, str(tmp_path / name))
    monkeypatch.setattr(aptsource, "sync", fake_sync)
    monkeypatch.setattr(aptsource, "fetch", lambda *_: (b"key", False))
    monkeypatch.setattr(aptsource, "checked_key", lambda *_: "KEY")
    made = aptsource.apply("containerd", source("https://ann:s3cret@mirror.example/deb"), [], "amd64", check=False)
    assert made["modes"]["auth_path"] == 0o600
    assert made["secret"] == ["auth_path"]
    made = aptsource.apply("containerd", source("https://mirror.example/deb"), [], "amd64", check=False)
    assert "auth_path" in made["absent"]


def fake_sync(_component: str, files: list[Any], absent: list[str], _check: bool) -> dict[str, Any]:
    return {
        "modes": {Path(wanted.dest).name: wanted.mode for wanted in files},
        "secret": [Path(wanted.dest).name for wanted in files if wanted.secret],
        "absent": [Path(path).name for path in absent],
    }


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("https://h/p", ("https://h/p", "", "")),
        ("https://a:b@h:1/p?q#f", ("https://h:1/p?q#f", "a", "b")),
        ("https://a%40x:b%3A@h/", ("https://h/", "a@x", "b:")),
        ("https://t@h/", ("https://h/", "t", "")),
        ("https://a:b@c@h/", ("https://h/", "a", "b@c")),
        ("http://[", ("http://[", "", "")),
        ("no address", ("no address", "", "")),
    ],
)
def test_an_address_taken_apart(url: str, address: tuple[str, str, str]) -> None:
    assert parted(url) == address


def test_logins_are_found_wherever_they_stand() -> None:
    value = {"a": ["x", {"url": "https://ann:p%40w@h/p"}], "b": "http://tok@h", "c": "ssh://user@host", "d": 3}
    assert sorted(logins(value)) == ["p%40w", "p@w", "tok"]
    assert has_login(value)
    assert not has_login({"c": "ssh://user@host", "d": "https://h/a@b", "e": None, "f": "https://h?q=a@b"})
    assert without_logins("at https://a:b@h/x and socks5h://t@h") == "at https://h/x and socks5h://h"
