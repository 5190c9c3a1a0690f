"""What one client of the mirror can take of it.

Hosts may send what they like: the head of a request has a size and a deadline, each host a number of connections, and
what is said of them on standard error is escaped, cut, and ends after so many lines.
"""

from __future__ import annotations

import io
import sys
import threading
import time
from collections import Counter
from http.server import ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import socket

IDLE_S = 60  # for the head of a request, from the end of the one before it; and for each part of an answer
HEAD_BYTES = 1 << 16  # of a request line and its headers: those of apt, containerd and pip take less than 2 KiB
CONNECTIONS_PER_HOST = 64  # containerd takes 3 for each image that it pulls, apt one, pip ten
LOG_LINES, LOG_COLUMNS = 2000, 300


class HeadTooLongError(Exception):
    """A request's head is larger than HEAD_BYTES."""


class HeadReader(io.RawIOBase):
    """What a client sends, within the size and the time that the head of one request may take."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self.begin()

    def begin(self) -> None:
        """A new request begins."""
        self._until, self._left = time.monotonic() + IDLE_S, HEAD_BYTES

    def readable(self) -> bool:
        """It is."""
        return True

    def readinto(self, buffer: Any) -> int:
        """As many bytes as there are. Raises TimeoutError and HeadTooLongError."""
        remaining = self._until - time.monotonic()
        if remaining <= 0:
            raise TimeoutError(f"no whole request within {IDLE_S} s")
        if self._left <= 0:
            raise HeadTooLongError
        self._connection.settimeout(remaining)
        try:
            got = self._connection.recv_into(buffer)
        finally:
            self._connection.settimeout(IDLE_S)
        self._left -= got
        return got


class LimitedServer(ThreadingHTTPServer):
    """Serves each connection in a thread, and each client so many of them."""

    daemon_threads = True

    def __init__(self, address: tuple[str, int], handler: type[Any]) -> None:
        self._connections: Counter[str] = Counter()
        self._notes = 0
        self._lock = threading.Lock()
        super().__init__(address, handler)

    def verify_request(self, request: Any, client_address: Any) -> bool:
        """Whether the client may have one more connection; it is closed without a word otherwise."""
        del request
        with self._lock:
            if self._connections[client_address[0]] >= CONNECTIONS_PER_HOST:
                return False
            self._connections[client_address[0]] += 1
        return True

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Serves one connection to its end."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            with self._lock:
                self._connections[client_address[0]] -= 1

    def note(self, text: str) -> None:
        """Says one line on standard error. Clients choose what is in it: no control characters, and not for ever."""
        with self._lock:
            self._notes += 1
            if self._notes <= LOG_LINES:
                sys.stderr.write(f"{ascii(text)[1:-1][:LOG_COLUMNS]}\n")
            if self._notes == LOG_LINES:
                sys.stderr.write("further lines are left out\n")
