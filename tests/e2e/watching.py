"""Watching this machine for secrets while commands run. Containers' processes are processes of it, too."""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

PERIOD_S = 0.02
_YOUNG = 50  # looks


class Watch:
    """Reads, every 20 ms, the arguments of all processes, and the environments of those that this one started.

    `add` may be called at any time; `shapes` find secrets that are made on the way. Hits are "place name: canary".
    """

    def __init__(self, shapes: Mapping[str, re.Pattern[bytes]]) -> None:
        self.hits: set[str] = set()
        self._shapes = dict(shapes)
        self._namespace = Path("/proc/self/ns/pid").readlink()
        self.looks = 0
        self._known: dict[str, int] = {}
        self._canaries: dict[str, bytes] = {}
        self._seen: set[tuple[str, str, bytes]] = set()
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._look_on, daemon=True)

    def add(self, name: str, canary: str) -> None:
        """Look for this one, too, also in what was seen before."""
        self._canaries = {**self._canaries, name: canary.encode()}
        for kind, who, text in set(self._seen):
            self._judge(kind, who, text)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._end.set()
        self._thread.join()

    def _look_on(self) -> None:
        me = str(os.getpid())
        while not self._end.is_set():
            begun = time.monotonic()
            there = {path.name for path in Path("/proc").glob("[0-9]*")}
            for pid in (one for one in there if self._due(one)):
                self._note("arguments", pid, "cmdline")
                if pid != me and self._is_gpuctl(pid):
                    self._note("environment", pid, "environ")
            self._known = {pid: count for pid, count in self._known.items() if pid in there}
            self.looks += 1
            self._end.wait(max(0.0, PERIOD_S - (time.monotonic() - begun)))

    def _due(self, pid: str) -> bool:
        """Every time while a process is young, once a second after that: nearly all processes are old."""
        count = self._known[pid] = self._known.get(pid, 0) + 1
        return count < _YOUNG or count % _YOUNG == 0

    def _note(self, kind: str, pid: str, file: str) -> None:
        try:
            text = Path(f"/proc/{pid}/{file}").read_bytes()
        except OSError:  # it has ended
            return
        who = text.split(b"\0", 1)[0].decode("utf-8", "replace") if kind == "arguments" else self._name(pid)
        if text and (kind, who, text) not in self._seen:
            self._seen.add((kind, who, text))
            self._judge(kind, who, text)

    def _name(self, pid: str) -> str:
        with suppress(OSError):
            return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")[:200]
        return pid

    def _judge(self, kind: str, who: str, text: bytes) -> None:
        for name, canary in self._canaries.items():
            if canary in text:
                self.hits.add(f"{kind} of {who}: {name}")
        for name, shape in self._shapes.items():
            if shape.search(text.replace(b"\0", b" ")):
                self.hits.add(f"{kind} of {who}: {name}")

    def _is_gpuctl(self, pid: str) -> bool:
        """Whether gpuctl or Ansible runs there, or what they started on this machine: not the agents of test hosts."""
        try:
            if Path(f"/proc/{pid}/ns/pid").readlink() != self._namespace:
                return False
            line = Path(f"/proc/{pid}/cmdline").read_bytes()
        except OSError:
            return False
        return any(word in line for word in (b"gpuctl", b"ansible", b"ssh\0"))


def hits_in(place: str, text: str | bytes, canaries: Iterable[tuple[str, str]]) -> list[str]:
    """The canaries in a text, also base64- and URL-encoded."""
    import base64
    from urllib.parse import quote

    data = text.encode("utf-8", "replace") if isinstance(text, str) else text
    found = []
    for name, canary in canaries:
        forms = {canary, quote(canary, safe=""), base64.b64encode(canary.encode()).decode().rstrip("=")}
        if any(form.encode() in data for form in forms):
            found.append(f"{place}: {name}")
    return found
