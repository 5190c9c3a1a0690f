"""Ssh connections of our own: one per host, used again for probe, lock and tunnels."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bootstrap.probe.ssh_client import open_client
from bootstrap.probe.ssh_errors import ConnectFailure, translate
from bootstrap.probe.ssh_options import Target, resolve, resolve_jump
from bootstrap.probe.tunnel import Tunnel

if TYPE_CHECKING:
    import paramiko

    from bootstrap.inventory.model import Host

DEFAULT_TIMEOUT_S = 15.0


@dataclass(frozen=True, slots=True)
class Completed:
    """What a remote command left: exit status (-1: killed by a signal), standard output, standard error."""

    rc: int
    out: str
    err: str


class Session:
    """An open connection to one host."""

    def __init__(self, target: Target, clients: Sequence[paramiko.SSHClient]) -> None:
        self.target = target
        self._clients = tuple(clients)  # jump hosts first, the host itself last
        self._tunnels: list[Tunnel] = []

    @property
    def transport(self) -> paramiko.Transport:
        """The connection itself. Raises ConnectFailure once it is lost."""
        transport = self._clients[-1].get_transport()
        if transport is None or not transport.is_active():
            raise ConnectFailure("unreachable", f"the connection to {self.target.address} was lost", "run again")
        return transport

    def open_exec(self, command: str, timeout_s: float) -> paramiko.Channel:
        """Start a command (a line for the user's shell there); the channel's operations time out after `timeout_s`."""
        channel = self.transport.open_session(timeout=timeout_s)
        channel.settimeout(timeout_s)
        channel.exec_command(command)
        return channel

    def run(self, argv: Sequence[str], stdin: str = "", timeout_s: float = DEFAULT_TIMEOUT_S) -> Completed:
        """Run a command there and wait for its end.

        Raises:
            ConnectFailure: the connection was lost, or the command took longer than `timeout_s` seconds.
        """
        import shlex

        deadline = time.monotonic() + timeout_s
        channel = self.open_exec(shlex.join(argv), timeout_s)
        try:
            if stdin:
                channel.sendall(stdin.encode())
            channel.shutdown_write()
            return drain(channel, deadline)
        except (TimeoutError, OSError) as error:
            said = f"{argv[0]} on {self.target.address} did not end within {timeout_s:.0f} s"
            raise ConnectFailure("unreachable", said, "look at the load of the host and run again") from error
        finally:
            channel.close()

    def forward(self, remote_host: str, remote_port: int) -> int:
        """A port on 127.0.0.1 whose connections come out of the host, to remote_host:remote_port; until closed."""
        tunnel = Tunnel(self.transport, remote_host, remote_port)
        self._tunnels.append(tunnel)
        return tunnel.port

    def close(self) -> None:
        """End tunnels and connections."""
        for tunnel in self._tunnels:
            tunnel.close()
        for client in reversed(self._clients):
            client.close()


def drain(channel: paramiko.Channel, deadline: float) -> Completed:
    """Read a channel to its end. Raises TimeoutError at the deadline (time.monotonic)."""
    out = _read(channel, channel.recv, deadline)
    err = _read(channel, channel.recv_stderr, deadline)
    if not channel.status_event.wait(max(deadline - time.monotonic(), 0.0)):
        raise TimeoutError
    return Completed(channel.exit_status, out, err)


def _read(channel: paramiko.Channel, receive: Callable[[int], bytes], deadline: float) -> str:
    data = bytearray()
    while True:
        channel.settimeout(max(deadline - time.monotonic(), 0.001))
        chunk = receive(1 << 16)
        if not chunk:
            return data.decode("utf-8", "replace")
        data += chunk


def open_session(host: Host, *, timeout_s: float = DEFAULT_TIMEOUT_S, accept_new_host_keys: bool = False) -> Session:
    """Connect to a host, through its jump hosts. Raises ConnectFailure; takes at most about `timeout_s` seconds."""
    logging.getLogger("paramiko").setLevel(logging.CRITICAL + 1)  # what it has to say comes as exceptions
    try:
        target = resolve(host)
    except (OSError, ValueError) as error:
        raise ConnectFailure("unreachable", f"ssh configuration: {error}", "correct the ssh options") from error
    password = (host.connection_vars or {}).get("ansible_password") or (host.connection_vars or {}).get(
        "ansible_ssh_pass"
    )
    passphrase = (host.connection_vars or {}).get("ansible_ssh_private_key_passphrase")
    clients: list[paramiko.SSHClient] = []
    deadline = time.monotonic() + timeout_s
    try:
        sock: Any = None
        hop = target
        for hop, onward in _hops(target):
            secrets = (password, passphrase) if hop is target else (None, None)
            client = open_client(hop, sock, deadline, accept_new_host_keys, secrets)
            clients.append(client)
            sock = _channel(client, onward, deadline) if onward else None
        return Session(target, clients)
    except Exception as error:  # paramiko lets many kinds out; all of them mean that the host cannot be used
        for client in reversed(clients):
            client.close()
        raise translate(error, hop, timeout_s) from error


def _hops(target: Target) -> Iterator[tuple[Target, Target | None]]:
    """Each hop with the one after it, the host itself last."""
    hops = [*(resolve_jump(jump, target.config_file) for jump in target.jump), target]
    yield from zip(hops, [*hops[1:], None], strict=True)


def _channel(client: paramiko.SSHClient, onward: Target, deadline: float) -> paramiko.Channel:
    transport = client.get_transport()
    assert transport is not None  # noqa: S101 - a connected client has one
    left = max(deadline - time.monotonic(), 0.1)
    return transport.open_channel("direct-tcpip", (onward.address, onward.port), ("127.0.0.1", 0), timeout=left)


@contextmanager
def connect(
    host: Host, *, timeout_s: float = DEFAULT_TIMEOUT_S, accept_new_host_keys: bool = False
) -> Iterator[Session]:
    """A connection for as long as the block lasts. Raises ConnectFailure."""
    session = open_session(host, timeout_s=timeout_s, accept_new_host_keys=accept_new_host_keys)
    try:
        yield session
    finally:
        session.close()


class Sessions:
    """Connections by host name, opened once and used again; a context manager that closes them all."""

    def __init__(self, *, timeout_s: float = DEFAULT_TIMEOUT_S, accept_new_host_keys: bool = False) -> None:
        self.timeout_s = timeout_s
        self.accept_new_host_keys = accept_new_host_keys
        self._open: dict[str, Session] = {}
        self._lock = threading.Lock()

    def get(self, host: Host) -> Session:
        """The connection to a host, opened if need be. Raises ConnectFailure."""
        with self._lock:
            known = self._open.get(host.name)
        if known is not None:
            try:
                _ = known.transport
            except ConnectFailure:
                known.close()
            else:
                return known
        session = open_session(host, timeout_s=self.timeout_s, accept_new_host_keys=self.accept_new_host_keys)
        with self._lock:
            self._open[host.name] = session
        return session

    def close(self) -> None:
        """End all connections."""
        with self._lock:
            sessions, self._open = list(self._open.values()), {}
        for session in sessions:
            session.close()

    def __enter__(self) -> Sessions:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
