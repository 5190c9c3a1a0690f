"""Probing over real ssh connections: what comes back, and what each kind of trouble is called."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable
from pathlib import Path

import paramiko
import pytest

from bootstrap.errors import GpuctlError
from bootstrap.exit_codes import ExitCode
from bootstrap.inventory.model import Connection, Host
from bootstrap.probe import lock as locking
from bootstrap.probe.connect import Sessions, connect
from bootstrap.probe.facts import HostFacts, Unreachable
from bootstrap.probe.lock import is_ours, take_lock
from bootstrap.probe.run import probe_all, read_answer
from bootstrap.probe.ssh_errors import ConnectFailure
from tests.unit.probe.sshd import SshServer, make_key

MakeHost = Callable[..., Host]


def probe(host: Host, **options: object) -> HostFacts | Unreachable:
    return probe_all([host], timeout_s=20, **options)[host.name]  # type: ignore[arg-type]


def trouble(host: Host, **options: object) -> Unreachable:
    found = probe(host, **options)
    assert isinstance(found, Unreachable), found
    assert found.fix
    return found


def sudo(server: SshServer, script: str) -> None:
    """A sudo of our own for the server: the tests ask nothing of this machine's."""
    path = server.bin_dir / "sudo"
    path.write_text("#!/bin/sh\n" + script)
    path.chmod(0o755)


ALLOWED = 'while [ "$1" != -- ]; do shift; done; shift; exec "$@"\n'
ASKING = """prompt=; quiet=
while [ "$1" != -- ]; do case $1 in -p) shift; prompt=$1;; -n) quiet=1;; esac; shift; done; shift
[ -z "$quiet" ] || { echo "sudo: a password is required" >&2; exit 1; }
for try in 1 2 3; do
  printf %s "$prompt" >&2
  IFS= read -r given || exit 1
  [ "$given" != right ] || exec "$@"
  echo "Sorry, try again." >&2
done
echo "sudo: 3 incorrect password attempts" >&2; exit 1
"""


def test_facts_come_back_from_every_host(make_host: MakeHost, server: SshServer) -> None:
    found = probe_all([make_host("a"), make_host("b")], timeout_s=20)

    assert list(found) == ["a", "b"]
    for name, facts in found.items():
        assert isinstance(facts, HostFacts), facts
        assert facts.host == name
        assert facts.hostname == socket.gethostname()
        assert facts.clock_offset_s is not None
        assert abs(facts.clock_offset_s) < 10
    assert len(server.commands) == 2  # one round trip each
    assert not any("sudo" in command for command in server.commands)


def test_users_other_than_root_become_root(make_host: MakeHost, server: SshServer) -> None:
    sudo(server, ALLOWED)

    assert isinstance(probe(make_host(user="ubuntu")), HostFacts)
    assert " sudo -n -- " in server.commands[0]


@pytest.mark.parametrize("where", ["asked", "inventory"])
def test_a_sudo_password_goes_in_only_where_it_is_asked_for(make_host: MakeHost, server: SshServer, where: str) -> None:
    variables = {"ansible_become_password": "right"} if where == "inventory" else {}
    given = {} if where == "inventory" else {"become_password": "right"}
    for script in (ASKING, ALLOWED):  # the second asks for nothing
        sudo(server, script)
        assert isinstance(probe(make_host(user="ubuntu", variables=variables), **given), HostFacts)
    assert not any("right" in command for command in server.commands)


@pytest.mark.parametrize(
    ("script", "password", "said", "fix"),
    [
        (ASKING, None, "a password is required", "--ask-become-pass"),
        (ASKING, "wrong", "incorrect password", "correct the password"),
        ("echo 'ubuntu is not in the sudoers file' >&2; exit 1\n", None, "not in the sudoers", "right to become root"),
        ("echo 'env: sudo: not found' >&2; exit 127\n", None, "sudo: not found", "install sudo"),
    ],
)
def test_sudo_that_refuses_is_told(
    make_host: MakeHost, server: SshServer, script: str, password: str | None, said: str, fix: str
) -> None:
    sudo(server, script)
    found = trouble(make_host(user="ubuntu"), become_password=password)

    assert found.code == "sudo-denied"
    assert said in found.message
    assert fix in found.fix


def test_no_python_and_old_python_are_told(make_host: MakeHost, server: SshServer, tmp_path: Path) -> None:
    missing = trouble(make_host(python=str(tmp_path / "python9")))
    old = server.bin_dir / "python3"
    old.write_text('#!/bin/sh\ncat >/dev/null; echo \'{"python_too_old": "3.6"}\'\n')
    old.chmod(0o755)
    too_old = trouble(make_host(python=str(old)))

    assert (missing.code, too_old.code) == ("python-missing", "python-missing")
    assert "3.6 is too old" in too_old.message


def test_an_answer_that_is_none_is_told(make_host: MakeHost, server: SshServer) -> None:
    python = server.bin_dir / "python3"
    python.write_text("#!/bin/sh\ncat >/dev/null; echo welcome\n")
    python.chmod(0o755)
    assert trouble(make_host(python=str(python))).code == "probe-failed"
    python.write_text("#!/bin/sh\ncat >/dev/null; echo 'MemoryError' >&2; exit 1\n")
    found = trouble(make_host(python=str(python)))

    assert (found.code, "MemoryError" in found.message) == ("probe-failed", True)


