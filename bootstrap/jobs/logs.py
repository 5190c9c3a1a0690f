"""The logs of a job's pods, read on from where the last look ended."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from typing import Any, Protocol

from bootstrap.kube.client import ApiError

TAIL_LINES = 12
_NOT_YET = 400  # the container has not begun
_NOT_FOUND = 404


class Api(Protocol):
    """What is used of bootstrap.kube.client.Cluster."""

    def get(self, path: str, query: Mapping[str, str] | None = None) -> dict[str, Any] | None:
        """GET; None for 404. Raises ApiError."""

    def text(self, path: str, query: Mapping[str, str] | None = None) -> str:
        """GET a text. Raises ApiError."""


class PodLog:
    """One pod's log. `tail` are its last lines so far."""

    def __init__(self, api: Api, namespace: str, pod: str) -> None:
        self._api = api
        self._path = f"/api/v1/namespaces/{namespace}/pods/{pod}/log"
        self._last = ""
        self.tail: deque[str] = deque(maxlen=TAIL_LINES)

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
        for line in text.splitlines():
            stamp, _, words = line.partition(" ")
            if stamp <= self._last or not stamp[:1].isdigit():
                continue
            self._last = stamp
            self.tail.append(words)
            yield words
