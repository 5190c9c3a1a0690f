"""Files on a host: written when they differ, checked before, put back after."""

from __future__ import annotations

import functools
import stat
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootstrap.hostside import gpuctl_filesync as filesync
from bootstrap.hostside import gpuctl_receipts as receipts
from bootstrap.hostside.gpuctl_filesync import Wanted, with_block, without_block
from bootstrap.hostside.gpuctl_hostio import HostError

LINES = st.lists(st.sampled_from(["127.0.0.1 localhost", "# mine", "", "10.0.0.1 a b"]), max_size=6)


@pytest.fixture(autouse=True)
def memory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Receipts below the test's own folder; the owner of files is whoever runs the test."""
    base = str(tmp_path / "gpuctl")
    calls = {name: getattr(receipts, name) for name in ("read_before", "remember_before", "remember_file")}
    kept = {name: functools.partial(call, base=base) for name, call in calls.items()}
    monkeypatch.setattr(filesync, "receipts", SimpleNamespace(restore_file=receipts.restore_file, **kept))
    monkeypatch.setattr(filesync, "same_metadata", lambda path, mode, *_: Path(path).stat().st_mode & 0o777 == mode)
    return tmp_path


def wanted(dest: Path, content: str, **more: Any) -> Wanted:
    return Wanted({"dest": str(dest), "content": content, **more})


def test_only_what_differs_is_written(memory: Path) -> None:
    here, there = memory / "a", memory / "new" / "b"
    here.write_text("old")
    here.chmod(0o644)
    files = [wanted(here, "old"), wanted(there, "x", mode="0600")]
    assert filesync.sync("c", files, [], check=False)["changed_files"] == [str(there)]
    assert there.read_text() == "x"
    assert stat.S_IMODE(there.stat().st_mode) == 0o600
    assert filesync.sync("c", files, [], check=False)["changed_files"] == []


def test_check_mode_writes_nothing_and_shows_the_difference(memory: Path) -> None:
    path = memory / "a"
    path.write_text("old\n")
    result = filesync.sync("c", [wanted(path, "new\n")], [], check=True)
    assert path.read_text() == "old\n"
    assert "-old\n+new\n" in result["diff"][0]["prepared"]


def test_one_invalid_file_keeps_all_others_as_they_are(memory: Path) -> None:
    good, bad = memory / "good", memory / "bad"
    validator = [sys.executable, "-c", "import sys; sys.exit('broken' in open(sys.argv[1]).read())", "%s"]
    files = [wanted(good, "fine"), wanted(bad, "broken", validate=validator)]
    with pytest.raises(HostError) as caught:
        filesync.sync("c", files, [], check=False)
    assert caught.value.code == "config-invalid"
    assert not good.exists()
    assert not bad.exists()


def test_restore_brings_back_files_blocks_and_folders(memory: Path) -> None:
    kept, made, hosts = memory / "kept", memory / "sub" / "deep" / "made", memory / "hosts"
    kept.write_text("before")
    kept.chmod(0o640)
    hosts.write_text("1 a\n")
    files = [wanted(kept, "after"), wanted(made, "x"), wanted(hosts, "2 b", block=True)]
    filesync.sync("c", files, [], check=False)
    hosts.write_text(hosts.read_text() + "3 added later\n")
    filesync.restore("c", check=False)
    assert (kept.read_text(), stat.S_IMODE(kept.stat().st_mode)) == ("before", 0o640)
    assert not (memory / "sub").exists()
    assert hosts.read_text() == "1 a\n3 added later\n"
    assert filesync.restore("c", check=False) == []


def test_what_was_there_is_kept_from_the_first_time_only(memory: Path) -> None:
    path = memory / "a"
    path.write_text("original")
    for text in ("first", "second"):
        filesync.sync("c", [wanted(path, text)], [], check=False)
    filesync.restore("c", check=False)
    assert path.read_text() == "original"


def test_prune_removes_what_was_ours_and_is_not_wanted(memory: Path) -> None:
    ours, foreign = memory / "certs" / "a" / "hosts.toml", memory / "certs" / "b" / "hosts.toml"
    foreign.parent.mkdir(parents=True)
    foreign.write_text("admin's")
    filesync.sync("c", [wanted(ours, "x")], [], check=False)
    pattern = [str(memory / "certs" / "*" / "hosts.toml")]
    assert filesync.prune("c", pattern, [str(ours)], check=False) == []
    assert filesync.prune("c", pattern, [], check=False) == [str(ours)]
    assert foreign.read_text() == "admin's"


@given(LINES, LINES, st.sampled_from(["10.0.0.9 api", "10.0.0.9 api\n10.0.0.8 other\n"]))
def test_a_block_leaves_other_lines_alone(before: list[str], after: list[str], body: str) -> None:
    head, tail = ("".join(f"{line}\n" for line in lines) for lines in (before, after))
    text = with_block(head, body) + tail
    assert with_block(text, body) == text
    assert with_block(text, "10.0.0.7 new").count(filesync.BEGIN) == 1
    assert without_block(with_block(text, "10.0.0.7 new")) == head + tail
    assert with_block(text, "") == head + tail


def test_trees_are_emptied(memory: Path) -> None:
    root = memory / "data"
    (root / "a" / "b").mkdir(parents=True)
    (root / "link").symlink_to(memory)
    assert filesync.remove_trees([str(root), str(memory / "absent")], check=False) == [str(root)]
    assert not root.exists()
    assert memory.exists()
