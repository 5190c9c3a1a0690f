"""A user of the host without any rights neither delays a run nor leads it elsewhere: as another uid, on real files."""

from __future__ import annotations

import grp
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bootstrap.apply import module_code
from bootstrap.hostside import gpuctl_facts_os as system
from bootstrap.hostside import gpuctl_joinmaterial as join
from bootstrap.hostside.gpuctl_deletion import delete_tree
from bootstrap.hostside.gpuctl_hostio import HostError
from bootstrap.hostside.gpuctl_programs import complaint_of_program, has_members
from bootstrap.probe import lock as locking

NOBODY = 65534
pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="another user takes root to be")
_HOLD = "import fcntl, os, sys; fcntl.flock(os.open(sys.argv[1], os.O_RDONLY), fcntl.LOCK_EX); print('held')"
_SETUID = (
    "#include <unistd.h>\n#include <stdio.h>\n"
    'int main(void){setgid(0);setuid(0);puts("on");fflush(stdout);getchar();}\n'
)


def _become_nobody() -> None:
    os.setgroups([])
    os.setgid(NOBODY)
    os.setuid(NOBODY)


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder of root's that others may pass through, as /run is."""
    with tempfile.TemporaryDirectory(prefix="gpuctl-test-") as found:
        Path(found).chmod(0o755)
        yield Path(found)


def as_nobody(program: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    argv = ["/usr/bin/python3", "-I", "-c", program, *map(str, arguments)]
    return subprocess.run(
        argv,
        preexec_fn=_become_nobody,
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
        stdin=subprocess.DEVNULL,
    )


def take(path: Path) -> str:
    """What the lock's holder says, on this machine, as root."""
    argv = ["/usr/bin/python3", "-I", "-c", locking._HOLDER, str(path), "eve@desk", "r1"]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=20, check=False, stdin=subprocess.DEVNULL)
    return done.stdout.strip() or done.stderr.strip()


def flock_of_the_lock(place: Path) -> bool:
    path = place / "gpuctl" / "lock"
    take(path)
    return as_nobody(_HOLD, path).returncode != 0 and take(path) == "held"


def flock_of_a_lock_that_was_open(place: Path) -> bool:
    path = place / "gpuctl" / "lock"
    path.parent.mkdir()
    path.touch()
    path.chmod(0o666)
    path.parent.chmod(0o777)
    take(path)  # as an older gpuctl left it
    return as_nobody(_HOLD, path).returncode != 0


def flock_of_the_folder(place: Path) -> bool:
    take(place / "gpuctl" / "lock")
    return as_nobody(_HOLD, place / "gpuctl").returncode != 0


def folder_made_before(place: Path) -> bool:
    place.chmod(0o1777)  # worse than /run is
    assert as_nobody("import os, sys; os.mkdir(sys.argv[1])", place / "gpuctl").returncode == 0
    return "somebody else" in take(place / "gpuctl" / "lock")


def link_in_place_of_the_lock(place: Path) -> bool:
    target = place / "target"
    target.write_text("kept")
    (place / "gpuctl").mkdir(mode=0o700)
    (place / "gpuctl" / "lock").symlink_to(target)
    take(place / "gpuctl" / "lock")
    return target.read_text() == "kept"


def link_in_place_of_the_folder(place: Path) -> bool:
    (place / "elsewhere").mkdir()
    (place / "gpuctl").symlink_to(place / "elsewhere")
    take(place / "gpuctl" / "lock")
    return list((place / "elsewhere").iterdir()) == []


