"""Receipts and what was before: atomic, private, and never overwritten where they must not be."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from bootstrap.hostside import gpuctl_receipts as receipts


@pytest.fixture
def base(tmp_path: Path) -> str:
    return str(tmp_path / "gpuctl")


def test_a_receipt_is_begun_then_complete(base: str) -> None:
    begun = receipts.begin({"component": "containerd", "revision": 1, "run": "r1"}, base)

    assert begun["state"] == "begun"
    assert begun["schema"] == 1
    assert receipts.read_all(base)["containerd"]["state"] == "begun"
    done = receipts.complete(
        "containerd", {"package:containerd.io": "2.3.7"}, base, versions={"containerd.io": "2.3.7"}
    )
    assert done["state"] == "complete"
    assert done["completed_at"] >= done["began_at"]
    assert receipts.read("containerd", base) == done
    assert done["run"] == "r1"


def test_beginning_again_forgets_that_it_was_complete(base: str) -> None:
    receipts.begin({"component": "x"}, base)
    receipts.complete("x", {}, base)
    receipts.begin({"component": "x"}, base)
    found = receipts.read("x", base)

    assert found is not None
    assert (found["state"], found["completed_at"]) == ("begun", None)


def test_nothing_that_was_not_begun_is_completed(base: str) -> None:
    with pytest.raises(LookupError, match="no receipt of x"):
        receipts.complete("x", {}, base)


def test_receipts_are_private_and_leave_no_half_files(base: str) -> None:
    receipts.begin({"component": "x"}, base)
    folder = Path(base, "receipts")

    assert stat.S_IMODE((folder / "x.json").stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert [f.name for f in folder.iterdir()] == ["x.json"]


def test_a_write_that_fails_keeps_the_old_file(base: str, monkeypatch: pytest.MonkeyPatch) -> None:
    receipts.begin({"component": "x", "run": "old"}, base)

    def full(_fd: int) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="space"):
        receipts.begin({"component": "x", "run": "new"}, base)
    found = receipts.read("x", base)
    assert found is not None
    assert found["run"] == "old"
    assert [f.name for f in Path(base, "receipts").iterdir()] == ["x.json"]


@pytest.mark.parametrize("text", ["", "{", "[]", '{"component": "other"}', '"x"'])
def test_a_damaged_receipt_is_never_taken_for_a_good_one(base: str, text: str) -> None:
    receipts.begin({"component": "x"}, base)
    Path(base, "receipts", "x.json").write_text(text)

    assert receipts.read_all(base)["x"]["state"] == "damaged"


def test_no_receipts_is_no_error(base: str) -> None:
    assert receipts.read_all(base) == {}
    assert receipts.read("x", base) is None


@pytest.mark.parametrize("name", ["", "../etc/passwd", ".hidden", "a/b"])
def test_only_component_names_name_files(base: str, name: str) -> None:
    with pytest.raises(ValueError, match="component name"):
        receipts.read(name, base)


def test_what_was_before_is_written_once(base: str) -> None:
    assert receipts.remember_before("x", "sysctls", "net.ipv4.ip_forward", "0", base)
    assert not receipts.remember_before("x", "sysctls", "net.ipv4.ip_forward", "1", base)
    assert receipts.remember_before("x", "packages_absent", "socat", base=base)
    assert not receipts.remember_before("x", "packages_absent", "socat", base=base)
    before = receipts.read_before("x", base)
    assert before["sysctls"] == {"net.ipv4.ip_forward": "0"}
    assert before["packages_absent"] == ["socat"]


def test_a_replaced_file_comes_back_as_it_was(base: str, tmp_path: Path) -> None:
    path = tmp_path / "config"
    path.write_text("theirs")
    path.chmod(0o640)
    assert receipts.remember_file("x", str(path), base)
    path.write_text("ours")
    assert not receipts.remember_file("x", str(path), base)
    path.chmod(0o600)
    assert receipts.restore_file(str(path), receipts.read_before("x", base)["files"][str(path)])

    assert path.read_text() == "theirs"
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


def test_a_file_that_was_not_there_goes_again(base: str, tmp_path: Path) -> None:
    path = tmp_path / "new"
    receipts.remember_file("x", str(path), base)
    path.write_text("ours")
    saved = receipts.read_before("x", base)["files"][str(path)]

    assert receipts.restore_file(str(path), saved)
    assert not path.exists()
    assert not receipts.restore_file(str(path), saved)


def test_a_link_comes_back_as_a_link(base: str, tmp_path: Path) -> None:
    path = tmp_path / "resolv.conf"
    path.symlink_to("elsewhere")
    receipts.remember_file("x", str(path), base)
    path.unlink()
    path.write_text("ours")
    receipts.restore_file(str(path), receipts.read_before("x", base)["files"][str(path)])

    assert str(path.readlink()) == "elsewhere"


def test_a_component_is_forgotten_whole(base: str, tmp_path: Path) -> None:
    path = tmp_path / "config"
    path.write_text("theirs")
    receipts.begin({"component": "x"}, base)
    receipts.remember_file("x", str(path), base)

    assert receipts.remove("x", base)
    assert not receipts.remove("x", base)
    assert not [f for f in Path(base).rglob("*") if f.is_file()]


def test_a_killed_run_does_not_forget_what_is_installed(base: str) -> None:
    old, new = {"v": {"digest": "1", "value": "1"}}, {"v": {"digest": "2", "value": "2"}}
    first = receipts.begin({"component": "x", "arguments": old}, base)
    assert receipts.known_arguments(first) == {}, "nothing was ever installed to the end"
    assert receipts.known_arguments(receipts.complete("x", {}, base)) == old
    for _ in range(2):  # killed, begun again, killed
        assert receipts.known_arguments(receipts.begin({"component": "x", "arguments": new}, base)) == old
    done = receipts.complete("x", {}, base)

    assert receipts.known_arguments(done) == new
    assert "installed" not in done
