"""The sockets: HTTP/1.1 with connections that stay open, TLS where there is a certificate."""

from __future__ import annotations

import json
import socket
import ssl
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from tests.doubles.wandb_api.control import PREFIX, control
from tests.doubles.wandb_api.service import Answer, Request, Service

_BODY_LIMIT = 64 * 1024 * 1024  # bytes
_IDLE_S = 120.0


class Server(ThreadingHTTPServer):
    """One listening address. `tls`: certificate and key as PEM files."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], service: Service, tls: tuple[Path, Path] | None = None) -> None:
        self.service = service
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        super().__init__(address, _Handler)
        self.scheme = "https" if tls else "http"
        if tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*tls)
            # The handshake is left to the connection's own thread: a silent client must not hold up the others.
            self.socket = context.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)

    @property
    def url(self) -> str:
        """The address to give to clients on this machine."""
        host, port = self.server_address[:2]
        name = str(host)
        name = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(name, name)  # noqa: S104 - compared, not bound
        return f"{self.scheme}://[{name}]:{port}" if ":" in name else f"{self.scheme}://{name}:{port}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away in the middle is no event; BaseServer would print a traceback."""


class _Handler(BaseHTTPRequestHandler):
    """One connection."""

    server: Server
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    timeout = _IDLE_S
    server_version = "wandb-api-double"

    def do_POST(self) -> None:
        self._serve()

    def do_PUT(self) -> None:
        self._serve()

    def do_GET(self) -> None:
        self._serve()

    def log_message(self, format: str, *arguments: Any) -> None:  # noqa: A002 - the name of the method that it replaces
        """The log has its own form."""

    def _serve(self) -> None:
        began = time.monotonic()
        service = self.server.service
        body = self._body()
        own = self.path.startswith(PREFIX)
        if body is None or (service.faults.away and not own):
            self.close_connection = True
            return
        if own:
            answer = self._control(body)
        else:
            host = self.headers.get("Host") or self.server.url.partition("://")[2]
            base_url = f"{self.server.scheme}://{host}"
            answer = service.answer(Request(self.command, self.path, dict(self.headers.items()), body, base_url))
        self._log(answer, time.monotonic() - began)
        if answer.status == 0:
            self.close_connection = True
            return
        self._send(answer)

    def _body(self) -> bytes | None:
        """All of it, sent with a length or in chunks; None when it is too long or cut short."""
        if "chunked" in self.headers.get("Transfer-Encoding", "").lower():
            whole = b""
            while size := int(self.rfile.readline().split(b";")[0].strip() or b"0", 16):
                whole += self.rfile.read(size)
                self.rfile.readline()
                if len(whole) > _BODY_LIMIT:
                    return None
            self.rfile.readline()
            return whole
        size = int(self.headers.get("Content-Length") or 0)
        if size > _BODY_LIMIT:
            return None
        body = self.rfile.read(size)
        return body if len(body) == size else None

    def _control(self, body: bytes) -> Answer:
        action = self.path.removeprefix(PREFIX).split("?")[0].strip("/")
        try:
            given = json.loads(body or b"{}")
        except ValueError as error:
            return Answer(400, {"error": f"no JSON: {error}"}, f"_double/{action}")
        if not isinstance(given, dict):
            return Answer(400, {"error": "a JSON object is wanted"}, f"_double/{action}")
        return control(self.server.service, action, given)

    def _log(self, answer: Answer, took_s: float) -> None:
        if answer.op in {"_double/state", "_double/log", "health"}:
            return
        service = self.server.service
        with service.store.lock:
            keys = [str(user["key"]) for user in service.store.data["users"].values()]
        line = {
            "op": answer.op, "variables": answer.variables, "status": answer.status, "user": answer.user,
            "agent": self.headers.get("User-Agent", ""), "from": self.client_address[0], "ms": round(took_s * 1000, 1),
        }  # fmt: skip
        refused = answer.body.get("errors") if isinstance(answer.body, dict) else None
        service.log.write({**line, "errors": [e["message"] for e in refused]} if refused else line, keys)

    def _send(self, answer: Answer) -> None:
        raw = isinstance(answer.body, bytes)
        content = answer.body if raw else json.dumps(answer.body).encode()
        self.send_response(answer.status)
        self.send_header("Content-Type", "text/plain" if raw else "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)
