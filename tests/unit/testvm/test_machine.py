"""What a lab sets for the machine that its hosts share, and what comes back."""

from __future__ import annotations

from pathlib import Path

import pytest

from bootstrap.testvm import machine

LIMIT = "fs/inotify/max_user_instances"


@pytest.fixture
def system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine's /proc/sys with bridge filtering, and no lab yet."""
    found = tmp_path / "sys"
    (found / "net/bridge").mkdir(parents=True)
    for name in machine.KEPT:
        (found / name).parent.mkdir(parents=True, exist_ok=True)
        (found / name).write_text("128\n")
    (tmp_path / "run").mkdir()
    monkeypatch.setattr(machine, "SYS", found)
    monkeypatch.setattr(machine, "RUNTIME_ROOT", tmp_path / "run")
    monkeypatch.setattr(machine, "NSPAWN_RUNTIME", tmp_path / "nspawn")
    return found


def test_a_reset_of_one_lab_leaves_the_others_their_limits(system: Path) -> None:
    """A host that finds them high puts the same back."""
    machine.prepare()
    assert int((system / LIMIT).read_text()) == machine.RAISED[LIMIT]
    (system / LIMIT).write_text("99999")
    machine.prepare()  # a second lab: higher stays
    assert (system / LIMIT).read_text() == "99999"


def test_the_last_lab_puts_the_machine_s_settings_back(system: Path) -> None:
    machine.prepare()
    machine.restore()
    assert {name: (system / name).read_text().strip() for name in machine.KEPT} == dict.fromkeys(machine.KEPT, "128")
