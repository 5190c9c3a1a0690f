"""An ssh connection of our own to one host: by Fabric on paramiko, or by OpenSSH where paramiko cannot."""

from __future__ import annotations

import base64
import hashlib
import logging
import shlex
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from bootstrap.probe.openssh import open_openssh
from bootstrap.probe.over_ssh import OverSsh
from bootstrap.probe.session import DEFAULT_TIMEOUT_S, Completed, Session, drain
from bootstrap.probe.ssh_choice import why_openssh
from bootstrap.probe.ssh_client import open_connection
from bootstrap.probe.ssh_config import Resolver, Target, passphrase_of, password_of
from bootstrap.probe.ssh_errors import ConnectFailure, lost, nothing_more, too_slow, translate
from bootstrap.probe.ssh_keys import Login, agent_keys, offers_of

if TYPE_CHECKING:
    import fabric
    import paramiko

    from bootstrap.inventory.model import Host
    from bootstrap.probe.ssh_keys import Offer

_CHANNEL_TIMEOUT_S = 10.0


class SshSession(OverSsh):
    """An open connection to one host."""

    def __init__(self, target: Target, connections: Sequence[fabric.Connection], python: tuple[str, ...]) -> None:
        super().__init__(target, python)
        self._connections = tuple(connections)  # jump hosts first, the host itself last

    @property
    def host_key(self) -> str:
        """The key that the host has shown, as `ssh-keygen -l` writes it."""
        blob = self.transport.get_remote_server_key().asbytes()
        return "SHA256:" + base64.b64encode(hashlib.sha256(blob).digest()).decode().rstrip("=")

    @property
    def lost(self) -> bool:
        """Whether the connection is gone."""
        transport = self._connections[-1].client.get_transport()
        return transport is None or not transport.is_active()

    @property
    def transport(self) -> paramiko.Transport:
        """The connection itself. Raises ConnectFailure once it is lost."""
        transport: paramiko.Transport | None = self._connections[-1].client.get_transport()
        if transport is None or not transport.is_active():
            raise lost(self.target)
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
            raise nothing_more(self.target, error.text) from error
        except (SSHException, EOFError, OSError) as error:
            raise lost(self.target) from error
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
                raise lost(self.target) from error
            raise too_slow(argv[0], self.target.address, timeout_s) from error
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

        return self.tunnels.open(connect)

    def close(self) -> None:
        """End tunnels and connections."""
        self.tunnels.close()
        for connection in reversed(self._connections):
            connection.client.close()


def open_ssh(
    host: Host,
    *,
    timeout_s: float = DEFAULT_TIMEOUT_S,
    accept_new_host_keys: bool = False,
    resolver: Resolver | None = None,
) -> Session:
    """Connect to a host, through its jump hosts. Raises ConnectFailure; takes at most about `timeout_s` seconds.

    Whether by paramiko or by OpenSSH is decided before, from what OpenSSH makes of the configuration, from known_hosts
    and the keys. A server that has no algorithm in common with paramiko is left to OpenSSH, too.
    """
    logging.getLogger("paramiko").setLevel(logging.CRITICAL + 1)  # what it has to say comes as exceptions
    target = (resolver or Resolver()).target(host)
    deadline = time.monotonic() + timeout_s
    found = agent_keys()
    offers = {hop: offers_of(hop, found) for hop in (*target.jumps, target)}
    session = None
    if not why_openssh(target, offers):
        session = _by_paramiko(target, offers, host, deadline, timeout_s, accept_new_host_keys)
    if session is None:
        return open_openssh(target, host, deadline, accept_new_host_keys)
    return session


def _by_paramiko(
    target: Target,
    offers: dict[Target, tuple[Offer, ...]],
    host: Host,
    deadline: float,
    timeout_s: float,
    accept_new: bool,
) -> SshSession | None:
    """A session over paramiko; None where it knows none of the algorithms that a host on the way asks for."""
    from paramiko.ssh_exception import IncompatiblePeer

    open_: list[fabric.Connection] = []
    hop = target
    try:
        for hop in (*target.jumps, target):
            secrets = (password_of(host), passphrase_of(host)) if hop is target else (None, None)
            login = Login(hop, offers[hop], *secrets)
            open_.append(open_connection(hop, open_[-1] if open_ else None, login, deadline, accept_new))
        return SshSession(target, open_, host.connection.python_words)
    except Exception as error:  # paramiko lets many kinds out; all of them mean that the host cannot be used
        for connection in reversed(open_):
            connection.client.close()
        if isinstance(error, IncompatiblePeer):
            return None
        if isinstance(error, ConnectFailure):
            raise
        raise translate(error, hop, timeout_s) from error