def test_what_a_shell_profile_prints_does_not_matter(make_host: MakeHost, server: SshServer) -> None:
    import sys

    python = server.bin_dir / "python3"
    python.write_text(f'#!/bin/sh\necho "Welcome to {{this}} host"\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)

    assert isinstance(probe(make_host(python=str(python))), HostFacts)


def test_a_key_that_is_not_known_is_refused_or_noted(make_host: MakeHost, server: SshServer, tmp_path: Path) -> None:
    empty = tmp_path / "new" / "known_hosts"
    arguments = f"-o UserKnownHostsFile={empty} -o GlobalKnownHostsFile=none"
    refused = trouble(make_host(ssh_common_args=arguments))

    assert refused.code == "host-key-unknown"
    assert "--accept-new-host-keys" in refused.fix
    assert not empty.exists()
    assert isinstance(probe(make_host(ssh_common_args=arguments), accept_new_host_keys=True), HostFacts)
    assert empty.read_text() == server.known_hosts.read_text()
    assert isinstance(probe(make_host(ssh_common_args=arguments)), HostFacts)


@pytest.mark.parametrize("accept", [False, True])
def test_a_key_that_changed_is_always_refused(
    make_host: MakeHost, server: SshServer, tmp_path: Path, accept: bool
) -> None:
    wrong = server.write_known_hosts(make_key(tmp_path / "other"), "wrong")
    before = wrong.read_text()
    found = trouble(make_host(ssh_common_args=f"-o UserKnownHostsFile={wrong}"), accept_new_host_keys=accept)

    assert found.code == "host-key-changed"
    assert "ssh-keygen -R" in found.fix
    assert wrong.read_text() == before


@pytest.mark.parametrize("what", ["user", "key", "no key file"])
def test_a_host_that_does_not_let_us_in_is_told(make_host: MakeHost, tmp_path: Path, what: str) -> None:
    make_key(tmp_path / "stranger")
    changes = {
        "user": {"user": "nobody"},
        "key": {"key_file": str(tmp_path / "stranger")},
        "no key file": {"key_file": str(tmp_path / "none")},
    }
    found = trouble(make_host(**changes[what]))

    assert found.code == "auth-failed"
    assert {"user": "no key was accepted", "key": "no key was accepted", "no key file": "not there"}[
        what
    ] in found.message
    assert "ssh-copy-id" in found.fix


def test_a_host_that_is_not_there_is_told(make_host: MakeHost) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    refused = trouble(make_host(port=port))
    unknown = trouble(make_host(address="no-such-host.invalid"))

    assert (refused.code, unknown.code) == ("unreachable", "unreachable")
    assert "refuses connections" in refused.message
    assert "cannot be resolved" in unknown.message


def test_a_host_that_never_answers_holds_nobody_up(make_host: MakeHost, tmp_path: Path) -> None:
    folder = tmp_path / "silent"
    folder.mkdir()
    silent = SshServer.start(folder, silent=True)
    begun = time.monotonic()
    found = probe_all([make_host("a", port=silent.port)], timeout_s=1)
    took = time.monotonic() - begun
    silent.stop()

    assert isinstance(found["a"], Unreachable)
    assert found["a"].code == "unreachable"
    assert took < 6


def test_a_command_that_hangs_is_given_up(make_host: MakeHost) -> None:
    with connect(make_host()) as session, pytest.raises(ConnectFailure, match="did not end"):
        session.run(["sleep", "30"], timeout_s=0.5)


@pytest.mark.parametrize("transport", ["paramiko"])
@pytest.mark.parametrize("error", [paramiko.SSHException("Channel closed."), EOFError(), OSError("gone")])
def test_a_connection_that_is_lost_as_a_command_starts(
    make_host: MakeHost, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def lose(*_: object, **__: object) -> None:
        raise error

    with connect(make_host()) as session:
        monkeypatch.setattr(paramiko.Channel, "exec_command", lose)
        with pytest.raises(ConnectFailure, match="was lost"):
            session.run(["true"])


@pytest.mark.parametrize("transport", ["paramiko"])
def test_a_host_that_starts_nothing_more_is_told(make_host: MakeHost, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise paramiko.ChannelException(1, "Administratively prohibited")

    with connect(make_host()) as session:
        monkeypatch.setattr(paramiko.Transport, "open_session", refuse)
        with pytest.raises(ConnectFailure, match="starts no further command: Administratively") as caught:
            session.run(["true"])
    assert "MaxSessions" in caught.value.fix


def test_commands_get_input_and_give_their_status(make_host: MakeHost) -> None:
    with connect(make_host()) as session:
        assert session.run(["cat"], stdin="hello").out == "hello"
        done = session.run(["sh", "-c", "echo 'a  b'; echo no >&2; exit 3"])

    assert (done.rc, done.out, done.err) == (3, "a  b\n", "no\n")


def test_large_answers_arrive_whole(make_host: MakeHost) -> None:
    with connect(make_host()) as session:
        assert len(session.run(["sh", "-c", "head -c 3000000 /dev/zero | tr '\\0' x"], timeout_s=30).out) == 3_000_000


def test_connections_are_used_again(make_host: MakeHost) -> None:
    with Sessions() as sessions:
        first = sessions.get(make_host())
        assert sessions.get(make_host()) is first
        found = probe_all([make_host()], sessions=sessions)
        assert isinstance(found["gpu1"], HostFacts)
        assert sessions.get(make_host()) is first
        first.close()
        assert sessions.get(make_host()) is not first


def test_jump_hosts_are_gone_through(server: SshServer, tmp_path: Path) -> None:
    config = tmp_path / "config"
    config.write_text(
        f"Host jump\n HostName 127.0.0.1\n Port {server.port}\n User ubuntu\n"
        f" IdentityFile {server.folder}/client\n UserKnownHostsFile {server.known_hosts}\n"
        f"Host inside\n HostName 127.0.0.1\n Port {server.port}\n User root\n ProxyJump jump\n"
        f" IdentityFile {server.folder}/client\n UserKnownHostsFile {server.known_hosts}\n"
    )
    host = Host("a", frozenset(), Connection("inside", ssh_common_args=f"-F {config}"), {})
    with connect(host, timeout_s=20) as session:
        assert session.run(["echo", "here"]).out == "here\n"

    assert server.tunnels == [("127.0.0.1", server.port)]


def test_ports_are_forwarded(make_host: MakeHost, server: SshServer) -> None:
    with socket.create_server(("127.0.0.1", 0)) as service, connect(make_host()) as session:
        port = session.forward("127.0.0.1", service.getsockname()[1])
        with socket.create_connection(("127.0.0.1", port), timeout=5) as client:
            inner, _ = service.accept()
            with inner:
                client.sendall(b"ping")
                assert inner.recv(10) == b"ping"
                inner.sendall(b"pong")
                assert client.recv(10) == b"pong"
    assert [host for host, _ in server.tunnels] == ["127.0.0.1"]


@pytest.fixture
def lock_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "gpuctl.lock"
    monkeypatch.setattr(locking, "LOCK_PATH", str(path))
    return path


def test_a_held_lock_names_its_holder_and_is_freed(make_host: MakeHost, lock_path: Path) -> None:
    host = make_host()
    with take_lock([host], "eve@desk", run="r1") as held:
        assert held.lost() == ()
        assert lock_path.read_text().startswith("eve@desk since 20")
        assert is_ours(lock_path.read_text().strip())
        assert not is_ours("bob@desk since 2026, run r2")
        with pytest.raises(GpuctlError) as caught, take_lock([host], "bob@desk", run="r2"):
            pass
    problem = caught.value.problems[0]

    assert caught.value.exit_code is ExitCode.PREFLIGHT
    assert (problem.host, problem.code) == ("gpu1", "lock-held")
    assert "eve@desk since 20" in problem.message
    assert lock_path.read_text() == ""
    with take_lock([host], "bob@desk", run="r2"):
        assert "bob@desk" in lock_path.read_text()


def test_a_lock_ends_with_its_connection(make_host: MakeHost, lock_path: Path) -> None:
    with Sessions() as sessions, take_lock([make_host()], "eve@desk", run="r1", sessions=sessions) as held:
        assert lock_path.read_text()
        sessions.close()
        deadline = time.monotonic() + 5
        while not held.lost() and time.monotonic() < deadline:
            time.sleep(0.01)
        assert held.lost() == ("gpu1",)
    _wait_for_lock(make_host())


def _wait_for_lock(host: Host) -> None:
    """The holder ends when it sees the end of its input: at once, but not in no time."""
    deadline = time.monotonic() + 10
    while True:
        try:
            with take_lock([host], "bob@desk", run="r2"):
                return
        except GpuctlError:
            if time.monotonic() > deadline:
                raise


def test_no_lock_stays_when_one_host_refuses(make_host: MakeHost, lock_path: Path) -> None:
    stranger = make_host("b", user="nobody")
    with pytest.raises(GpuctlError) as caught, take_lock([make_host("a"), stranger], "eve@desk"):
        pass

    assert [(p.host, p.code) for p in caught.value.problems] == [("b", "auth-failed")]
    _wait_for_lock(make_host("a"))
    assert lock_path.read_text() == ""


def test_the_clock_is_measured_from_both_ends(make_host: MakeHost) -> None:
    line = json.dumps({"clock_start": 1000.3, "clock_end": 1000.5, "hostname": "x"})
    facts = read_answer(make_host(), line, sent=990.0, received=990.8)

    assert facts.clock_offset_s == pytest.approx(10.0)


def test_a_key_with_a_passphrase_is_told(make_host: MakeHost, tmp_path: Path) -> None:
    path = tmp_path / "locked"
    paramiko.ECDSAKey.generate().write_private_key_file(str(path), password="secret")
    found = trouble(make_host(key_file=str(path)))

    assert found.code == "auth-failed"
    assert "passphrase" in found.message
    assert "ssh-add" in found.message
