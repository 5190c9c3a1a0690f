"""System users: made, kept, removed; others' are refused and left alone."""

from __future__ import annotations

import os
import pwd
from pathlib import Path

import pytest

from bootstrap.hostside import gpuctl_account as accounts
from bootstrap.hostside import gpuctl_receipts as receipts
from bootstrap.hostside.gpuctl_hostio import HostError, Ran

NAME = "gpuctl-test"


class Users:
    """The host's users, and the tools that change them."""

    def __init__(self) -> None:
        self.there: set[str] = set()
        self.ran: list[list[str]] = []

    def entry(self, name: str) -> pwd.struct_passwd | None:
        return pwd.struct_passwd((name, "x", os.getuid(), os.getgid(), "", "/", "")) if name in self.there else None

    def run(self, argv: list[str], _timeout_s: float) -> Ran:
        self.ran.append(argv)
        (self.there.add if argv[0] == "useradd" else self.there.discard)(argv[-1])
        return Ran(0, "", "")


@pytest.fixture
def users(monkeypatch: pytest.MonkeyPatch) -> Users:
    found = Users()
    monkeypatch.setattr(accounts, "known", found.entry)
    monkeypatch.setattr(accounts, "run", found.run)
    monkeypatch.setattr(pwd, "getpwnam", found.entry)
    return found


def test_a_user_comes_and_goes(users: Users, tmp_path: Path) -> None:
    home, base = str(tmp_path / "home"), str(tmp_path / "gpuctl")
    made = [f"user {NAME}", f"folder {home}"]
    assert accounts.have("c", NAME, home, check=True, base=base) == made
    assert users.ran == []
    assert accounts.have("c", NAME, home, check=False, base=base) == made
    assert Path(home).stat().st_mode & 0o777 == 0o700
    assert "--shell /usr/sbin/nologin" in " ".join(users.ran[0])
    assert accounts.have("c", NAME, home, check=False, base=base) == []
    (Path(home) / "file").touch()
    assert accounts.remove("c", NAME, home, check=False, base=base) == made
    assert not Path(home).exists()
    assert users.there == set()


def test_another_s_user_is_refused_and_stays(users: Users, tmp_path: Path) -> None:
    users.there.add(NAME)
    home, base = str(tmp_path / "home"), str(tmp_path / "gpuctl")
    with pytest.raises(HostError) as caught:
        accounts.have("c", NAME, home, check=False, base=base)
    assert caught.value.code == "user-foreign"
    assert accounts.remove("c", NAME, home, check=False, base=base) == []
    assert users.there == {NAME}
    assert users.ran == []


def test_a_kill_between_the_note_and_the_user_does_no_harm(users: Users, tmp_path: Path) -> None:
    home, base = str(tmp_path / "home"), str(tmp_path / "gpuctl")
    receipts.remember_before("c", "users", NAME, home, base)
    assert accounts.have("c", NAME, home, check=False, base=base) != []
    assert users.there == {NAME}
    assert accounts.remove("c", NAME, home, check=False, base=base) != []
