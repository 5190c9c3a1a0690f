"""A local TCP port whose connections come out of a host."""

from __future__ import annotations

import contextlib
import select
import socket
import threading
from collections.abc import Callable
from typing import Any

# From the client's address to what leads on: a socket, or what has its methods. Raises OSError or EOFError.
Connect = Callable[[tuple[str, int]], Any]


class Tunnel:
    """Listens on 127.0.0.1, `port`, until closed."""

    def __init__(self, connect: Connect) -> None:
        self._connect = connect
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, name="gpuctl-tunnel", daemon=True).start()

    def close(self) -> None:
        """Stop listening; connections end with the ssh connection."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                local, origin = self._listener.accept()
            except OSError:
                return  # closed
            threading.Thread(target=self._serve, args=(local, origin), daemon=True).start()

    def _serve(self, local: socket.socket, origin: tuple[str, int]) -> None:
        try:
            channel = self._connect(origin)
        except (OSError, EOFError):
            local.close()  # the client sees a connection that ended, as with any dead server
            return
        with contextlib.suppress(OSError, EOFError), local, channel:  # closing a lost connection raises, too
            _pump(local, channel)


class Tunnels:
    """The tunnels of one session."""

    def __init__(self) -> None:
        self._open: list[Tunnel] = []

    def open(self, connect: Connect) -> int:
        """A port on 127.0.0.1 whose connections `connect` leads on, until closed."""
        tunnel = Tunnel(connect)
        self._open.append(tunnel)
        return tunnel.port

    def close(self) -> None:
        """Stop listening at all of them."""
        for tunnel in self._open:
            tunnel.close()


def _pump(local: socket.socket, channel: Any) -> None:
    """Copy both ways until one side ends."""
    ends: list[Any] = [local, channel]
    while True:
        ready, _, _ = select.select(ends, [], [])
        for source, sink in ((local, channel), (channel, local)):
            if source in ready:
                data = source.recv(1 << 16)
                if not data:
                    return
                sink.sendall(data)
