"""A package source: its key must be the one that was named."""

from __future__ import annotations

import contextlib
import hashlib
import ssl
import urllib.error
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootstrap.hostside import gpuctl_aptsource as aptsource
from bootstrap.hostside.gpuctl_aptsource import Source
from bootstrap.hostside.gpuctl_hostio import HostError
from bootstrap.hostside.gpuctl_openpgp import armored, fingerprints, keyring
from bootstrap.hostside.gpuctl_url import Address, parted


def packet(tag: int, body: bytes, old: bool = False) -> bytes:
    if old:
        return bytes([0x80 | tag << 2 | 1]) + len(body).to_bytes(2, "big") + body
    if len(body) < 192:
        return bytes([0xC0 | tag, len(body)]) + body
    if len(body) < 8384:
        length = len(body) - 192
        return bytes([0xC0 | tag, 192 + (length >> 8), length & 255]) + body
    return bytes([0xC0 | tag, 255]) + len(body).to_bytes(4, "big") + body


def fingerprint(body: bytes) -> str:
    return hashlib.sha1(b"\x99" + len(body).to_bytes(2, "big") + body).hexdigest().upper()  # noqa: S324


def armoured(data: bytes, header: str = "") -> bytes:
    return armored(data).replace("\n\n", f"\n{header}\n", 1).encode()


KEY = b"\x04" + b"a public key" * 30


@given(st.binary(min_size=1, max_size=9000), st.booleans(), st.booleans())
def test_fingerprints_of_any_length_and_header(body: bytes, old: bool, armour: bool) -> None:
    key = b"\x04" + body
    data = packet(6, key, old) + packet(13, b"name") + packet(14, b"\x04subkey")
    assert keyring(data, [fingerprint(key)]) == keyring(armoured(data), [fingerprint(key)])
    assert fingerprints(armoured(data, "Version: x\n") if armour else data) == [fingerprint(key)]


@given(st.binary(max_size=300))
def test_anything_else_is_no_key(data: bytes) -> None:
    with contextlib.suppress(ValueError):
        assert all(len(one) == 40 for one in fingerprints(data))


def source(**changed: Any) -> Source:
    given_: dict[str, Any] = {
        "url": "https://mirror.example:8443/apt/",
        "suite": "stable",
        "components": "main extra",
        "key_url": "https://mirror.example:8443/key.asc",
        "key_fingerprint": fingerprint(KEY),
    }
    return Source("containerd", {**given_, **changed}, "/etc/gpuctl/ca.crt")


def test_a_named_key_is_accepted_in_any_spelling() -> None:
    spaced = " ".join(fingerprint(KEY).lower()[i : i + 4] for i in range(0, 40, 4))
    aptsource.checked_key(armoured(packet(6, KEY)), source(key_fingerprint=spaced))


def test_a_clean_file_of_the_host_stays_as_it_is_laid_out(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    place = tmp_path / "key.asc"
    monkeypatch.setattr(Source, "key_path", str(place))
    theirs = armoured(packet(6, KEY), "Comment: by another gpg\n")
    for data, kept in (
        (theirs, theirs),
        (theirs + armoured(packet(6, KEY)), armored(packet(6, KEY, old=True) * 2).encode()),
        (packet(6, KEY), armored(packet(6, KEY, old=True)).encode()),
        (armoured(packet(6, KEY + b"x")), b""),
    ):
        place.write_bytes(data)
        assert aptsource._known_key(source()).encode() == kept


@pytest.mark.parametrize(
    "data",
    [
        armoured(packet(6, KEY + b"x")),
        armoured(packet(6, KEY) + packet(6, KEY + b"smuggled in beside it")),
        armoured(packet(6, KEY)[:-3]),
        b"<html>not found</html>",
        b"",
    ],
)
def test_any_other_key_is_refused(data: bytes) -> None:
    with pytest.raises(HostError) as caught:
        aptsource.checked_key(data, source())
    assert caught.value.code == "key-mismatch"
    assert caught.value.fix


def test_the_entry_of_a_repository_with_suites_and_of_a_flat_one() -> None:
    lines = source().entry("amd64").splitlines()[1:]
    assert lines == [
        "Types: deb",
        "URIs: https://mirror.example:8443/apt/",
        "Suites: stable",
        "Components: main extra",
        "Architectures: amd64",
        f"Signed-By: /etc/apt/keyrings/gpuctl-{fingerprint(KEY)}.asc",
    ]
    flat = source(suite="/", components=[]).entry("amd64")
    assert "Suites: /\n" in flat
    assert "Components" not in flat


def test_lists_are_found_by_the_name_that_apt_gives_them(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(aptsource, "LISTS", str(tmp_path))
    assert not aptsource.lists_there(source())
    (tmp_path / "mirror.example:8443_apt_dists_other_main_binary-amd64_Packages").touch()
    assert not aptsource.lists_there(source())
    (tmp_path / "mirror.example:8443_apt_dists_stable_main_binary-amd64_Packages").touch()
    assert aptsource.lists_there(source())
    assert not aptsource.lists_there(source(suite="/"))
    (tmp_path / "mirror.example:8443_apt_Packages").touch()
    assert aptsource.lists_there(source(suite="/"))


def test_only_https_is_fetched() -> None:
    for url in ("http://mirror.example/key", "file:///etc/shadow"):
        with pytest.raises(HostError) as caught:
            aptsource.fetch(parted(url), None)
        assert caught.value.code == "repository-unreachable"


def test_the_site_s_ca_is_used_where_the_system_s_do_not_do(monkeypatch: pytest.MonkeyPatch) -> None:
    def answer(_: Address, ca_path: str | None) -> bytes:
        if ca_path is None:
            raise urllib.error.URLError(ssl.SSLCertVerificationError("unknown issuer"))
        return b"key"

    monkeypatch.setattr(aptsource, "_get", answer)
    assert aptsource.fetch(parted("https://mirror.example/key"), "/ca.crt") == (b"key", True)
    with pytest.raises(HostError, match="unknown issuer"):
        aptsource.fetch(parted("https://mirror.example/key"), None)
    monkeypatch.setattr(aptsource, "_get", lambda *_: b"key")
    assert aptsource.fetch(parted("https://mirror.example/key"), "/ca.crt") == (b"key", False)
