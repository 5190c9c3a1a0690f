"""A local TCP port whose connections come out of a host, over the ssh connection that is open anyway."""

from __future__ import annotations

import contextlib
import select
import socket
import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import paramiko

_CHANNEL_TIMEOUT_S = 10.0


class Tunnel:
    """Listens on 127.0.0.1, `port`, until closed."""

    def __init__(self, transport: paramiko.Transport, remote_host: str, remote_port: int) -> None:
        self._transport = transport
        self._remote = (remote_host, remote_port)
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
        from paramiko import SSHException

        try:
            channel = self._transport.open_channel("direct-tcpip", self._remote, origin, timeout=_CHANNEL_TIMEOUT_S)
        except (SSHException, OSError, EOFError):
            local.close()  # the client sees a connection that ended, as with any dead server
            return
        with local, channel, contextlib.suppress(OSError):
            _pump(local, channel)


def _pump(local: socket.socket, channel: paramiko.Channel) -> None:
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
