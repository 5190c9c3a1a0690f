"""What is known of packages before any tool is started."""

from __future__ import annotations

from typing import Any

import pytest

from bootstrap.hostside import gpuctl_apt as apt
from bootstrap.hostside.gpuctl_hostio import HostError, Ran

STATUS = """Package: containerd.io
Status: hold ok installed
Version: 2.3.7-1~debian.12~bookworm

Package: runc
Status: install ok installed
Architecture: amd64
Version: 1.1.5+ds1-1

Package: gone
Status: deinstall ok config-files
Version: 1

Package: half
Status: install ok half-configured
Version: 2
"""


def test_only_whole_packages_are_installed() -> None:
    assert apt.installed(STATUS) == {
        "containerd.io": apt.Package("2.3.7-1~debian.12~bookworm", held=True),
        "runc": apt.Package("1.1.5+ds1-1", held=False),
    }


def test_what_left_only_its_configuration_is_present() -> None:
    assert apt.present("*", STATUS) == ["containerd.io", "runc", "gone", "half"]
    assert apt.present("gon*", STATUS) == ["gone"]


@pytest.mark.parametrize(
    ("pattern", "fits"), [(None, True), ("2.3.7-*", True), ("2.3.70-*", False), ("2.3.7", False), ("2.4.*", False)]
)
def test_a_version_is_a_pattern(pattern: str | None, fits: bool) -> None:
    have = apt.installed(STATUS)["containerd.io"]
    assert apt.Wanted("containerd.io", pattern).satisfied_by(have) is fits
    assert not apt.Wanted("containerd.io", pattern).satisfied_by(None)


def test_what_is_on_offer(monkeypatch: pytest.MonkeyPatch) -> None:
    said = "containerd.io | 2.4.0-1 | https://x a\ncontainerd.io | 2.3.7-2 | https://x a\ncontainerd.io | 2.3.7-2 | b\n"
    monkeypatch.setattr(apt, "run", lambda *_: Ran(0, said, ""))
    assert apt.versions(["containerd.io", "other"]) == {"containerd.io": ["2.4.0-1", "2.3.7-2"], "other": []}


class Tools:
    """Answers of tools in turn; keeps what was asked."""

    def __init__(self, *answers: Ran) -> None:
        self.answers = list(answers)
        self.asked: list[list[str]] = []

    def __call__(self, argv: list[str], *_: Any) -> Ran:
        self.asked.append(argv)
        return self.answers.pop(0)


@pytest.fixture
def unlocked(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    monkeypatch.setattr(apt, "wait_for_locks", lambda _: None)
    return monkeypatch


def test_a_killed_dpkg_is_completed_first(unlocked: pytest.MonkeyPatch) -> None:
    broken = Ran(
        100, "", "E: dpkg was interrupted, you must manually run 'dpkg --configure -a' to correct the problem."
    )
    tools = Tools(broken, Ran(0, "", ""), Ran(0, "", ""))
    unlocked.setattr(apt, "run", tools)
    apt.install([apt.Wanted("a", "1-*"), apt.Wanted("b")], 1)
    assert [argv[0] for argv in tools.asked] == ["apt-get", "dpkg", "apt-get"]
    assert tools.asked[2][-2:] == ["a=1-*", "b"]
    assert "--configure" in tools.asked[1]


def test_a_failure_without_a_known_cause_is_not_repeated(unlocked: pytest.MonkeyPatch) -> None:
    tools = Tools(Ran(100, "", "E: No space left on device"))
    unlocked.setattr(apt, "run", tools)
    with pytest.raises(HostError) as caught:
        apt.install([apt.Wanted("a", "1-*"), apt.Wanted("b")], 1)
    assert caught.value.code == "package-install-failed"
    assert "No space left on device" in caught.value.as_text()
    assert len(tools.asked) == 1


def test_what_nobody_offers_is_told_from_a_failure(unlocked: pytest.MonkeyPatch) -> None:
    for said in ("E: Version '9-*' for 'a' was not found", "E: Unable to locate package a"):
        unlocked.setattr(apt, "run", Tools(Ran(100, "", said)))
        assert not apt.install([apt.Wanted("a", "9-*")], 1)


def test_a_source_that_fails_is_an_error_and_says_which_kind(unlocked: pytest.MonkeyPatch) -> None:
    for said, code in (("W: GPG error: … NO_PUBKEY 12", "key-mismatch"), ("E: timed out", "repository-unreachable")):
        unlocked.setattr(apt, "run", Tools(Ran(100, "", said)))
        with pytest.raises(HostError) as caught:
            apt.update(1, "/etc/apt/sources.list.d/x.sources")
        assert caught.value.code == code


def test_who_holds_the_lock_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(apt, "lock_holder", lambda path: "unattended-upgr (pid 7)" if "frontend" in path else None)
    with pytest.raises(HostError) as caught:
        apt.wait_for_locks(0)
    assert caught.value.code == "package-lock"
    assert "unattended-upgr (pid 7)" in caught.value.message


def test_a_suggestion_keeps_no_package(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[list[str]] = []

    def run(arguments: list[str], *_: float) -> Ran:
        asked.append(arguments)
        return Ran(0, "Reading package lists...\nRemv nfs-common [1:2.6.2-4]\nRemv rpcbind [1.2.6-6]\n", "")

    monkeypatch.setattr(apt, "apt_get", run)
    assert apt.not_needed_any_more(5) == {"nfs-common", "rpcbind"}
    assert asked == [["--simulate", "-o", "APT::AutoRemove::SuggestsImportant=false", "autoremove"]]
