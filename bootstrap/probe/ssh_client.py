"""One ssh connection: way there, host key, authentication. Host keys are always checked."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bootstrap.probe.ssh_errors import host_key_changed, host_key_unknown

if TYPE_CHECKING:
    import paramiko

    from bootstrap.probe.ssh_options import Target

_KNOWN_HOSTS_WRITE = threading.Lock()
# Routers and firewalls forget a connection that is silent for some minutes; long commands say nothing for longer.
_KEEPALIVE_S = 30


def open_client(
    target: Target, sock: Any, deadline: float, accept_new: bool, secrets: tuple[str | None, str | None]
) -> paramiko.SSHClient:
    """One authenticated connection, its host key checked; `secrets` are password and passphrase of the key.

    `sock` leads there where the way is not a plain TCP connection. Raises what paramiko and the socket raise, and
    ConnectFailure for host keys; `deadline` is of time.monotonic.
    """
    import paramiko

    client = paramiko.SSHClient()
    known = _load_known_hosts(target, client)
    client.set_missing_host_key_policy(_policy(target, accept_new))
    if sock is None and target.proxy_command:
        sock = paramiko.ProxyCommand(target.proxy_command)
    left = max(deadline - time.monotonic(), 0.1)
    if sock is None:
        sock = socket.create_connection((target.address, target.port), timeout=left)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    keys = [key for key in target.key_files if Path(key).is_file()]
    if target.key_files and not keys and not secrets[0]:
        sock.close()
        raise paramiko.AuthenticationException(f"{target.key_files[0]} is not there")
    try:
        client.connect(
            known,
            target.port,
            target.user,
            password=secrets[0],
            passphrase=secrets[1],
            key_filename=keys or None,  # type: ignore[arg-type]  # a list is documented, the stubs say str
            look_for_keys=not keys,
            allow_agent=not (target.identities_only and keys),
            sock=sock,
            timeout=left,
            banner_timeout=left,
            auth_timeout=left,
            channel_timeout=left,
        )
    except BaseException as error:
        refused = _is_refusal(error, client)
        client.close()
        sock.close()
        if refused:
            raise paramiko.AuthenticationException(_why_refused(keys)) from error
        raise
    transport = client.get_transport()
    if transport is not None:
        transport.set_keepalive(_KEEPALIVE_S)
    return client


def _is_refusal(error: BaseException, client: paramiko.SSHClient) -> bool:
    """Whether the host's key was accepted: what fails after that is authentication, whatever paramiko calls it."""
    import paramiko

    transport = client.get_transport()
    connected = transport is not None and transport.is_active() and getattr(transport, "initial_kex_done", False)
    return (
        connected and isinstance(error, paramiko.SSHException) and not isinstance(error, paramiko.BadHostKeyException)
    )


def _why_refused(keys: Sequence[str]) -> str:
    import paramiko
    from paramiko.pkey import UnknownKeyType

    for key in keys:
        try:
            paramiko.PKey.from_path(key)
        except (paramiko.PasswordRequiredException, TypeError):
            return f"{key} has a passphrase; load it with ssh-add"
        except (OSError, ValueError, paramiko.SSHException, UnknownKeyType) as error:
            return f"{key} cannot be read: {error}"
    return "no key was accepted" if keys else "there is no key to offer"


def _load_known_hosts(target: Target, client: paramiko.SSHClient) -> str:
    """Load the known keys; the name under which paramiko is to look the host up."""
    for path in target.known_hosts:
        if Path(path).is_file():
            client.load_system_host_keys(path)
    # Paramiko puts brackets and port around the name by itself unless the port is 22.
    return target.known_as if not target.known_as.startswith("[") else target.known_as[1:].rpartition("]")[0]


def _policy(target: Target, accept_new: bool) -> paramiko.MissingHostKeyPolicy:
    import paramiko

    class Policy(paramiko.MissingHostKeyPolicy):
        """Refuses unknown keys, or notes them for the next time where that was asked for."""

        def missing_host_key(self, client: paramiko.SSHClient, hostname: str, key: paramiko.PKey) -> None:  # noqa: ARG002
            if any(target.known_as in _names(path) for path in target.known_hosts):
                raise host_key_changed(target)  # known, with keys of other types only
            if not accept_new and target.strict == "yes":
                raise host_key_unknown(target)
            _remember(target, key)

    return Policy()


def _names(path: str) -> set[str]:
    import paramiko

    if not Path(path).is_file():
        return set()
    return set(paramiko.HostKeys(path).keys())


def _remember(target: Target, key: paramiko.PKey) -> None:
    """Add a key to the user's known_hosts file."""
    if not target.known_hosts or target.known_hosts[0] == "/dev/null":
        return
    file = Path(target.known_hosts[0])
    with _KNOWN_HOSTS_WRITE:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with file.open("a", encoding="utf-8") as handle:
            handle.write(f"{target.known_as} {key.get_name()} {key.get_base64()}\n")
        file.chmod(0o600)
