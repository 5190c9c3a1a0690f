"""The service behind the sockets: accounts, GraphQL, streams and uploads. It knows nothing of HTTP but statuses."""

from __future__ import annotations

import base64
import binascii
import json
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

from tests.doubles.wandb_api import launch_mutations, objects, queue_mutations, run_files, run_mutations
from tests.doubles.wandb_api.execution import GraphQLError, Node, execute
from tests.doubles.wandb_api.faults import Faults
from tests.doubles.wandb_api.language import GraphQLSyntaxError, Operation, parse
from tests.doubles.wandb_api.record import Log
from tests.doubles.wandb_api.store import LEASE_S, Store

_STREAM = re.compile(r"/files/([^/]+)/([^/]+)/([^/]+)/file_stream")
_OPERATION = re.compile(r"\b(?:query|mutation)\s+(\w+)")


@dataclass(frozen=True, slots=True)
class Request:
    """What a client sent. `base_url`: this server's address as the client sees it."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes
    base_url: str


@dataclass(frozen=True, slots=True)
class Answer:
    """What it gets. `op` and `variables` are for the log; status 0 closes the connection."""

    status: int
    body: Any
    op: str = ""
    variables: Any = None
    user: str = ""


@dataclass(slots=True)
class Service:
    """All parts of one server. `lease_s`: seconds until an item that was handed out is handed out again."""

    store: Store = field(default_factory=Store)
    faults: Faults = field(default_factory=Faults)
    log: Log = field(default_factory=Log)
    lease_s: float = LEASE_S

    def answer(self, request: Request) -> Answer:
        """Answer one request of a client."""
        path = request.path.split("?")[0]
        if path.startswith(run_files.PREFIX):
            return self._upload(request, unquote(path.removeprefix(run_files.PREFIX)))
        if path == "/graphql" and request.method == "POST":
            return self._graphql(request)
        stream = _STREAM.fullmatch(path)
        if stream and request.method == "POST":
            return self._stream(request, *(unquote(part) for part in stream.groups()))
        if path in {"/healthz", "/ready"}:
            return Answer(200, {"status": "ok"}, "health")
        return Answer(404, {"error": "not found"}, f"{request.method} {path}")

    def _caller(self, request: Request) -> objects.Caller | None:
        """Who it is, by `Authorization: Basic base64("api:KEY")`."""
        scheme, _, text = request.headers.get("Authorization", "").partition(" ")
        try:
            name, _, key = base64.b64decode(text, validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            return None
        user = self.store.user_of(key) if scheme == "Basic" and name == "api" else None
        return objects.Caller(self.store, user, request.base_url) if user else None

    def _graphql(self, request: Request) -> Answer:
        body = _json(request.body)
        if not isinstance(body, dict) or not isinstance(body.get("query"), str):
            return Answer(400, _errors("the body must be JSON with a query"), "graphql")
        variables = body.get("variables") or {}
        named = _OPERATION.search(body["query"])
        name = str(body.get("operationName") or (named[1] if named else "anonymous"))
        if failed := self._fault(name, variables):
            return failed
        caller = self._caller(request)
        if caller is None:
            return Answer(401, _errors("user not logged in"), name, variables)
        user = str(caller.user["name"])
        try:
            document = parse(body["query"])
            operation = document.operation(body.get("operationName"))
            with self.store.lock:
                data = execute(document, operation, variables, self._root(caller, operation))
                if operation.kind == "mutation":
                    self.store.save()
        except GraphQLSyntaxError as error:
            return Answer(400, _errors(str(error)), name, variables, user)
        except GraphQLError as error:
            return Answer(error.status, _errors(str(error), error.path), name, variables, user)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            return Answer(400, _errors(f"bad arguments: {error!r}"), name, variables, user)
        return Answer(200, {"data": data}, name, variables, user)

    def _root(self, caller: objects.Caller, operation: Operation) -> Node:
        if operation.kind == "query":
            return objects.query(caller)
        parts = (queue_mutations.root(caller), launch_mutations.root(caller, self.lease_s), run_mutations.root(caller))
        return {"__typename": "Mutation"} | parts[0] | parts[1] | parts[2]

    def _stream(self, request: Request, entity: str, project: str, run: str) -> Answer:
        body = _json(request.body)
        told = {"entity": entity, "project": project, "run": run, **run_mutations.brief(body)}
        if failed := self._fault("file_stream", told):
            return failed
        caller = self._caller(request)
        if caller is None:
            return Answer(401, _errors("user not logged in"), "file_stream", told)
        user = str(caller.user["name"])
        if not isinstance(body, dict):
            return Answer(400, {"error": "the body must be a JSON object"}, "file_stream", told, user)
        with self.store.change():
            known = caller.entity(entity) is not None and run_mutations.stream(self.store, entity, project, run, body)
        return Answer(200, {}, "file_stream", told, user) if known else Answer(
            404, {"error": f"run {entity}/{project}/{run} not found"}, "file_stream", told, user
        )  # fmt: skip

    def _upload(self, request: Request, path: str) -> Answer:
        told = {"file": path, "size": len(request.body)}
        if failed := self._fault("upload", told):
            return failed
        if request.method == "PUT" and path.count("/") >= 3:
            with self.store.change():
                run_files.keep(self.store, path, request.body)
            return Answer(200, {}, "upload", told)
        content = run_files.content_of(self.store, path) if request.method == "GET" else None
        return Answer(404, {"error": "not found"}, "upload", told) if content is None else Answer(
            200, content, "download", {"file": path, "size": len(content)}
        )  # fmt: skip

    def _fault(self, op: str, variables: Any) -> Answer | None:
        taken = self.faults.take(op)
        if taken is None:
            return None
        status, message, delay_s = taken
        time.sleep(delay_s)
        return Answer(status, _errors(message, [op] if status == 200 else None), op, variables)


def _errors(message: str, path: list[str] | None = None) -> dict[str, Any]:
    error: dict[str, Any] = {"message": message}
    return {"errors": [{**error, "path": path} if path else error], "data": None}


def _json(body: bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError:
        return None
