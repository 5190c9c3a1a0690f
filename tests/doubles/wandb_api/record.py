"""The log: one JSON line per request, without API keys."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

_HIDDEN = "***"


class Log:
    """Lines go to a file where there is one; the lines of this process are kept as well."""

    def __init__(self, path: Path | None = None) -> None:
        self._lock = threading.Lock()
        self._path = path
        self._lines: list[dict[str, Any]] = []

    def write(self, line: dict[str, Any], secrets: Iterable[str]) -> None:
        """Add a line; every one of `secrets` in it is hidden."""
        text = json.dumps({"t": round(time.time(), 3), **line}, default=str)
        for secret in secrets:
            text = text.replace(secret, _HIDDEN)
        with self._lock:
            self._lines.append(json.loads(text))
            if self._path is not None:
                with self._path.open("a", encoding="utf-8") as file:
                    file.write(text + "\n")

    def lines(self, op: str | None = None) -> list[dict[str, Any]]:
        """The lines of this process, of one operation if it is named."""
        with self._lock:
            return [line for line in self._lines if op is None or line["op"] == op]
