from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from bootstrap.testvm.cgroups import parse_mountinfo, uses_v1

V1 = """\
24 1 254:0 / / rw,relatime - ext4 /dev/vda rw
31 24 0:27 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755
32 31 0:28 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct
33 31 0:29 / /sys/fs/cgroup/cpuset rw,relatime - cgroup cgroup rw,cpuset,clone_children
34 31 0:30 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,xattr,name=systemd
35 31 0:31 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw,nsdelegate
36 31 0:29 / /mnt/again rw,relatime - cgroup cgroup rw,cpuset
"""
V2 = "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate,memory_recursiveprot\n"


def test_a_hybrid_machine_is_v1() -> None:
    found = parse_mountinfo(V1)
    assert [h.path.name for h in found] == ["cpu,cpuacct", "cpuset", "systemd", "unified"]
    assert found[0].controllers == {"cpu", "cpuacct"}
    assert found[1].controllers == {"cpuset"}
    assert found[2].controllers == {"name=systemd"}
    assert [h.version for h in found] == [1, 1, 1, 2]
    assert uses_v1(found)


def test_a_v2_machine() -> None:
    [only] = parse_mountinfo(V2)
    assert (only.path, only.version, only.controllers) == (Path("/sys/fs/cgroup"), 2, frozenset())
    assert not uses_v1((only,))


def test_none() -> None:
    assert parse_mountinfo("24 1 254:0 / / rw,relatime - ext4 /dev/vda rw\n") == ()
    assert not uses_v1(())


@given(st.text())
def test_any_text_is_read(text: str) -> None:
    parse_mountinfo(text)
