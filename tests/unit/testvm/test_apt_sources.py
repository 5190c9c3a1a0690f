from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from bootstrap.testvm.apt_sources import KEYRING, Entry, choose, is_debian, parse_deb822, parse_one_line

DEB822 = """\
# snapshot
Types: deb deb-src
# http://archive.example/snapshot
URIs: http://archive.example/debian
Suites: bookworm bookworm-updates
Components: main contrib
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb
URIs: http://archive.example/debian-security
Suites: bookworm-security
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb
URIs: https://packages.example/node
Suites: nodistro
Components: main
Signed-By: /usr/share/keyrings/node.gpg

Types: deb
Enabled: no
URIs: http://archive.example/debian
Suites: trixie
Components: main
"""


def test_only_debian_entries_are_taken_from_deb822() -> None:
    found = choose(parse_deb822(DEB822), "bookworm")
    assert found.suite == "bookworm"
    assert found.uris == ("http://archive.example/debian", "http://archive.example/debian-security")
    assert "nodistro" not in found.deb822
    assert "trixie" not in found.deb822
    assert found.deb822.count("Types: deb\n") == 2
    assert found.deb822.count(f"Signed-By: {KEYRING}") == 2
    assert "Components: main contrib\n" in found.deb822
    # What is rendered says the same when it is read again.
    assert choose(parse_deb822(found.deb822), "bookworm") == found


def test_one_line_entries() -> None:
    text = """
# deb http://archive.example/debian sid main
deb-src http://archive.example/debian bookworm main
deb [arch=amd64 signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://a.example/x bookworm main extra # mine
deb http://archive.example/debian/ bookworm-updates main
deb [signed-by=/etc/apt/keyrings/other.gpg] http://archive.example/debian bookworm main
deb https://packages.example/apt cloud main
"""
    found = choose(parse_one_line(text), "bookworm")
    assert found.uris == ("http://a.example/x", "http://archive.example/debian/")
    assert "Components: main extra\n" in found.deb822


def test_one_release_of_several() -> None:
    entries = [Entry(("http://a.example/debian",), (suite,), ("main",), "") for suite in ("trixie", "bookworm")]
    assert choose(entries, "bookworm").suite == "bookworm"
    assert "trixie" not in choose(entries, "bookworm").deb822
    assert choose(entries, "noble").suite == "trixie"


def test_a_machine_without_debian_entries_has_none() -> None:
    ubuntu = Entry(("http://archive.example/ubuntu",), ("noble",), ("main",), "/usr/share/keyrings/ubuntu.gpg")
    assert not is_debian(ubuntu)
    found = choose([ubuntu], "noble", proxy="http://cache.example:3142")
    assert (found.suite, found.deb822, found.proxy) == ("", "", "http://cache.example:3142")


@given(st.text())
def test_any_text_is_read(text: str) -> None:
    choose([*parse_deb822(text), *parse_one_line(text)], "bookworm")
