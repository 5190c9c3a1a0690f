"""Failures on demand: an operation that answers with a status some times, a server that is away for some seconds."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass

ANY = "*"


@dataclass(slots=True)
class _Fault:
    operation: str
    status: int
    left: int
    message: str
    delay_s: float


class Faults:
    """Kept in memory only: a start of the process begins without any."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._faults: list[_Fault] = []
        self._away_until = 0.0

    def add(self, operation: str, status: int, times: int = 1, message: str = "", delay_s: float = 0.0) -> None:
        """The next `times` requests of an operation (or `*`) answer `status`, after `delay_s` seconds.

        200 with a message is a GraphQL refusal; 0 closes the connection without an answer.
        """
        with self._lock:
            self._faults.append(_Fault(operation, status, times, message, delay_s))

    def take(self, operation: str) -> tuple[int, str, float] | None:
        """What this request has to answer instead: status, message and delay in seconds."""
        with self._lock:
            for fault in self._faults:
                if fault.left > 0 and fault.operation in {operation, ANY}:
                    fault.left -= 1
                    return fault.status, fault.message or f"{operation}: failed on demand", fault.delay_s
        return None

    def clear(self) -> None:
        """No failures any more."""
        with self._lock:
            self._faults.clear()
            self._away_until = 0.0

    def go_away(self, seconds: float) -> None:
        """Close every connection without an answer, for so long; the control's own requests are answered."""
        with self._lock:
            self._away_until = time.monotonic() + seconds

    @property
    def away(self) -> bool:
        """Whether the server is away now."""
        with self._lock:
            return time.monotonic() < self._away_until
