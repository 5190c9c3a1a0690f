"""A session through OpenSSH itself: one master connection, and a client of it for each command and tunnel."""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bootstrap.probe.openssh_words import Askpass, explain, host_key_in
from bootstrap.probe.over_ssh import OverSsh
from bootstrap.probe.process_channel import ProcessChannel, end_process, run_through, start_process
from bootstrap.probe.session import DEFAULT_TIMEOUT_S, Completed
from bootstrap.probe.ssh_choice import shared_connection
from bootstrap.probe.ssh_config import passphrase_of, password_of
from bootstrap.probe.ssh_errors import lost, no_answer, nothing_more, too_slow

if TYPE_CHECKING:
    from bootstrap.inventory.model import Host
    from bootstrap.probe.ssh_config import Target

_LONGEST_FOLDER = 60  # a socket's path has at most 107 characters, of which OpenSSH takes 17 for a name of its own
_LOOK_EVERY_S = 0.01
_MOST_WORDS = 256 << 10  # of what ssh says of the connection
_END_S = 2.0
_REFUSED = "Session open refused by peer"
_FAILED = 255  # ssh's own exit status for what is no command's
# Ends the program in "$@" with our end of its standard input, so that no connection outlives us however we end.
_TIED = (
    'exec 3<&0; "$@" </dev/null 3<&- & p=$!; { read -r _; kill "$p"; } <&3 >/dev/null 2>&1 & w=$!; exec 3<&-; '
    'wait "$p"; s=$?; kill "$w" 2>/dev/null; exit "$s"'
)


class OpenSshSession(OverSsh):
    """An open connection to one host; what probe.session.Session asks for."""

    def __init__(self, target: Target, python: tuple[str, ...], socket_path: str, master: Master | None) -> None:
        super().__init__(target, python)
        self._socket = socket_path
        self._master = master  # None: the user's own, which stays
        self._closed = False
        self._channels: list[ProcessChannel] = []

    @property
    def host_key(self) -> str:
        """The key that the host has shown, as `ssh-keygen -l` writes it; empty over a connection of the user's."""
        return host_key_in(self._master.words()) if self._master else ""

    @property
    def lost(self) -> bool:
        """Whether the connection is gone."""
        return self._closed or not (self._master.alive if self._master else shared_connection(self.target))

    def _client(self, *words: str) -> list[str]:
        """A client of the master. It reads no configuration and opens no connection of its own."""
        quiet = ("-T", "-e", "none", "-o", "BatchMode=yes", "-o", "LogLevel=ERROR", "-o", "ProxyCommand=false")
        return [self.target.program, "-F", "none", "-S", self._socket, *quiet, *words]

    def open_exec(self, argv: Sequence[str], timeout_s: float) -> ProcessChannel:
        """Start a command by the user's shell there; the channel's operations time out after `timeout_s`.

        Raises:
            ConnectFailure: the connection was lost.
        """
        if self.lost:
            raise lost(self.target)
        process = start_process(self._client("gpuctl", "--", shlex.join(argv)), dict(os.environ))
        channel = ProcessChannel(process, timeout_s)
        self._channels = [*(known for known in self._channels if not known.closed), channel]
        return channel

    def run(self, argv: Sequence[str], stdin: str = "", timeout_s: float = DEFAULT_TIMEOUT_S) -> Completed:
        """Run a command there and wait for its end.

        Raises:
            ConnectFailure: the connection was lost, the host starts no further command, or this one took longer than
                `timeout_s` seconds.
        """
        deadline = time.monotonic() + timeout_s
        try:
            done = run_through(self.open_exec(argv, timeout_s), stdin, deadline)
        except TimeoutError as error:
            raise too_slow(argv[0], self.address, timeout_s) from error
        if done.rc == _FAILED and _REFUSED in done.err:
            raise nothing_more(self.target, _REFUSED)
        if done.rc == _FAILED and self.lost:
            raise lost(self.target)
        return done

    def forward(self, remote_host: str, remote_port: int) -> int:
        """A port on 127.0.0.1 whose connections come out of the host, to remote_host:remote_port; until closed."""
        place = f"[{remote_host}]:{remote_port}" if ":" in remote_host else f"{remote_host}:{remote_port}"

        def connect(_origin: tuple[str, int]) -> _Stream:
            return _Stream(self._client("-W", place, "gpuctl"))

        return self.tunnels.open(connect)

    def close(self) -> None:
        """End everything that goes through it, and the connection."""
        self._closed = True
        self.tunnels.close()
        for channel in self._channels:
            channel.close()
        if self._master is not None:
            self._master.close()


class _Stream:
    """One connection through the host: a client of the master with a socket for its standard input and output."""

    def __init__(self, argv: Sequence[str]) -> None:
        self._end, theirs = socket.socketpair()
        with theirs:
            self._process: subprocess.Popen[bytes] = subprocess.Popen(
                argv, stdin=theirs.fileno(), stdout=theirs.fileno(), stderr=subprocess.DEVNULL, start_new_session=True
            )
        self.fileno, self.recv, self.sendall = self._end.fileno, self._end.recv, self._end.sendall

    def __enter__(self) -> _Stream:
        return self

    def __exit__(self, *_: object) -> None:
        self._end.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_END_S)
        end_process(self._process)
        self._process.wait()


