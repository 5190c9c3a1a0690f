"""Units: what systemctl says, read; what is older than its files."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from bootstrap.hostside import gpuctl_systemd as systemd
from bootstrap.hostside.gpuctl_hostio import HostError, Ran

SHOWN = """Id=containerd.service
LoadState=loaded
ActiveState=active
SubState=running
UnitFileState=enabled
ActiveEnterTimestamp=Sun 2026-11-22 17:17:13.250000 UTC
NeedDaemonReload=no
ConditionResult=yes

Id=nothing.service
LoadState=not-found
ActiveState=inactive
SubState=dead
UnitFileState=
ActiveEnterTimestamp=
NeedDaemonReload=no
ConditionResult=no
"""


def test_units_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(systemd, "run", lambda *_: Ran(0, SHOWN, ""))
    units = systemd.show(["containerd.service", "nothing.service"])
    assert units["containerd.service"].since == 1795367833.25
    assert units["containerd.service"].exists
    assert units["nothing.service"].since is None
    assert systemd.unknown(units) == ["nothing.service"]


@pytest.mark.parametrize(
    ("stamp", "seconds"),
    [("Thu 1970-01-01 00:00:10 UTC", 10.0), ("Thu 1970-01-01 00:00:10.500000 UTC", 10.5), ("", None), ("n/a", None)],
)
def test_stamps(stamp: str, seconds: float | None) -> None:
    assert systemd.unix_time(stamp) == seconds


def test_the_installation_of_an_old_file_is_new(tmp_path: Path) -> None:
    """A package gives its files the time of the build: the inode tells when they came."""
    path = tmp_path / "containerd"
    path.touch()
    os.utime(path, (1000, 1000))
    assert systemd.newest_change([str(tmp_path / "*")]) == path.stat().st_ctime
    assert systemd.newest_change([str(tmp_path / "absent")]) == 0


def test_a_unit_that_its_condition_keeps_back_is_fine(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = systemd.Unit("t", "loaded", "inactive", "dead", "enabled", None, stale=False, condition=False)
    monkeypatch.setattr(systemd, "show", lambda _: {"t": kept})
    assert systemd.wait_active("t", 0) == kept


@pytest.mark.parametrize(("active", "words"), [("failed", "it failed"), ("activating", "not active after 0 s")])
def test_a_unit_that_does_not_come_up_shows_its_journal(
    monkeypatch: pytest.MonkeyPatch, active: str, words: str
) -> None:
    unit = systemd.Unit("t", "loaded", active, "auto-restart", "enabled", None, stale=False, condition=True)
    monkeypatch.setattr(systemd, "show", lambda _: {"t": unit})
    monkeypatch.setattr(systemd, "run", lambda *_: Ran(0, "last words\n", ""))
    with pytest.raises(HostError) as caught:
        systemd.wait_active("t", 0)
    assert words in caught.value.message
    assert caught.value.details == "last words"
