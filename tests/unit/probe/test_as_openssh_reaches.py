"""gpuctl and `ssh HOST true` agree for every configuration: whether a host is reached, and as which user.

OpenSSH's client is the judge; the server is the tests' own, on loopback. Inputs after public reports of people.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from bootstrap.inventory.model import Connection, Host
from bootstrap.probe.ssh import open_ssh
from bootstrap.probe.ssh_errors import ConnectFailure
from tests.unit.probe.sshd import SshServer, make_key

DEADLINE_S = 20


@dataclass
class Place:
    """Where a case writes its files: the server's folder, and what a configuration names."""

    server: SshServer
    folder: Path

    @property
    def key(self) -> Path:
        """The private key that the server takes."""
        return self.server.folder / "client"

    @property
    def known(self) -> str:
        """The host's key as known_hosts has it, without names."""
        return f"{self.server.host_key.get_name()} {self.server.host_key.get_base64()}"

    def file(self, name: str, text: str) -> Path:
        """A file of the case."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def host(self, *lines: str, name: str = "cp1", known: str | None = None, key: bool = True) -> str:
        """A Host block to which `lines` are added; `known` is the text of known_hosts."""
        usual = f"[127.0.0.1]:{self.server.port} {self.known}\n"
        text = [f"Host {name}", "  HostName 127.0.0.1", f"  Port {self.server.port}", *(f"  {line}" for line in lines)]
        text += ["  User ops"] if not any(line.startswith("User ") for line in lines) else []
        text += [f"  IdentityFile {self.key}"] if key else []
        if not any(line.startswith("UserKnownHostsFile") for line in lines):
            text += [f"  UserKnownHostsFile {self.file('known', usual if known is None else known)}"]
        return "\n".join([*text, "Host *", "  GlobalKnownHostsFile /dev/null", "  GSSAPIAuthentication no", ""])


def other_key(place: Place, name: str = "other") -> str:
    key = make_key(place.folder / name)
    return f"{key.get_name()} {key.get_base64()}"


def encrypted(place: Place) -> Path:
    """A copy of the right key with a passphrase, and its public half beside it."""
    path = place.file("encrypted", place.key.read_text())
    path.chmod(0o600)
    run = ["ssh-keygen", "-q", "-p", "-N", "long-passphrase", "-P", "", "-f", str(path)]
    subprocess.run(run, check=True, capture_output=True, timeout=DEADLINE_S)
    public = subprocess.run(["ssh-keygen", "-y", "-f", str(place.key)], check=True, capture_output=True, text=True)
    place.file("encrypted.pub", public.stdout)
    return path


def hashed(place: Place) -> str:
    known = place.file("hashed", f"[127.0.0.1]:{place.server.port} {place.known}\n")
    subprocess.run(["ssh-keygen", "-q", "-H", "-f", str(known)], check=True, capture_output=True, timeout=DEADLINE_S)
    return known.read_text()


def jump(place: Place, *hops: str) -> str:
    """cp1 behind hops that are this same server, under names that only the configuration knows."""
    blocks = [place.host(f"ProxyJump {hops[0]}")]
    for number, hop in enumerate(hops):
        further = [f"ProxyJump {hops[number + 1]}"] if number + 1 < len(hops) else []
        blocks.insert(0, place.host("User jumper", *further, name=hop))
    return "\n".join(blocks)


Case = Callable[[Place], str]
CASES: dict[str, Case] = {
    "plain": lambda p: p.host(),
    "include": lambda p: f"Include {p.file('config.d/lab', p.host())}\n",
    "include-of-a-pattern": lambda p: (
        f"Include {p.file('config.d/lab', p.host()).parent}/*\nHost *\n  ServerAliveInterval 60\n"
    ),
    "include-of-nothing": lambda p: f"Include {p.folder}/absent/*\n" + p.host(),
    "include-in-a-host": lambda p: f"Host cp*\n  Include {p.file('config.d/lab', p.host())}\n",
    "pattern": lambda p: p.host(name="cp?"),
    "negated-pattern": lambda p: p.host(name="!cp1 cp*"),
    "first-value-wins": lambda p: "Host cp1\n  User ops\n" + p.host("User nobody"),
    "equals-and-quotes": lambda p: p.host().replace("  User ops", '  User="ops"'),
    "match-host": lambda p: p.host().replace("Host cp1", "Match host cp1"),
    "match-originalhost": lambda p: p.host().replace("Host cp1", "Match originalhost cp1"),
    "match-exec": lambda p: p.host().replace("Host cp1", 'Match exec "test %n = cp1"'),
    "match-exec-false": lambda p: p.host().replace("Host cp1", "Match exec false"),
    "match-all-last": lambda p: p.host().replace("  User ops\n", "") + "Match all\n  User ops\n",
    "match-user": lambda p: p.host() + "Match user ops\n  ServerAliveInterval 30\n",
    "canonicalize": lambda p: "Host *\n  CanonicalizeHostname yes\n" + p.host(),
    "canonicalize-always": lambda p: "Host *\n  CanonicalizeHostname always\n  CanonicalizeMaxDots 0\n" + p.host(),
    "tokens-in-the-key-file": lambda p: p.host(f"IdentityFile {p.folder}/../%r", key=False),
    "key-named-by-user": lambda p: p.host(
        f"IdentityFile {link(p.folder / 'key-ops', p.key).parent}/key-%r", key=False
    ),
    "user-that-nobody-is": lambda p: p.host("User eve"),
    "closed-port": lambda p: p.host().replace(f"Port {p.server.port}", "Port 1"),
    "name-that-is-none": lambda p: p.host().replace("HostName 127.0.0.1", "HostName absent.invalid"),
    "cert-authority-of-others": lambda p: p.host(
        known=f"@cert-authority *.lab.example {other_key(p)}\n[127.0.0.1]:{p.server.port} {p.known}\n"
    ),
    "cert-authority-of-this-host": lambda p: p.host(
        known=f"@cert-authority * {other_key(p)}\n[127.0.0.1]:{p.server.port} {p.known}\n"
    ),
    "cert-authority-alone": lambda p: p.host(known=f"@cert-authority * {other_key(p)}\n"),
    "revoked-other": lambda p: p.host(
        known=f"@revoked * {other_key(p)}\n[127.0.0.1]:{p.server.port} {p.known}\n"
    ),
    "revoked-this": lambda p: p.host(known=f"[127.0.0.1]:{p.server.port} {p.known}\n@revoked * {p.known}\n"),
    "unknown-marker": lambda p: p.host(known=f"@new-marker * {p.known}\n[127.0.0.1]:{p.server.port} {p.known}\n"),
    "broken-line": lambda p: p.host(
        known=f"this is no line\n[127.0.0.1]:{p.server.port} ssh-ed25519 !!!\n[127.0.0.1]:{p.server.port} {p.known}\n"
    ),
    "comments-and-blank-lines": lambda p: p.host(
        known=f"# servers\n\n   \n[127.0.0.1]:{p.server.port} {p.known} root@cp1\n"
    ),
    "hashed": lambda p: p.host(known=hashed(p)),
    "pattern-in-known-hosts": lambda p: p.host(known=f"[127.0.0.*]:{p.server.port} {p.known}\n"),
    "negated-in-known-hosts": lambda p: p.host(known=f"*,![127.0.0.1]:{p.server.port} {p.known}\n"),
    "several-names": lambda p: p.host(known=f"cp1.lab,[127.0.0.1]:{p.server.port},198.51.100.1 {p.known}\n"),
    "port-22-entry": lambda p: p.host(known=f"127.0.0.1 {p.known}\n"),
    "wrong-key": lambda p: p.host(known=f"[127.0.0.1]:{p.server.port} {other_key(p)}\n"),
    "two-keys-one-right": lambda p: p.host(
        known=f"[127.0.0.1]:{p.server.port} {other_key(p)}\n[127.0.0.1]:{p.server.port} {p.known}\n"
    ),
    "unknown-key": lambda p: p.host(known=""),
    "unknown-key-accept-new": lambda p: p.host("StrictHostKeyChecking accept-new", known=""),
    "wrong-key-accept-new": lambda p: p.host(
        "StrictHostKeyChecking accept-new", known=f"[127.0.0.1]:{p.server.port} {other_key(p)}\n"
    ),
    "alias": lambda p: p.host("HostKeyAlias lab-cp1", known=f"lab-cp1 {p.known}\n"),
    "alias-with-a-port": lambda p: p.host("HostKeyAlias lab-cp1", known=f"[lab-cp1]:{p.server.port} {p.known}\n"),
    "alias-and-address-known": lambda p: p.host("HostKeyAlias lab-cp1"),
    "alias-of-another-key": lambda p: p.host("HostKeyAlias lab-cp1", known=f"lab-cp1 {other_key(p)}\n"),
    "two-files": lambda p: p.host(
        f"UserKnownHostsFile {p.folder}/absent {p.file('second', f'[127.0.0.1]:{p.server.port} {p.known}')}"
    ),
    "file-with-a-space": lambda p: p.host(
        f'UserKnownHostsFile "{p.file("known hosts", f"[127.0.0.1]:{p.server.port} {p.known}")}"'
    ),
    "known-hosts-command": lambda p: p.host(
        f'KnownHostsCommand /bin/echo "[127.0.0.1]:{p.server.port} {p.known}"', known=""
    ),
    "no-key-at-all": lambda p: p.host("IdentityFile none", key=False),
    "absent-key-file": lambda p: p.host(f"IdentityFile {p.folder}/absent", key=False),
    "wrong-key-then-right": lambda p: p.host(f"IdentityFile {wrong(p)}"),
    "encrypted-key": lambda p: p.host(f"IdentityFile {encrypted(p)}", "IdentitiesOnly yes", key=False),
    "jump": lambda p: jump(p, "bastion"),
    "jump-of-jump": lambda p: jump(p, "bastion", "gate"),
    "jump-to-nowhere": lambda p: jump(p, "bastion").replace("Host bastion", "Host other"),
    "jump-none": lambda p: p.host("ProxyJump none") + "Host *\n  ProxyJump absent.invalid\n",
    "proxy-command": lambda p: p.host(f"ProxyCommand {forwarder(p)} %h %p"),
    "proxy-command-that-fails": lambda p: p.host("ProxyCommand false"),
    "address-family": lambda p: p.host("AddressFamily inet6"),
    "bind-address": lambda p: p.host("BindAddress 127.0.0.1"),
    "remote-command": lambda p: p.host("RequestTTY no", "LogLevel ERROR", "VisualHostKey no"),
    "ciphers": lambda p: p.host("Ciphers aes256-ctr"),
    "host-key-algorithms": lambda p: p.host(f"HostKeyAlgorithms {p.server.host_key.get_name()}"),
    "host-key-algorithms-that-it-lacks": lambda p: p.host("HostKeyAlgorithms ssh-ed25519"),
    "control-master": lambda p: p.host(
        "ControlMaster auto", f"ControlPath {p.folder.parent.parent}/%C", "ControlPersist no"
    ),
    "unknown-option": lambda p: p.host("NoSuchOption yes"),
    "unknown-option-ignored": lambda p: "IgnoreUnknown NoSuch*\n" + p.host("NoSuchOption yes"),
    "bad-value": lambda p: p.host("Compression perhaps"),
}  # fmt: skip
WITH_AGENT: dict[str, Case] = {
    "agent-alone": lambda p: p.host(key=False),
    "agent-and-absent-file": lambda p: p.host(f"IdentityFile {p.folder}/absent", key=False),
    "agent-and-public-file": lambda p: p.host(f"IdentityFile {encrypted(p)}.pub", "IdentitiesOnly yes", key=False),
    "agent-and-encrypted-file": lambda p: p.host(f"IdentityFile {encrypted(p)}", "IdentitiesOnly yes", key=False),
    "agent-and-only-another": lambda p: p.host(f"IdentityFile {wrong(p)}", "IdentitiesOnly yes", key=False),
    "agent-none": lambda p: p.host("IdentityAgent none", "IdentityFile none", key=False),
    "agent-named": lambda p: p.host(f"IdentityAgent {os.environ['SSH_AUTH_SOCK']}", key=False),
}


def wrong(place: Place) -> Path:
    make_key(place.folder / "wrong")
    (place.folder / "wrong").chmod(0o600)
    return place.folder / "wrong"


def link(path: Path, target: Path) -> Path:
    path.symlink_to(target)
    return path


def forwarder(place: Place) -> Path:
    """What `nc` does, wherever there is none."""
    path = place.file("forward", _FORWARD)
    path.chmod(0o755)
    return path


_FORWARD = """#!/usr/bin/env python3
import os, socket, sys, threading
there = socket.create_connection((sys.argv[1], int(sys.argv[2])))
def up():
    while data := os.read(0, 65536):
        there.sendall(data)
