"""One ssh connection over paramiko: the way there, the host's key, the login. Host keys are always checked."""

from __future__ import annotations

import secrets
import socket
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bootstrap.probe.known_hosts import Verdict, hashed_name, read_known_hosts
from bootstrap.probe.ssh_errors import host_key_changed, host_key_revoked, host_key_unknown

if TYPE_CHECKING:
    from collections.abc import Callable

    import fabric
    import paramiko

    from bootstrap.probe.ssh_config import Target
    from bootstrap.probe.ssh_keys import Login

_KNOWN_HOSTS_WRITE = threading.Lock()
# Routers and firewalls forget a connection that is silent for some minutes; long commands say nothing for longer.
_KEEPALIVE_S = 30
_FAMILIES = {"inet": socket.AF_INET, "inet6": socket.AF_INET6}
_RSA = ("rsa-sha2-512", "rsa-sha2-256")  # how a key of the type ssh-rsa signs


def open_connection(
    target: Target, gateway: fabric.Connection | None, login: Login, deadline: float, accept_new: bool
) -> fabric.Connection:
    """One connection that is logged in, its host key checked; it leads through `gateway` where there is one.

    Raises what paramiko and the socket raise, and ConnectFailure for host keys and logins; `deadline` is of
    time.monotonic. None of Fabric's own configuration is read: what counts is in `target`.
    """
    import fabric
    import paramiko

    left = max(deadline - time.monotonic(), 0.1)
    wanted: dict[str, Any] = {
        "timeout": left,
        "banner_timeout": left,
        "auth_timeout": left,
        "channel_timeout": left,
        "auth_strategy": login,
        "transport_factory": _transport_factory(target),
    }
    if gateway is None:
        wanted["sock"] = _dial(target, left)
    config = fabric.Config(lazy=True, ssh_config=paramiko.SSHConfig())
    connection = fabric.Connection(
        target.address, target.user, target.port, config, gateway or False, False, connect_kwargs=wanted
    )
    connection.client.set_missing_host_key_policy(_policy(target, accept_new))
    try:
        connection.open()
    except BaseException:
        connection.client.close()
        if gateway is None:
            wanted["sock"].close()
        raise
    connection.transport.set_keepalive(_KEEPALIVE_S)
    return connection


def _dial(target: Target, timeout_s: float) -> socket.socket:
    """A TCP connection to the first address that answers."""
    kind = _FAMILIES.get(target.family, socket.AF_UNSPEC)
    found = socket.getaddrinfo(target.address, target.port, kind, socket.SOCK_STREAM)
    failure: OSError = ConnectionRefusedError()
    for family, type_, protocol, _, address in found:
        sock = socket.socket(family, type_, protocol)
        try:
            sock.settimeout(timeout_s)
            sock.connect(address)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except OSError as error:
            sock.close()
            failure = error
            continue
        return sock
    raise failure


def _transport_factory(target: Target) -> Callable[..., paramiko.Transport]:
    """Transports that ask the host first for keys of the types that are known, as OpenSSH does."""
    import paramiko

    known = read_known_hosts(target.known_hosts).kinds(target.known_as)

    def make(sock: Any, **options: Any) -> paramiko.Transport:
        transport = paramiko.Transport(sock, **options)
        security = transport.get_security_options()
        wanted = {kind for name in known for kind in (_RSA if name == "ssh-rsa" else (name,))}
        types = tuple(security.key_types)
        security.key_types = (*(t for t in types if t in wanted), *(t for t in types if t not in wanted))
        return transport

    return make


def _policy(target: Target, accept_new: bool) -> paramiko.MissingHostKeyPolicy:
    """Paramiko is given no known keys, so it asks here for every one."""
    import paramiko

    class Policy(paramiko.MissingHostKeyPolicy):
        """Refuses what known_hosts does not have, or notes it for the next time where that was asked for."""

        def missing_host_key(self, client: paramiko.SSHClient, hostname: str, key: paramiko.PKey) -> None:  # noqa: ARG002
            check_host_key(target, key.get_name(), key.asbytes(), key.get_base64(), accept_new)

    return Policy()


def check_host_key(target: Target, kind: str, blob: bytes, text: str, accept_new: bool) -> None:
    """Whether the host may be trusted. Raises ConnectFailure."""
    known = read_known_hosts(target.known_hosts)
    verdict, entry = known.judge(target.known_as, blob)
    if verdict is Verdict.CHANGED:
        raise host_key_changed(target, entry)
    if verdict is Verdict.REVOKED:
        raise host_key_revoked(target, entry.place if entry else "known_hosts")
    if verdict is Verdict.UNKNOWN:
        if not accept_new and target.strict == "yes":
            raise host_key_unknown(target, known.broken)
        _remember(target, f"{kind} {text}")


def _remember(target: Target, key: str) -> None:
    """Add a key to the user's known_hosts file."""
    if not target.known_hosts or target.known_hosts[0] == "/dev/null":
        return
    file = Path(target.known_hosts[0])
    name = target.known_as[0]
    if target.hash_names:
        name = hashed_name(name, secrets.token_bytes(20))
    with _KNOWN_HOSTS_WRITE:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        begun = file.is_file() and not file.read_bytes().endswith(b"\n") and file.stat().st_size > 0
        with file.open("a", encoding="utf-8") as handle:
            handle.write(("\n" if begun else "") + f"{name} {key}\n")
        file.chmod(0o600)
