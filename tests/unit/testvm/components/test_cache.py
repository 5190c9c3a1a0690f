from __future__ import annotations

import fcntl
import multiprocessing
import shutil
import time
from collections import namedtuple
from pathlib import Path

import pytest

from bootstrap.errors import GpuctlError
from bootstrap.testvm.components import cache, mirror, tools
from bootstrap.testvm.components.cache import Store
from bootstrap.testvm.components.mirror import Mirror

DIGEST = "ab" * 32


def fill(store: Store, digest: str = DIGEST, content: str = "x") -> None:
    with store.create("components", "thing", digest) as partial:
        (partial / "program").write_text(content)


def test_an_entry_is_found_again(tmp_path: Path) -> None:
    store = Store(tmp_path)
    assert store.get("components", "thing", DIGEST) is None
    fill(store)
    found = store.get("components", "thing", DIGEST)
    assert found is not None
    assert (found / "program").read_text() == "x"


def test_another_digest_is_another_entry(tmp_path: Path) -> None:
    store = Store(tmp_path)
    fill(store)
    assert store.get("components", "thing", "cd" * 32) is None
    assert store.get("components", "thing", DIGEST[:16] + "0" * 48) is None  # same folder name, other content


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_an_interrupted_build_leaves_nothing(tmp_path: Path, error: type[BaseException]) -> None:
    store = Store(tmp_path)

    def interrupted() -> None:
        with store.create("components", "thing", DIGEST) as partial:
            (partial / "program").write_text("half")
            raise error

    with pytest.raises(error):
        interrupted()
    assert store.get("components", "thing", DIGEST) is None
    assert list((tmp_path / "tmp").iterdir()) == []


def test_a_killed_build_is_not_taken_for_whole(tmp_path: Path) -> None:
    store = Store(tmp_path)
    place = store.place("components", "thing", DIGEST)
    place.mkdir(parents=True)  # as if renamed by hand or half deleted: files but no marker
    (place / "program").write_text("half")
    (tmp_path / "tmp" / "thing-1").mkdir(parents=True)
    assert store.get("components", "thing", DIGEST) is None
    store.clear_partial()
    assert not (tmp_path / "tmp").exists()
    fill(store, content="whole")
    assert (place / "program").read_text() == "whole"


def test_tree_digest_sees_content_name_and_mode(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    file = tree / "a"
    seen = set()
    for step in (
        lambda: file.write_text("1"),
        lambda: file.write_text("2"),
        lambda: file.chmod(0o755),
        lambda: file.rename(tree / "b"),
    ):
        step()
        seen.add(cache.digest_tree(tree))
    assert len(seen) == 4


def hold(root: Path, ready: str) -> None:
    with cache.build_lock(root, lambda _: None):
        Path(ready).touch()
        time.sleep(30)


def test_a_second_build_waits_says_for_whom_and_goes_on(tmp_path: Path) -> None:
    ready = tmp_path / "ready"
    other = multiprocessing.get_context("spawn").Process(target=hold, args=(tmp_path / "c", str(ready)))
    other.start()
    try:
        end = time.monotonic() + 20
        while not ready.exists() and time.monotonic() < end:
            time.sleep(0.02)
        said: list[str] = []
        with pytest.raises(GpuctlError) as caught, cache.build_lock(tmp_path / "c", said.append, deadline_s=0.5):
            pass
        assert caught.value.problems[0].code == "build-locked"
        assert said == [f"waiting for another build (process {other.pid})"]
    finally:
        other.kill()
        other.join()
    with cache.build_lock(tmp_path / "c", said.append, deadline_s=5):
        pass  # the killed owner's lock is gone


def test_too_little_disk_is_said_before_anything_is_built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(100 << 30, 95 << 30, 5 << 30))
    cache.check_disk(tmp_path, 4)
    with pytest.raises(GpuctlError, match=r"about 14 GiB, 5\.0 GiB are free") as caught:
        cache.check_disk(tmp_path, 14)
    assert caught.value.problems[0].code == "disk-low"
    assert caught.value.exit_code == 4


def test_a_failing_tool_is_named_with_its_last_lines(tmp_path: Path) -> None:
    with pytest.raises(GpuctlError) as caught:
        tools.run(
            "etcd", ["sh", "-c", "echo early; echo 'undefined: x' >&2; exit 2"], log=tmp_path / "log", timeout_s=10
        )
    problem = caught.value.problems[0]
    assert problem.code == "component-build-failed"
    assert problem.message.startswith("etcd: ")
    assert "status 2" in problem.message
    assert problem.details.splitlines() == ["early", "undefined: x"]


def test_a_tool_that_does_not_end_is_ended_with_its_children(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    with pytest.raises(GpuctlError, match="no end after 1 s"):
        tools.run("x", ["sh", "-c", f"sleep 60 & echo $! > {pid}; wait"], log=tmp_path / "log", timeout_s=1)
    end = time.monotonic() + 5
    state = Path(f"/proc/{pid.read_text().strip()}/stat")
    while state.exists() and state.read_text().split()[2] != "Z" and time.monotonic() < end:
        time.sleep(0.05)
    assert not state.exists() or state.read_text().split()[2] == "Z"


def make_mirror(root: Path, digest: str, *, complete: bool = True, entries: tuple[str, ...] = ()) -> Mirror:
    path = root / "mirrors" / digest[:16]
    path.mkdir(parents=True)
    made = Mirror(
        path,
        digest,
        "F" * 40,
        path / "keys" / "gpuctl-mirror.asc",
        {"a/b:1": "sha256:0"},
        {"p": "1"},
        complete,
        entries,
    )
    mirror.save(made)
    return made


def test_current_is_the_last_complete_mirror(tmp_path: Path) -> None:
    assert mirror.current(tmp_path) is None
    made = make_mirror(tmp_path, DIGEST)
    mirror.make_current(made, tmp_path)
    assert mirror.current(tmp_path) == made


@pytest.mark.parametrize("damage", [mirror.DOCUMENT, cache.MARKER])
def test_current_is_none_when_the_mirror_is_not_whole(tmp_path: Path, damage: str) -> None:
    made = make_mirror(tmp_path, DIGEST)
    mirror.make_current(made, tmp_path)
    (made.path / damage).unlink()
    assert mirror.current(tmp_path) is None


def test_trim_keeps_what_is_used(tmp_path: Path) -> None:
    store = Store(tmp_path)
    fill(store)
    fill(store, "cd" * 32)
    used = str(store.place("components", "thing", DIGEST).relative_to(tmp_path))
    now, old, served = (make_mirror(tmp_path, c * 32, entries=(used,)) for c in ("11", "22", "33"))
    mirror.make_current(now, tmp_path)
    with (served.path / mirror.IN_USE).open("rb") as handle:
        fcntl.flock(handle, fcntl.LOCK_SH)
        mirror.trim(root=tmp_path)
    assert store.get("components", "thing", DIGEST) is not None
    assert store.get("components", "thing", "cd" * 32) is None
    assert now.path.is_dir()
    assert served.path.is_dir()
    assert not old.path.exists()
