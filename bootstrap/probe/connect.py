"""Ways to hosts: one per host, used again for probe, lock and tunnels. Here it is decided which one leads where."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from bootstrap.probe.local import LocalSession
from bootstrap.probe.session import DEFAULT_TIMEOUT_S, Session
from bootstrap.probe.ssh import open_ssh
from bootstrap.probe.ssh_config import Resolver

if TYPE_CHECKING:
    from bootstrap.inventory.model import Host


def open_session(
    host: Host,
    *,
    timeout_s: float = DEFAULT_TIMEOUT_S,
    accept_new_host_keys: bool = False,
    resolver: Resolver | None = None,
) -> Session:
    """The way to a host: ssh, or this machine itself. Raises ConnectFailure; takes at most about `timeout_s`."""
    if host.connection.local:
        return LocalSession(host.connection.python_words)
    return open_ssh(host, timeout_s=timeout_s, accept_new_host_keys=accept_new_host_keys, resolver=resolver)


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
        self._resolver = Resolver()
        self._lock = threading.Lock()

    def get(self, host: Host) -> Session:
        """The connection to a host, opened if need be. Raises ConnectFailure."""
        with self._lock:
            known = self._open.get(host.name)
        if known is not None:
            if not known.lost:
                return known
            known.close()
        session = open_session(
            host, timeout_s=self.timeout_s, accept_new_host_keys=self.accept_new_host_keys, resolver=self._resolver
        )
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
