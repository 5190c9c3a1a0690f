from __future__ import annotations

import fcntl
import os
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootstrap.errors import GpuctlError
from bootstrap.testvm import state
from bootstrap.testvm.names import LabPaths
from bootstrap.testvm.state import HostRecord, LabRecord

HOSTS = st.builds(HostRecord, st.text(), st.text(), st.integers(0, 16), st.text())
RECORDS = st.builds(
    LabRecord,
    name=st.text(),
    created=st.text(),
    components=st.sampled_from(["mirror", "official"]),
    gpus=st.integers(0, 16),
    gpu_model=st.text(),
    network=st.integers(0, 255).map(lambda n: f"10.200.{n}.0/24"),
    rootfs=st.text(),
    hosts=st.lists(HOSTS, max_size=4).map(tuple),
    inventory=st.text(),
    inventories=st.lists(st.tuples(st.text(), st.text()), max_size=3).map(tuple),
    mirror_root=st.text(),
    mirror_port=st.integers(0, 65535),
    mirror_fingerprint=st.text(),
    open_ports=st.lists(st.integers(1, 65535), max_size=3).map(tuple),
)


@given(RECORDS)
def test_a_record_comes_back_as_it_was(record: LabRecord) -> None:
    assert state.parse(state.dump(record)) == record


@given(RECORDS, st.data())
def test_a_cut_record_is_refused(record: LabRecord, data: st.DataObject) -> None:
    text = state.dump(record).rstrip()
    cut = data.draw(st.integers(0, len(text) - 1))
    with pytest.raises(state.RecordError):
        state.parse(text[:cut])


@pytest.mark.parametrize("text", ["", "[]", "null", "{}", '{"schema": 2}', '{"schema": 1, "hosts": 3}', "3", "\0"])
def test_other_documents_are_refused(text: str) -> None:
    with pytest.raises(state.RecordError):
        state.parse(text)


def paths(home: Path) -> LabPaths:
    (home / "state").mkdir()
    return LabPaths("lab", home / "state", home / "run")


def test_a_broken_record_names_the_remedy(tmp_path: Path) -> None:
    place = paths(tmp_path)
    assert state.load(place) is None
    place.record.write_text("{")
    with pytest.raises(GpuctlError) as refused:
        state.load(place)
    [problem] = refused.value.problems
    assert problem.code == "lab-state-broken"
    assert problem.fix == "gpuctl testvm down --name lab"
    assert problem.at == str(place.record)


def test_write_sets_the_mode_and_leaves_no_part(tmp_path: Path) -> None:
    place = tmp_path / "key"
    place.write_text("old and longer")
    place.chmod(0o644)
    state.write(place, "new")
    assert place.read_text() == "new"
    assert place.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [place]


def test_a_held_lock_is_waited_for_and_told(tmp_path: Path) -> None:
    told: list[bool] = []
    with (
        state.lock(tmp_path / "lab"),
        pytest.raises(GpuctlError) as refused,
        state.lock(tmp_path / "lab", lambda: told.append(True), wait_s=0.2),
    ):
        pass
    assert refused.value.problems[0].code == "lab-busy"
    assert told == [True]
    with state.lock(tmp_path / "lab", wait_s=0.2):
        pass


def test_a_lock_on_a_removed_directory_is_no_lock(tmp_path: Path) -> None:
    """Whoever waits while the holder removes the directory ends up with the new one, not with the old one."""
    place = tmp_path / "lab"
    entered = threading.Event()

    def wait() -> None:
        with state.lock(place, wait_s=10):
            entered.set()
            assert place.is_dir()

    with state.lock(place):
        waiter = threading.Thread(target=wait)
        waiter.start()
        assert not entered.wait(0.2)
        place.rmdir()
        assert entered.wait(5), "the new directory is free"
    waiter.join()
    fd = os.open(place, os.O_RDONLY)
    fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.close(fd)
