"""The order of a build and what it says, with the work itself replaced by small files."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from bootstrap.errors import GpuctlError
from bootstrap.testvm.components import builder, catalog, component_names, parts
from bootstrap.testvm.components.cache import Store
from bootstrap.testvm.components.parts import Progress


@pytest.fixture
def said() -> list[Progress]:
    return []


def make(tmp_path: Path, said: list[Progress], only: frozenset[str] = frozenset()) -> parts.Builder:
    return parts.Builder(catalog.load(), Store(tmp_path), said.append, only)


def fill(out: Path) -> None:
    (out / "program").touch()


def test_a_component_is_made_once(tmp_path: Path, said: list[Progress]) -> None:
    for _ in range(2):
        make(tmp_path, said).component("etcd", "a" * 64, fill)
    assert [(p.component, p.state) for p in said] == [("etcd", "started"), ("etcd", "done"), ("etcd", "cached")]


def test_what_is_not_asked_for_is_not_made(tmp_path: Path, said: list[Progress]) -> None:
    build = make(tmp_path, said, frozenset({"pause"}))
    build.component("etcd", "a" * 64, fill)
    assert said == []
    assert not build.has({"etcd/etcd": "/usr/bin/etcd"})


def test_a_full_disk_is_said_and_nothing_is_taken_for_whole(tmp_path: Path, said: list[Progress]) -> None:
    def no_space(out: Path) -> None:
        fill(out)
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(GpuctlError) as caught:
        make(tmp_path, said).component("etcd", "a" * 64, no_space)
    assert caught.value.problems[0].code == "disk-low"
    assert said[-1].state == "failed"
    assert Store(tmp_path).get("components", "etcd", "a" * 64) is None


def test_an_unknown_component_is_a_usage_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(GpuctlError, match="unknown component kubelet") as caught:
        builder.build(lambda _: None, only=["kubelet"])
    assert caught.value.exit_code == 2
    assert "kubernetes" in caught.value.problems[0].fix
    assert list(tmp_path.iterdir()) == []


def test_names_are_unique() -> None:
    names = component_names()
    assert len(set(names)) == len(names)
