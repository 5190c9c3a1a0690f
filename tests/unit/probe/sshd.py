"""An ssh server on 127.0.0.1 that runs what it is asked with this machine's shell: enough for the probe, no root."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import threading
from dataclasses import dataclass, field
from pathlib import Path

import paramiko
from paramiko.common import AUTH_FAILED, AUTH_SUCCESSFUL, OPEN_SUCCEEDED


def make_key(path: Path) -> paramiko.PKey:
    """A fresh key, its private part in a file."""
    key = paramiko.ECDSAKey.generate()
    key.write_private_key_file(str(path))
    return key


@dataclass
class SshServer:
    """`commands` are what was run, `logins` who came in; `bin_dir` comes first in PATH; `silent` never answers."""

    folder: Path
    host_key: paramiko.PKey
    client_key: paramiko.PKey
    bin_dir: Path
    silent: bool = False
    commands: list[str] = field(default_factory=list)
    logins: list[str] = field(default_factory=list)
    tunnels: list[tuple[str, int]] = field(default_factory=list)
    users: set[str] = field(default_factory=lambda: {"root", "ubuntu"})

    @classmethod
    def start(cls, folder: Path, *, silent: bool = False) -> SshServer:
        """Listen on a free port."""
        bin_dir = folder / "bin"
        bin_dir.mkdir()
        server = cls(folder, make_key(folder / "host"), make_key(folder / "client"), bin_dir, silent)
        server._listener = socket.create_server(("127.0.0.1", 0))
        threading.Thread(target=server._accept, daemon=True).start()
        return server

    _listener: socket.socket = field(init=False, repr=False)

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._listener.getsockname()[1])

    @property
    def known_hosts(self) -> Path:
        """A file that knows this server."""
        return self.write_known_hosts(self.host_key)

    def write_known_hosts(self, key: paramiko.PKey, name: str = "known_hosts") -> Path:
        """A file that says that the server has this key."""
        path = self.folder / name
        path.write_text(f"[127.0.0.1]:{self.port} {key.get_name()} {key.get_base64()}\n")
        return path

    def stop(self) -> None:
        """No more connections."""
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            if self.silent:
                self._kept = client
                continue
            transport = paramiko.Transport(client)
            transport.add_server_key(self.host_key)
            with contextlib.suppress(paramiko.SSHException, EOFError, OSError):
                transport.start_server(server=_Interface(self))

    def run(self, channel: paramiko.Channel, command: str) -> None:
        """One command, its streams copied until it ends."""
        self.commands.append(command)
        env = {**os.environ, "PATH": f"{self.bin_dir}:{os.environ['PATH']}"}
        pipe = subprocess.PIPE
        with subprocess.Popen(["sh", "-c", command], stdin=pipe, stdout=pipe, stderr=pipe, env=env) as process:
            assert process.stdin
            assert process.stdout
            assert process.stderr

            def feed() -> None:
                assert process.stdin
                with contextlib.suppress(OSError, ValueError):  # ValueError: the command has ended
                    while data := channel.recv(1 << 15):
                        os.write(process.stdin.fileno(), data)
                with contextlib.suppress(OSError):
                    process.stdin.close()

            def copy(source: int, sink: object) -> None:
                with contextlib.suppress(OSError):
                    while data := os.read(source, 1 << 15):
                        sink(data)  # type: ignore[operator]

            threading.Thread(target=feed, daemon=True).start()
            errors = threading.Thread(target=copy, args=(process.stderr.fileno(), channel.sendall_stderr), daemon=True)
            errors.start()
            copy(process.stdout.fileno(), channel.sendall)
            errors.join(5)
            status = process.wait()
            with contextlib.suppress(OSError, EOFError):
                channel.send_exit_status(status)
                channel.close()


class _Interface(paramiko.ServerInterface):
    def __init__(self, server: SshServer) -> None:
        self._server = server

    def get_allowed_auths(self, username: str) -> str:  # noqa: ARG002
        return "publickey"

    def check_auth_publickey(self, username: str, key: paramiko.PKey) -> int:
        good = username in self._server.users and key == self._server.client_key
        if good and self._server.logins[-1:] != [username]:
            self._server.logins.append(username)
        return AUTH_SUCCESSFUL if good else AUTH_FAILED

    def check_channel_request(self, kind: str, chanid: int) -> int:  # noqa: ARG002
        return OPEN_SUCCEEDED

    def check_channel_exec_request(self, channel: paramiko.Channel, command: bytes) -> bool:
        threading.Thread(target=self._server.run, args=(channel, command.decode()), daemon=True).start()
        return True

    def check_channel_direct_tcpip_request(self, chanid: int, origin: object, destination: tuple[str, int]) -> int:  # noqa: ARG002
        self._server.tunnels.append(destination)
        inner = socket.create_connection(destination, timeout=5)
        threading.Thread(target=self._bridge, args=(chanid, inner), daemon=True).start()
        return OPEN_SUCCEEDED

    def _bridge(self, chanid: int, inner: socket.socket) -> None:
        from bootstrap.probe.tunnel import _pump

        channel = None
        for transport in threading.enumerate():
            if isinstance(transport, paramiko.Transport) and transport.server_object is self:
                for _ in range(200):
                    channel = transport._channels.get(chanid)  # type: ignore[attr-defined]
                    if channel is not None and channel.remote_chanid is not None:
                        break
                    threading.Event().wait(0.01)
        if channel is not None:
            with contextlib.suppress(OSError, EOFError), inner, channel:
                _pump(inner, channel)