class Master:
    """The connection that the others go through; `folder` is its own, for the socket and what answers its questions."""

    def __init__(self, argv: Sequence[str], env: dict[str, str], folder: Path) -> None:
        self.folder = folder
        self.socket = folder / "s"
        self._words = bytearray()
        self._process = start_process(["sh", "-c", _TIED, "sh", *argv], env)
        self._reader = threading.Thread(target=self._read, name="gpuctl-openssh", daemon=True)
        self._reader.start()

    def _read(self) -> None:
        stream = self._process.stderr
        assert stream is not None  # noqa: S101 - Popen was given pipes
        with contextlib.suppress(OSError, ValueError):  # ValueError: closed meanwhile
            while chunk := stream.read(1 << 12):
                if len(self._words) < _MOST_WORDS:
                    self._words += chunk

    @property
    def alive(self) -> bool:
        """Whether it is open, or still on its way."""
        return self._process.poll() is None

    def words(self) -> str:
        """What ssh has said of the connection so far."""
        return self._words.decode("utf-8", "replace")

    def wait(self, deadline: float) -> bool:
        """Wait until it is open; whether it is."""
        while self.alive and not self.socket.exists() and time.monotonic() < deadline:
            time.sleep(_LOOK_EVERY_S)
        return self.alive and self.socket.exists()

    def close(self) -> None:
        """End it."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_END_S)
        self._reader.join(_END_S if self._process.poll() is not None else 0.0)
        end_process(self._process)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_END_S)
        shutil.rmtree(self.folder, ignore_errors=True)


def open_openssh(target: Target, host: Host, deadline: float, accept_new: bool) -> OpenSshSession:
    """Connect by OpenSSH. Raises ConnectFailure; takes until `deadline` (time.monotonic) at most."""
    if shared_connection(target):
        return OpenSshSession(target, host.connection.python_words, str(target.control_path), None)
    timeout_s = max(deadline - time.monotonic(), 1.0)
    if accept_new:
        _make_room(target)
    folder = Path(tempfile.mkdtemp(prefix="gpuctl-", dir=_short(tempfile.gettempdir())))
    askpass = Askpass(folder, target, password_of(host), passphrase_of(host))
    try:
        argv = _master_arguments(target, folder, timeout_s, accept_new, askpass.needed)
        master = Master(argv, askpass.environment(), folder)
    except BaseException:
        askpass.close()
        shutil.rmtree(folder, ignore_errors=True)
        raise
    opened = master.wait(deadline)
    ended = not master.alive
    askpass.close()
    if opened:
        return OpenSshSession(target, host.connection.python_words, str(master.socket), master)
    master.close()  # its last words are read then
    if ended:
        raise explain(master.words(), target)
    raise no_answer(f"{target.address} port {target.port}", timeout_s)


def _make_room(target: Target) -> None:
    """A folder for known_hosts: ssh makes ~/.ssh alone, and accepts a key that it cannot write down."""
    for file in target.known_hosts[:1]:
        with contextlib.suppress(OSError):
            Path(file).parent.mkdir(mode=0o700, parents=True, exist_ok=True)


def _short(folder: str) -> str:
    return folder if len(folder) <= _LONGEST_FOLDER else "/tmp"  # noqa: S108 - mkdtemp makes the folder ours alone


def _master_arguments(target: Target, folder: Path, timeout_s: float, accept_new: bool, asks: bool) -> list[str]:
    """Ansible's arguments, after what makes ssh a master that asks nobody and opens nothing besides."""
    wait = min(timeout_s, target.timeout_s or timeout_s)
    options = {
        "BatchMode": "no" if asks else "yes",
        "ClearAllForwardings": "yes",
        "ConnectTimeout": str(max(int(wait), 1)),
        "ControlPersist": "no",
        "LogLevel": "DEBUG1",  # it names the host's key, and what went wrong
        "NumberOfPasswordPrompts": "1",
        "PermitLocalCommand": "no",
        "RequestTTY": "no",
        "ServerAliveInterval": "30",
        "Tunnel": "no",
        "UpdateHostKeys": "no",
    }
    if target.strict == "yes":
        options["StrictHostKeyChecking"] = "accept-new" if accept_new else "yes"
    config = _accepting(target, folder) if accept_new and target.jumps else ()
    words = [word for name, value in options.items() for word in ("-o", f"{name}={value}")]
    return [target.program, *config, "-M", "-N", "-S", str(folder / "s"), *words, *target.arguments]


def _accepting(target: Target, folder: Path) -> tuple[str, ...]:
    """A configuration for jump hosts, which are told of no option but -F: new keys are accepted, all else as before."""
    files = [target.config_file] if target.config_file else ["~/.ssh/config", "/etc/ssh/ssh_config"]
    lines = ["StrictHostKeyChecking accept-new"]
    lines += [f'Match all\nInclude "{file}"' for file in files if file.lower() != "none"]
    path = folder / "config"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return ("-F", str(path))