threading.Thread(target=up, daemon=True).start()
while data := there.recv(65536):
    os.write(1, data)
"""


@pytest.fixture
def place(server: SshServer, tmp_path: Path) -> Place:
    server.users = {"ops", "jumper"}
    folder = tmp_path / "case"
    folder.mkdir()
    server.folder.joinpath("client").chmod(0o600)
    return Place(server, folder)


@pytest.fixture
def agent(place: Place, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    socket = tmp_path_factory.mktemp("a") / "s"
    with subprocess.Popen(["ssh-agent", "-D", "-a", str(socket)], stdout=subprocess.DEVNULL) as process:
        monkeypatch.setenv("SSH_AUTH_SOCK", str(socket))
        while not socket.exists():
            assert process.poll() is None
        subprocess.run(["ssh-add", "-q", str(place.key)], check=True, timeout=DEADLINE_S)
        yield
        process.terminate()


def by_openssh(config: Path, place: Place) -> tuple[bool, list[str]]:
    place.server.logins.clear()
    argv = ["ssh", "-F", str(config), "-o", "BatchMode=yes", "-o", "ConnectTimeout=8", "cp1", "true"]
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, timeout=DEADLINE_S, check=False)
    return done.returncode == 0, list(place.server.logins) if done.returncode == 0 else []


def by_gpuctl(config: Path, place: Place) -> tuple[bool, list[str]]:
    place.server.logins.clear()
    host = Host("cp1", frozenset(), Connection("cp1", ssh_common_args=f"-F {config}"), {}, connection_vars={})
    try:
        session = open_ssh(host, timeout_s=8)
    except ConnectFailure as failure:
        return (False, []) if failure.fix else (False, ["no fix"])
    try:
        assert session.run(["true"]).rc == 0
        assert place.server.logins[-1:] == [session.user]
    finally:
        session.close()
    return True, list(place.server.logins)


def compare(case: Case, place: Place) -> None:
    text = case(place)
    config = place.file("ssh.cfg", text)
    known = {path: path.read_text() for path in place.folder.glob("known*") if path.is_file()}
    judged = by_openssh(config, place)
    for path, before in known.items():
        path.write_text(before)  # accept-new has learnt it
    assert by_gpuctl(config, place) == judged, text


@pytest.mark.parametrize("name", CASES)
def test_gpuctl_reaches_what_ssh_reaches(name: str, place: Place) -> None:
    compare(CASES[name], place)


@pytest.mark.usefixtures("agent")
@pytest.mark.parametrize("name", WITH_AGENT)
def test_gpuctl_reaches_with_an_agent_what_ssh_reaches(name: str, place: Place) -> None:
    compare(WITH_AGENT[name], place)


def test_the_configurations_are_many_and_not_all_of_one_end(figure: Callable[[str], None]) -> None:
    figure(f"ssh configurations compared with OpenSSH's own client: {len(CASES) + len(WITH_AGENT)}")
    assert len(CASES) + len(WITH_AGENT) >= 60
