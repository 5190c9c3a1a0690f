"""The logs of a job's pods, read on from where the last look ended."""

from __future__ import annotations

import re
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from typing import Any, Protocol

from bootstrap.kube.client import ApiError

TAIL_LINES = 12
_RECENT_LINES = 120  # torchrun writes some 40 lines after the one that says why
_NOT_YET = 400  # the container has not begun
_NOT_FOUND = 404
_STAMP = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(Z|[+-]\d\d:\d\d)", re.ASCII)  # RFC 3339
# A dead node lets a read wait for its whole timeout, and with it all other ranks: they get the larger share.
_PAUSE_PER_READ = 4


class Api(Protocol):
    """What is used of bootstrap.kube.client.Cluster."""

    def get(self, path: str, query: Mapping[str, str] | None = None) -> dict[str, Any] | None:
        """GET; None for 404. Raises ApiError."""

    def text(self, path: str, query: Mapping[str, str] | None = None) -> str:
        """GET a text. Raises ApiError."""


class PodLog:
    """One pod's log. `recent` are its last lines so far; `trouble` says why it cannot be read; empty when it can."""

    def __init__(self, api: Api, namespace: str, pod: str) -> None:
        self._api = api
        self._path = f"/api/v1/namespaces/{namespace}/pods/{pod}/log"
        self._last = ""
        self._silent_since: float | None = None
        self._not_before = 0.0
        self.recent: deque[str] = deque(maxlen=_RECENT_LINES)
        self.trouble = ""

    @property
    def tail(self) -> tuple[str, ...]:
        """The last of them: what is shown when it ends."""
        return tuple(self.recent)[-TAIL_LINES:]

    @property
    def silent_s(self) -> float:
        """For how long it could not be read; 0 when it can."""
        return 0.0 if self._silent_since is None else time.monotonic() - self._silent_since

    def read(self, said: Callable[[str], None], *, at_once: bool = False) -> None:
        """Hand on what came since the last call, where it can be read.

        After a try that failed nothing is done for a while, longer when it took long; but with `at_once`.
        """
        begun = time.monotonic()
        if begun < self._not_before and not at_once:
            return
        try:
            for line in self.new_lines():
                said(line)
        except ApiError as error:
            now = time.monotonic()
            self.trouble, self._not_before = error.message, now + _PAUSE_PER_READ * (now - begun)
            self._silent_since = self._silent_since or begun
        else:
            self.trouble, self._silent_since = "", None

    def new_lines(self) -> Iterator[str]:
        """What came since the last call. The API takes whole seconds: lines seen already are known by their time.

        Raises:
            ApiError: the API does not answer.
        """
        query = {"timestamps": "true"}
        if self._last:
            query["sinceTime"] = self._last
        try:
            text = self._api.text(self._path, query)
        except ApiError as error:
            if error.status in (_NOT_YET, _NOT_FOUND):
                return
            raise
        seen = newest = _moment(self._last)
        for line in text.split("\n"):  # no other end of a line is one to the kubelet
            stamp, _, words = line.partition(" ")
            moment = _moment(stamp)
            if moment is None or (seen and moment <= seen):
                continue
            if newest is None or moment > newest:  # the two streams of a program are not in order
                self._last, newest = stamp, moment
            shown = _as_it_stands(words)
            self.recent.append(shown)
            yield shown


def _moment(stamp: str) -> tuple[float, str] | None:
    """The second and its fraction: not all stamps have as many digits, nor the same zone. None for another word."""
    found = _STAMP.fullmatch(stamp)
    if not found:
        return None
    try:
        second = datetime.fromisoformat(found[1] + found[3]).timestamp()
    except (ValueError, OverflowError):  # a month 13
        return None
    return second, (found[2] or "").ljust(9, "0")


def _as_it_stands(words: str) -> str:
    """A progress bar overwrites itself: what a terminal would show of it in the end."""
    return next((piece for piece in reversed(words.split("\r")) if piece), "")
