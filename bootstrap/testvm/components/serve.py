"""Serves a mirror over HTTPS: /apt, /keys, /wheels, /minikube, and /v2, the read-only part of the OCI distribution API.

Images of all upstream registries lie side by side. A registry is named by `?ns=registry.k8s.io`, as containerd asks a
mirror, or by the first part of the path (/v2/registry.k8s.io/kube-apiserver/…).
"""

from __future__ import annotations

import argparse
import fcntl
import json
import mmap
import os
import re
import signal
import socket
import ssl
import sys
import threading
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from io import BufferedReader
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import parse_qs, quote, unquote, urlsplit

from bootstrap.testvm.components.images import MANIFEST, references
from bootstrap.testvm.components.limits import IDLE_S, HeadReader, HeadTooLongError, LimitedServer
from bootstrap.testvm.components.mirror import IN_USE, MANIFESTS, MINIKUBE, WHEELS

if TYPE_CHECKING:
    from collections.abc import Sequence

CHUNK = 1 << 20  # bytes handed to TLS at once: far more than a record, small against memory
FOLDERS = ("apt", "keys", WHEELS, MINIKUBE, MANIFESTS)
TYPES = {
    ".asc": "application/pgp-keys",
    ".deb": "application/vnd.debian.binary-package",
    ".gz": "application/gzip",
    ".tar": "application/x-tar",
    ".whl": "application/zip",
}
DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
ROUTE = re.compile(r"/v2/(?P<name>.+)/(?P<kind>manifests|blobs|tags)/(?P<reference>[^/]+)")


@dataclass(frozen=True, slots=True)
class Answer:
    """What a request gets: a file, or the few bytes in `body`."""

    status: HTTPStatus
    content_type: str = "application/json"
    body: bytes = b""
    file: Path | None = None
    digest: str | None = None


def failure(status: HTTPStatus, code: str, message: str) -> Answer:
    """An error in the form that the distribution API wants."""
    return Answer(status, body=json.dumps({"errors": [{"code": code, "message": message}]}).encode())


class Content:
    """Finds what a path means in one mirror; it never leaves the mirror's folder."""

    def __init__(self, root: Path) -> None:
        self._root = root.resolve(strict=True)
        self._references = references(self._root / "oci")
        self._manifests = set(self._references.values())
        self._names = {ref.rpartition(":")[0] for ref in self._references}

    def answer(self, target: str) -> Answer:
        """The answer to a GET or HEAD of `target`, the path with its query; 400 for what no path can be."""
        try:
            return self._answer(target)
        except (ValueError, OSError):  # not an address; a NUL in it; a name longer than the file system takes
            return failure(HTTPStatus.BAD_REQUEST, "NAME_INVALID", "not a path of this mirror")

    def _answer(self, target: str) -> Answer:
        url = urlsplit(target)
        path = unquote(url.path)
        if path in ("/v2", "/v2/"):
            return Answer(HTTPStatus.OK, body=b"{}")
        route = ROUTE.fullmatch(path)
        if route:
            namespace = parse_qs(url.query).get("ns", [""])[0]
            return self._image(route["name"], route["kind"], route["reference"], namespace)
        if path == f"/{WHEELS}/":
            return self._wheels()
        if path.startswith(tuple(f"/{part}/" for part in FOLDERS)):
            return self._file(path)
        return failure(HTTPStatus.NOT_FOUND, "NAME_UNKNOWN", f"nothing at {path}")

    def _file(self, path: str) -> Answer:
        file = (self._root / path.lstrip("/")).resolve()
        inside = any(file.is_relative_to(self._root / part) for part in FOLDERS)
        if not inside or not file.is_file():
            return failure(HTTPStatus.NOT_FOUND, "NAME_UNKNOWN", f"nothing at {path}")
        return Answer(HTTPStatus.OK, TYPES.get(file.suffix, "text/plain; charset=utf-8"), file=file)

    def _wheels(self) -> Answer:
        """A page with a link to each wheel; an empty one where the mirror has none."""
        names = sorted(path.name for path in (self._root / WHEELS).glob("*.whl"))
        links = "".join(f'<a href="{quote(name)}">{name}</a><br>\n' for name in names)
        return Answer(HTTPStatus.OK, "text/html; charset=utf-8", f"<!DOCTYPE html>\n<body>\n{links}</body>\n".encode())

    def _image(self, name: str, kind: str, reference: str, namespace: str) -> Answer:
        full = f"{namespace}/{name}" if f"{namespace}/{name}" in self._names else name
        if full not in self._names:
            return failure(HTTPStatus.NOT_FOUND, "NAME_UNKNOWN", f"no image {namespace or '?'}/{name} in this mirror")
        if kind == "tags":
            tags = sorted(ref.rpartition(":")[2] for ref in self._references if ref.rpartition(":")[0] == full)
            return Answer(HTTPStatus.OK, body=json.dumps({"name": name, "tags": tags}).encode())
        digest = reference if DIGEST.fullmatch(reference) else self._references.get(f"{full}:{reference}", "")
        blob = self._root / "oci" / "blobs" / "sha256" / digest.removeprefix("sha256:")
        if kind == "manifests":
            if digest not in self._manifests:
                return failure(HTTPStatus.NOT_FOUND, "MANIFEST_UNKNOWN", f"no {full}:{reference} in this mirror")
            return Answer(HTTPStatus.OK, MANIFEST, file=blob, digest=digest)
        if not DIGEST.fullmatch(reference) or not blob.is_file():
            return failure(HTTPStatus.NOT_FOUND, "BLOB_UNKNOWN", f"no blob {reference} in this mirror")
        return Answer(HTTPStatus.OK, "application/octet-stream", file=blob, digest=digest)


