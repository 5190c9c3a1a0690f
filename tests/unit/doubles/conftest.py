"""A double of the W&B API for each test, and a client that speaks plain HTTP to it."""

from __future__ import annotations

import base64
import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from tests.doubles.wandb_api import Double, running

PROJECT = "model-registry"


@dataclass(frozen=True)
class Client:
    """Sends what the real client sends. `url` and `key` are the double's."""

    url: str
    key: str

    def send(self, path: str, body: Any, method: str = "POST", *, user: str = "api") -> tuple[int, Any]:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        basic = base64.b64encode(f"{user}:{self.key}".encode()).decode()
        url = path if path.startswith("http") else self.url + path
        request = urllib.request.Request(url, content, {"Authorization": f"Basic {basic}"}, method=method)  # noqa: S310
        try:
            with urllib.request.urlopen(request, timeout=5) as answer:  # noqa: S310 - the double's own address
                return answer.status, json.loads(answer.read())
        except urllib.error.HTTPError as error:
            return error.code, json.loads(error.read())

    def ask(self, query: str, variables: dict[str, Any] | None = None) -> tuple[int, Any]:
        return self.send("/graphql", {"query": query, "variables": variables or {}})

    def data(self, query: str, **variables: Any) -> Any:
        status, answer = self.ask(query, variables)
        assert status == 200, answer
        assert "errors" not in answer, answer
        return answer["data"]

    def refusal(self, query: str, **variables: Any) -> str:
        _, answer = self.ask(query, variables)
        return str(answer["errors"][0]["message"])

    def control(self, action: str, **body: Any) -> Any:
        status, answer = self.send(f"/_double/{action}", body)
        assert status == 200, answer
        return answer


@pytest.fixture
def double() -> Iterator[Double]:
    with running() as started:
        yield started


@pytest.fixture
def client(double: Double) -> Client:
    return Client(double.url, double.api_key)
