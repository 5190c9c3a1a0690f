"""This machine as a host: real processes, no root asked for, and the same words for the same troubles as over ssh."""

from __future__ import annotations

import os
import pwd
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bootstrap.access import Access
from bootstrap.errors import GpuctlError
from bootstrap.inventory.model import Connection, Host
from bootstrap.probe import local
from bootstrap.probe import lock as locking
from bootstrap.probe.connect import Sessions, connect
from bootstrap.probe.facts import HostFacts, Unreachable
from bootstrap.probe.local import LocalSession
from bootstrap.probe.lock import take_lock
from bootstrap.probe.remote import reach, run_as_root
from bootstrap.probe.run import probe_all
from bootstrap.probe.ssh_errors import ConnectFailure
from bootstrap.probe.tunnel import Tunnel
from tests.unit.probe.test_probing import ALLOWED, ASKING

BOX = Host("box", frozenset(), Connection("box", python=sys.executable, local=True), {}, connection_vars={})


@pytest.fixture
def be(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., None]:
    """Be a user, with a sudo of our own: the tests ask nothing of this machine's."""

    def become(user: str, sudo: str = "") -> None:
        folder = tmp_path / "bin"
        folder.mkdir(exist_ok=True)
        (folder / "sudo").write_text("#!/bin/sh\n" + sudo)
        (folder / "sudo").chmod(0o755)
        monkeypatch.setattr(local, "SYSTEM_PATH", f"{folder}:{local.SYSTEM_PATH}")
        monkeypatch.setattr(local, "local_user", lambda: user)

    return become


@pytest.fixture
def lock_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    path = tmp_path / "gpuctl.lock"
    monkeypatch.setattr(locking, "LOCK_PATH", str(path))
    return path


def probe(**options: object) -> HostFacts | Unreachable:
    return probe_all([BOX], timeout_s=20, **options)["box"]  # type: ignore[arg-type]