class Handler(BaseHTTPRequestHandler):
    """One connection: several requests one after the other."""

    protocol_version = "HTTP/1.1"
    content: ClassVar[Content]
    server: Server

    def setup(self) -> None:
        """Reads through a HeadReader."""
        super().setup()
        self._head = HeadReader(self.connection)
        self.rfile = BufferedReader(self._head)

    def handle_one_request(self) -> None:
        """Answers one request, or says why not."""
        self._head.begin()
        self.requestline = self.command = self.request_version = ""  # of a request that never was whole
        try:
            super().handle_one_request()
        except HeadTooLongError:
            self.close_connection = True
            self.send_error(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)

    def do_GET(self) -> None:
        """Sends headers and content."""
        self._send(with_body=True)

    def do_HEAD(self) -> None:
        """Sends headers only."""
        self._send(with_body=False)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class names it so
        """Says nothing of requests that went well; errors go to standard error."""
        if args and str(args[1] if len(args) > 1 else "").startswith(("4", "5")):
            self.server.note(f"{self.address_string()} {format % args}")

    def _send(self, *, with_body: bool) -> None:
        answer = self.content.answer(self.path)
        size = answer.file.stat().st_size if answer.file else len(answer.body)
        self.send_response(answer.status)
        self.send_header("Content-Type", answer.content_type)
        self.send_header("Content-Length", str(size))
        self.send_header("Docker-Distribution-API-Version", "registry/2.0")
        if answer.digest:
            self.send_header("Docker-Content-Digest", answer.digest)
        self.end_headers()
        if with_body and answer.file and size:
            self._send_file(answer.file, size)
        elif with_body:
            self.wfile.write(answer.body)

    def _send_file(self, file: Path, size: int) -> None:
        self.wfile.flush()
        with (
            file.open("rb") as handle,
            mmap.mmap(handle.fileno(), size, access=mmap.ACCESS_READ) as content,
            memoryview(content) as view,
        ):
            for start in range(0, size, CHUNK):
                with view[start : start + CHUNK] as part:
                    self.connection.sendall(part)


class Server(LimitedServer):
    """TLS is agreed on in the connection's own thread: a slow or silent client holds up nobody."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], content: Content, context: ssl.SSLContext) -> None:
        self._context = context
        super().__init__(address, type("BoundHandler", (Handler,), {"content": content}))

    def get_request(self) -> tuple[socket.socket, Any]:
        """Accepts a connection and leaves the handshake for later."""
        plain, address = super().get_request()
        plain.settimeout(IDLE_S)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return self._context.wrap_socket(plain, server_side=True, do_handshake_on_connect=False), address

    def finish_request(self, request: Any, client_address: Any) -> None:
        """Makes the handshake, then serves; in the connection's thread."""
        request.do_handshake()
        super().finish_request(request, client_address)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away or distrusts our certificate is one line, not a traceback."""
        del request
        self.note(f"{client_address[0]}: {type(sys.exception()).__name__}: {sys.exception()}")


def tls_context(cert: Path, key: Path) -> ssl.SSLContext:
    """Server side, TLS 1.2 or newer."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(cert, key)
    return context


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bootstrap.testvm.components.serve", description="Serve a mirror")
    parser.add_argument("--root", type=Path, required=True, help="folder of the mirror")
    parser.add_argument("--address", required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--cert", type=Path, required=True)
    parser.add_argument("--key", type=Path, required=True)
    parser.add_argument("--pid-file", type=Path, help="written once the server answers, removed when it ends")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Serves until SIGTERM or SIGINT. Holds the mirror's lock, so that no trim removes it meanwhile."""
    options = _arguments(argv)
    root = options.root.resolve(strict=True)
    with (root / IN_USE).open("rb") as in_use:
        fcntl.flock(in_use, fcntl.LOCK_SH)
        server = Server((options.address, options.port), Content(root), tls_context(options.cert, options.key))
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda _number, _frame: threading.Thread(target=server.shutdown).start())
        if options.pid_file:
            partial = options.pid_file.with_name(f"{options.pid_file.name}.{os.getpid()}")
            partial.write_text(f"{os.getpid()}\n", encoding="ascii")
            partial.replace(options.pid_file)
        try:
            with server:
                server.serve_forever()
        finally:
            if options.pid_file:
                options.pid_file.unlink(missing_ok=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
