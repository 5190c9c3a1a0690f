"""An ssh connection of our own to one host."""

from __future__ import annotations

import logging
import shlex
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from bootstrap.probe.session import DEFAULT_TIMEOUT_S, Completed, drain
from bootstrap.probe.ssh_client import open_client
from bootstrap.probe.ssh_errors import ConnectFailure, translate
from bootstrap.probe.ssh_options import Target, resolve, resolve_jump
from bootstrap.probe.tunnel import Tunnel

if TYPE_CHECKING:
    import paramiko

    from bootstrap.inventory.model import Host

_CHANNEL_TIMEOUT_S = 10.0


class SshSession:
    """An open connection to one host."""

    def __init__(self, target: Target, clients: Sequence[paramiko.SSHClient], python: str) -> None:
        self.target = target
        self.python = python
        self._clients = tuple(clients)  # jump hosts first, the host itself last
        self._tunnels: list[Tunnel] = []

    @property
    def user(self) -> str:
        """As whom we are there."""
        return self.target.user

    @property
    def address(self) -> str:
        """Where the host is."""
        return self.target.address

    @property
    def lost(self) -> bool:
        """Whether the connection is gone."""
        transport = self._clients[-1].get_transport()
        return transport is None or not transport.is_active()

    @property
    def transport(self) -> paramiko.Transport:
        """The connection itself. Raises ConnectFailure once it is lost."""
        transport = self._clients[-1].get_transport()
        if transport is None or not transport.is_active():
            raise _lost(self.target)
        return transport

    def open_exec(self, argv: Sequence[str], timeout_s: float) -> paramiko.Channel:
        """Start a command by the user's shell there; the channel's operations time out after `timeout_s`.

        Raises:
            ConnectFailure: the connection was lost, or the host starts no further command.
        """
        from paramiko import ChannelException, SSHException

        try:
            channel = self.transport.open_session(timeout=timeout_s)
            channel.settimeout(timeout_s)
            channel.exec_command(shlex.join(argv))
        except ChannelException as error:
            said = f"{self.target.address} starts no further command: {error.text}"
            raise ConnectFailure("unreachable", said, "raise MaxSessions in its sshd_config") from error
        except (SSHException, EOFError, OSError) as error:
            raise _lost(self.target) from error
        return channel

    def run(self, argv: Sequence[str], stdin: str = "", timeout_s: float = DEFAULT_TIMEOUT_S) -> Completed:
        """Run a command there and wait for its end.

        Raises:
            ConnectFailure: the connection was lost, or the command took longer than `timeout_s` seconds.
        """
        deadline = time.monotonic() + timeout_s
        channel = self.open_exec(argv, timeout_s)
        try:
            if stdin:
                channel.sendall(stdin.encode())
            channel.shutdown_write()
            return drain(channel, deadline)
        except (TimeoutError, OSError) as error:
            if self.lost:
                raise _lost(self.target) from error
            said = f"{argv[0]} on {self.target.address} did not end within {timeout_s:.0f} s"
            raise ConnectFailure("unreachable", said, "look at the load of the host and run again") from error
        finally:
            channel.close()

    def forward(self, remote_host: str, remote_port: int) -> int:
        """A port on 127.0.0.1 whose connections come out of the host, to remote_host:remote_port; until closed."""
        transport = self.transport

        def connect(origin: tuple[str, int]) -> paramiko.Channel:
            from paramiko import SSHException

            try:
                return transport.open_channel(
                    "direct-tcpip", (remote_host, remote_port), origin, timeout=_CHANNEL_TIMEOUT_S
                )
            except SSHException as error:
                raise OSError(str(error)) from error

        tunnel = Tunnel(connect)
        self._tunnels.append(tunnel)
        return tunnel.port

    def close(self) -> None:
        """End tunnels and connections."""
        for tunnel in self._tunnels:
            tunnel.close()
        for client in reversed(self._clients):
            client.close()


def _lost(target: Target) -> ConnectFailure:
    return ConnectFailure("unreachable", f"the connection to {target.address} was lost", "run again")


def open_ssh(host: Host, *, timeout_s: float = DEFAULT_TIMEOUT_S, accept_new_host_keys: bool = False) -> SshSession:
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
        return SshSession(target, clients, host.connection.python)
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