def gone(pid: int) -> bool:
    """Whether a process has ended; one that nobody has waited for yet has, too."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except OSError:
            return True
        time.sleep(0.01)
    return False


def test_root_probes_without_sudo(be: Callable[..., None]) -> None:
    be("root", "exit 1\n")
    facts = probe()

    assert isinstance(facts, HostFacts), facts
    assert (facts.host, facts.hostname) == ("box", socket.gethostname())
    assert facts.clock_offset_s is not None
    assert abs(facts.clock_offset_s) < 10


@pytest.mark.parametrize(("script", "password"), [(ALLOWED, None), (ALLOWED, "right"), (ASKING, "right")])
def test_other_users_become_root(be: Callable[..., None], script: str, password: str | None) -> None:
    be("ubuntu", script)

    assert isinstance(probe(become_password=password), HostFacts)


@pytest.mark.parametrize(
    ("script", "password", "said", "fix"),
    [
        (ASKING, None, "a password is required", "--ask-become-pass"),
        (ASKING, "wrong", "incorrect password", "correct the password"),
        ("echo 'ubuntu is not in the sudoers file' >&2; exit 1\n", None, "not in the sudoers", "right to become root"),
        ("echo 'ubuntu is not in the sudoers file' >&2; exit 1\n", "right", "not in the sudoers", "right to become"),
    ],
)
def test_sudo_that_refuses_is_told(
    be: Callable[..., None], script: str, password: str | None, said: str, fix: str
) -> None:
    be("ubuntu", script)
    found = probe(become_password=password)

    assert isinstance(found, Unreachable)
    assert (found.code, said in found.message, fix in found.fix) == ("sudo-denied", True, True)


@pytest.mark.parametrize("password", [None, "right"])
def test_no_sudo_is_told(
    be: Callable[..., None], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, password: str
) -> None:
    be("ubuntu")
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "env").symlink_to("/usr/bin/env")
    monkeypatch.setattr(local, "SYSTEM_PATH", str(tools))
    found = probe(become_password=password)

    assert isinstance(found, Unreachable)
    assert found.code == "sudo-denied"
    assert "install sudo" in found.fix


def test_no_python_is_told(be: Callable[..., None], tmp_path: Path) -> None:
    be("root")
    host = Host("box", frozenset(), Connection("box", python=str(tmp_path / "python9"), local=True), {})
    found = probe_all([host], timeout_s=20)["box"]

    assert isinstance(found, Unreachable)
    assert found.code == "python-missing"


def test_commands_get_input_and_give_their_status() -> None:
    with connect(BOX) as session:
        assert session.run(["cat"], stdin="hello").out == "hello"
        done = session.run(["sh", "-c", "echo 'a  b'; echo no >&2; exit 3"])
        missing = session.run(["no-such-program-here"])
        killed = session.run(["sh", "-c", "kill -9 $$"])

    assert (done.rc, done.out, done.err) == (3, "a  b\n", "no\n")
    assert (missing.rc, "no-such-program-here" in missing.err) == (127, True)
    assert killed.rc == -1


def test_large_input_and_output_pass() -> None:
    with connect(BOX) as session:
        assert len(session.run(["cat"], stdin="x" * 3_000_000, timeout_s=30).out) == 3_000_000
        assert session.run(["true"], stdin="x" * 3_000_000).rc == 0


words = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=30)


@settings(max_examples=40, deadline=None)
@given(st.lists(words, max_size=4))
def test_words_arrive_as_they_are(arguments: list[str]) -> None:
    code = "import sys; sys.stdout.buffer.write('\\0'.join(sys.argv[1:]).encode('utf-8', 'surrogateescape'))"
    done = LocalSession().run(["/usr/bin/python3", "-I", "-S", "-c", code, *arguments], timeout_s=30)

    assert done.out == "\0".join(arguments)


def test_our_own_environment_stays_here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name, value in {
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
        "PYTHONPATH": "/x",
        "GPUCTL_RUN": "r1",
        "HTTPS_PROXY": "http://proxy.example:3128",
    }.items():
        monkeypatch.setenv(name, value)
    lines = LocalSession().run(["env"]).out.splitlines()
    found = dict(line.partition("=")[::2] for line in lines)

    assert set(found) <= {"HOME", "LANG", "LOGNAME", "USER", "XDG_RUNTIME_DIR", "PATH", "HTTPS_PROXY", "no_proxy"} | {
        name for name in os.environ if name.lower().endswith("_proxy")
    }
    assert found["PATH"] == local.SYSTEM_PATH
    assert found["HTTPS_PROXY"] == "http://proxy.example:3128"


def test_the_home_of_another_is_not_written_into(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    own = pwd.getpwuid(os.geteuid())
    assert LocalSession().run(["sh", "-c", "echo $HOME"]).out.strip() == os.environ["HOME"]
    for home in (tmp_path / "nobody's", Path("/proc/1") if os.geteuid() else Path("/nonexistent")):
        monkeypatch.setenv("HOME", str(home))
        monkeypatch.setenv("USER", "other")
        said = LocalSession().run(["sh", "-c", "echo $HOME $USER"]).out.split()
        assert said == [own.pw_dir, own.pw_name]


def test_a_command_that_hangs_is_ended_with_what_it_started(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    script = f"sleep 60 & echo $! >> {pids}; echo $$ >> {pids}; wait"
    begun = time.monotonic()
    with connect(BOX) as session, pytest.raises(ConnectFailure, match="did not end within"):
        session.run(["sh", "-c", script], timeout_s=0.5)

    assert time.monotonic() - begun < 10
    assert len(pids.read_text().split()) == 2
    assert all(gone(int(pid)) for pid in pids.read_text().split())


def test_a_command_is_not_in_the_group_that_ctrl_c_reaches() -> None:
    with connect(BOX) as session:
        own = session.run(["/usr/bin/python3", "-I", "-c", "import os; print(os.getsid(0) == os.getpid())"])
    assert own.out == "True\n"


def test_root_commands_answer(be: Callable[..., None]) -> None:
    be("ubuntu", ASKING)
    access = Access(become_password="right")
    with reach(BOX, access) as session:
        done = run_as_root(session, BOX, ["sh", "-c", "echo out; echo err >&2; exit 4"], access)
        missing = run_as_root(session, BOX, ["no-such-program-here"], access)

    assert (done.rc, done.out, done.err) == (4, "out\n", "err\n")
    assert missing.rc == 127


def test_a_host_that_does_not_finish_is_told(be: Callable[..., None], tmp_path: Path) -> None:
    be("root")
    python = tmp_path / "python3"
    python.write_text("#!/bin/sh\nexec sleep 60\n")
    python.chmod(0o755)
    host = Host("box", frozenset(), Connection("box", python=str(python), local=True), {})
    found = probe_all([host], timeout_s=0.5)["box"]

    assert isinstance(found, Unreachable)
    assert found.code == "unreachable"
    assert "this machine did not finish" in found.message


def test_ports_are_the_machines_own() -> None:
    with connect(BOX) as session:
        assert session.forward("127.0.0.1", 6443) == 6443
        assert session.forward("localhost", 6443) == 6443


def test_ports_of_other_machines_are_led_to() -> None:
    with socket.create_server(("127.0.0.1", 0)) as service:
        tunnel = Tunnel(lambda _: socket.create_connection(service.getsockname(), timeout=5))
        with socket.create_connection(("127.0.0.1", tunnel.port), timeout=5) as client:
            inner, _ = service.accept()
            with inner:
                client.sendall(b"ping")
                assert inner.recv(10) == b"ping"
                inner.sendall(b"pong")
                assert client.recv(10) == b"pong"
        tunnel.close()


def test_sessions_are_used_again() -> None:
    with Sessions() as sessions:
        first = sessions.get(BOX)
        assert sessions.get(BOX) is first
        first.close()
        assert sessions.get(BOX) is not first
    with pytest.raises(ConnectFailure, match="closed"):
        first.open_exec(["true"], 5)


@pytest.mark.parametrize("user", ["root", "ubuntu"])
def test_a_held_lock_names_its_holder_and_is_freed(be: Callable[..., None], lock_path: Path, user: str) -> None:
    be(user, ALLOWED)
    with take_lock([BOX], "eve@desk", run="r1") as held:
        assert held.lost() == ()
        assert lock_path.read_text().startswith("eve@desk since 20")
        with pytest.raises(GpuctlError) as caught, take_lock([BOX], "bob@desk", run="r2"):
            pass
    assert [(p.host, p.code) for p in caught.value.problems] == [("box", "lock-held")]
    assert "eve@desk since 20" in caught.value.problems[0].message
    assert lock_path.read_text() == ""
    with take_lock([BOX], "bob@desk", run="r2"):
        assert "bob@desk" in lock_path.read_text()


def test_a_lock_that_ends_is_noticed(be: Callable[..., None], lock_path: Path) -> None:
    be("root")
    with Sessions() as sessions, take_lock([BOX], "eve@desk", run="r1", sessions=sessions) as held:
        assert held.lost() == ()
        sessions.close()
        assert held.lost() == ("box",)
    with take_lock([BOX], "bob@desk", run="r2"):
        assert "bob@desk" in lock_path.read_text()


def test_a_lock_ends_with_a_gpuctl_that_is_killed(be: Callable[..., None], lock_path: Path) -> None:
    program = (
        "import sys, time\n"
        "from bootstrap.probe import local, lock\n"
        "from bootstrap.inventory.model import Connection, Host\n"
        "lock.LOCK_PATH = sys.argv[1]\n"
        "local.local_user = lambda: 'root'\n"
        "host = Host('box', frozenset(), Connection('box', python=sys.executable, local=True), {})\n"
        "with lock.take_lock([host], 'eve@desk', run='r1'):\n"
        "    print('held', flush=True)\n"
        "    time.sleep(60)\n"
    )
    argv = [sys.executable, "-c", program, str(lock_path)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[3]) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        be("root")
        with pytest.raises(GpuctlError), take_lock([BOX], "bob@desk", run="r2"):
            pass
        other.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + 10
    while True:
        try:
            with take_lock([BOX], "bob@desk", run="r2"):
                break
        except GpuctlError:
            assert time.monotonic() < deadline
            time.sleep(0.05)


def test_several_threads_can_ask_at_once(be: Callable[..., None]) -> None:
    be("root")
    results: list[object] = []
    threads = [threading.Thread(target=lambda: results.append(probe())) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)

    assert [type(result) for result in results] == [HostFacts] * 4