def environment_of_a_run(_place: Path) -> bool:
    argv = ["/usr/bin/python3", "-I", "-c", "print('on', flush=True); input()"]
    with subprocess.Popen(
        argv,
        env={"GPUCTL_RUN": "r9"},
        preexec_fn=_become_nobody,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        found = any(f"pid {process.pid}:" in line for line in system.unfinished())
        process.communicate("\n")
    return not found


def environment_for_a_setuid_program(place: Path) -> bool:
    """A program that becomes root, with the caller's environment: its ids are all root's after setuid()."""
    program = place / "becomes-root"
    source = place / "s.c"
    source.write_text(_SETUID)
    subprocess.run(["gcc", "-o", program, source], check=True, timeout=60)
    program.chmod(0o4755)
    with subprocess.Popen(
        [program],
        env={"GPUCTL_RUN": "r9"},
        preexec_fn=_become_nobody,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "on\n"
        root = Path(f"/proc/{process.pid}/status").read_text().split("Uid:")[1].split()[:4] == ["0"] * 4
        found = any(f"pid {process.pid}:" in line for line in system.unfinished())
        process.communicate("\n")
    return root and not found


def modules_put_there_before(place: Path) -> bool:
    place.chmod(0o1777)
    there = "import os, sys; os.makedirs(sys.argv[1]); open(sys.argv[1] + '/start.py', 'w').write('evil')"
    target = place / "gpuctl" / "modules-0"
    assert as_nobody(there, target).returncode == 0
    program = module_code._UNPACK.format(place=str(place / "gpuctl"), packed="eJyrrgUAAXUA+Q==", target=str(target))
    done = subprocess.run(
        ["/usr/bin/python3", "-I", "-c", program], capture_output=True, text=True, timeout=20, check=False
    )
    return done.returncode != 0 and "not a folder of root's" in done.stderr


def state_of_joins_is_read(place: Path) -> bool:
    found = SimpleNamespace(path=str(place / "gpuctl" / "join.json"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(join, "STATE", found.path)
        with join._alone():
            join._keep({"token": "abcdef.0123456789abcdef"})
    return as_nobody("import sys; open(sys.argv[1])", found.path).returncode != 0


def program_of_ones_own(place: Path) -> bool:
    program = place / "bin" / "minikube"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    good = complaint_of_program(str(program), 0) == "" == complaint_of_program(str(program), 1000)
    os.chown(program, NOBODY, NOBODY)
    return good and bool(complaint_of_program(str(program), 0)) and bool(complaint_of_program(str(program), 1000))


def program_in_a_folder_of_ones_own(place: Path) -> bool:
    program = place / "bin" / "minikube"
    program.parent.mkdir()
    program.touch()
    (place / "link").symlink_to(program)
    os.chown(program.parent, NOBODY, NOBODY)
    return bool(complaint_of_program(str(place / "link"), 0))


def tree_in_a_folder_of_ones_own(place: Path) -> bool:
    home = place / "home"
    (home / "tree").mkdir(parents=True)
    os.chown(home, NOBODY, NOBODY)
    try:
        delete_tree(str(home / "tree"))
    except HostError as error:
        return error.code == "delete-refused" and (home / "tree").exists()
    return False


ATTACKS: dict[str, Callable[[Path], bool]] = {
    found.__name__: found
    for found in (
        flock_of_the_lock,
        flock_of_a_lock_that_was_open,
        flock_of_the_folder,
        folder_made_before,
        link_in_place_of_the_lock,
        link_in_place_of_the_folder,
        environment_of_a_run,
        environment_for_a_setuid_program,
        modules_put_there_before,
        state_of_joins_is_read,
        program_of_ones_own,
        program_in_a_folder_of_ones_own,
        tree_in_a_folder_of_ones_own,
    )
}


def test_without_rights_nothing_is_delayed_or_redirected(place: Path, figure: Callable[[str], None]) -> None:
    held = {}
    for name, attack in ATTACKS.items():
        own = place / name
        own.mkdir(mode=0o755)
        held[name] = attack(own)
    figure(f"attacks by an unprivileged user: {len(held)}, {sum(held.values())} without effect")
    assert [name for name, without_effect in held.items() if not without_effect] == []
    assert len(held) >= 12


def test_a_group_without_members_is_nobody(place: Path) -> None:
    """Debian's /usr/local belongs to the group staff, which may write there."""
    program = place / "bin" / "minikube"
    program.parent.mkdir()
    program.touch(0o755)
    staff = grp.getgrnam("staff").gr_gid
    os.chown(program.parent, 0, staff)
    program.parent.chmod(0o2775)
    assert bool(complaint_of_program(str(program), 0)) is has_members(staff)
    assert not has_members(0)
    assert has_members(NOBODY), "nobody's own group has nobody in it"


def test_the_umask_decides_no_mode(place: Path) -> None:
    request: dict[str, Any] = {"module": "gpuctl_nothing", "params": {}, "check_mode": False, "diff": False}
    program = (
        "import io, json, os, sys; os.umask(0); sys.path.insert(0, sys.argv[1])\n"
        "from bootstrap.hostside import gpuctl_module\n"
        "gpuctl_module.answer = lambda *_: os.makedirs(sys.argv[2]) or {}\n"
        "gpuctl_module.main(io.StringIO(sys.argv[3]), io.StringIO())\n"
    )
    root = Path(__file__).resolve().parents[3]
    argv = [sys.executable, "-c", program, str(root), str(place / "a" / "b"), json.dumps(request)]
    assert subprocess.run(argv, check=False, timeout=20).returncode == 0
    assert {oct((place / name).stat().st_mode & 0o777) for name in ("a", "a/b")} == {"0o755"}
