"""The mirror's server on the loopback interface, over TLS."""

from __future__ import annotations

import http.client
import json
import shutil
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bootstrap.testvm.components import images, limits, mirror, serve
from bootstrap.testvm.components.catalog import Image

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl")
REF = "registry.k8s.io/coredns/coredns:v1"


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("tls")
    cert, key = folder / "cert.pem", folder / "key.pem"
    name = ["-subj", "/CN=mirror", "-addext", "subjectAltName=IP:127.0.0.1"]
    curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-x509", "-days", "1"]
    subprocess.run(
        ["openssl", "req", *curve, *name, "-keyout", str(key), "-out", str(cert)], check=True, capture_output=True
    )
    return cert, key


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "mirror"
    (root / "apt" / "pool").mkdir(parents=True)
    (root / "keys").mkdir()
    (root / mirror.IN_USE).touch()
    (root / "apt" / "pool" / "big.deb").write_bytes(bytes(range(256)) * 20_000)
    (root / "apt" / "empty").touch()
    (root / "keys" / "gpuctl-mirror.asc").write_text("KEY")
    (root / "secret").write_text("s")
    (root / "minikube").mkdir()
    (root / "minikube" / "bundle.tar").write_bytes(b"bundle")
    layout = images.Layout(root / "oci")
    layout.start()
    top = tmp_path / "top.tar"
    images.write_top_layer(Image(REF, {}), {}, {}, top)
    layout.finish({REF: images.add_image(layout, Image(REF, {}), [], top)})
    return root


@pytest.fixture
def connection(root: Path, certificate: tuple[Path, Path]) -> Iterator[http.client.HTTPSConnection]:
    server = serve.Server(("127.0.0.1", 0), serve.Content(root), serve.tls_context(*certificate))
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    context = ssl.create_default_context(cafile=str(certificate[0]))
    client = http.client.HTTPSConnection("127.0.0.1", server.server_address[1], timeout=10, context=context)
    yield client
    client.close()
    server.shutdown()
    server.server_close()
    thread.join()


def ask(client: http.client.HTTPSConnection, path: str, method: str = "GET") -> tuple[int, dict[str, str], bytes]:
    client.request(method, path)
    answer = client.getresponse()
    return answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read()


@pytest.mark.parametrize(
    "path", ["/v2/coredns/coredns/manifests/v1?ns=registry.k8s.io", "/v2/registry.k8s.io/coredns/coredns/manifests/v1"]
)
def test_manifest_by_tag_then_by_digest_then_its_blobs(connection: http.client.HTTPSConnection, path: str) -> None:
    status, headers, body = ask(connection, path)
    assert status == 200
    assert headers["content-type"] == images.MANIFEST
    digest = headers["docker-content-digest"]
    assert ask(connection, path.replace("manifests/v1", f"manifests/{digest}"))[2] == body
    manifest = json.loads(body)
    for part in (manifest["config"], *manifest["layers"]):
        status, headers, content = ask(connection, path.replace("manifests/v1", f"blobs/{part['digest']}"))
        assert (status, len(content)) == (200, part["size"])
        assert headers["docker-content-digest"] == part["digest"]


def test_head_has_the_headers_and_no_body(connection: http.client.HTTPSConnection) -> None:
    path = "/v2/coredns/coredns/manifests/v1?ns=registry.k8s.io"
    status, headers, body = ask(connection, path, "HEAD")
    assert (status, body) == (200, b"")
    assert int(headers["content-length"]) == len(ask(connection, path)[2])  # the same connection goes on


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/v2/coredns/coredns/manifests/v2?ns=registry.k8s.io", "MANIFEST_UNKNOWN"),
        ("/v2/coredns/coredns/manifests/v1?ns=docker.io", "NAME_UNKNOWN"),
        ("/v2/coredns/coredns/manifests/v1", "NAME_UNKNOWN"),
        ("/v2/registry.k8s.io/coredns/coredns/blobs/sha256:" + "0" * 64, "BLOB_UNKNOWN"),
        ("/v2/registry.k8s.io/coredns/coredns/blobs/..%2f..%2findex.json", "NAME_UNKNOWN"),
        ("/secret", "NAME_UNKNOWN"),
        ("/apt/../secret", "NAME_UNKNOWN"),
        ("/apt/%2e%2e/secret", "NAME_UNKNOWN"),
        ("/keys/../apt/../secret", "NAME_UNKNOWN"),
        ("/apt/pool", "NAME_UNKNOWN"),
    ],
)
def test_what_is_not_there_is_404(connection: http.client.HTTPSConnection, path: str, code: str) -> None:
    status, _, body = ask(connection, path)
    assert status == 404
    assert json.loads(body)["errors"][0]["code"] == code


def test_files_come_whole(connection: http.client.HTTPSConnection, root: Path) -> None:
    assert ask(connection, "/v2/")[0] == 200
    assert ask(connection, "/apt/pool/big.deb")[2] == (root / "apt" / "pool" / "big.deb").read_bytes()
    assert ask(connection, "/apt/empty")[2] == b""
    assert ask(connection, "/keys/gpuctl-mirror.asc")[2] == b"KEY"
    assert json.loads(ask(connection, "/v2/registry.k8s.io/coredns/coredns/tags/list")[2])["tags"] == ["v1"]


def test_wheels_are_linked_on_one_page(connection: http.client.HTTPSConnection, root: Path) -> None:
    assert ask(connection, "/wheels/")[2].count(b"<a ") == 0
    (root / mirror.WHEELS).mkdir()
    (root / mirror.WHEELS / "a_b-1+cu1-py3-none-any.whl").write_bytes(b"wheel")
    status, headers, page = ask(connection, "/wheels/")
    assert (status, headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert b'<a href="a_b-1%2Bcu1-py3-none-any.whl">' in page
    assert ask(connection, "/wheels/a_b-1%2Bcu1-py3-none-any.whl")[2] == b"wheel"
    assert ask(connection, "/wheels/../secret")[0] == 404


def test_a_silent_client_holds_up_nobody(connection: http.client.HTTPSConnection) -> None:
    with socket.create_connection(("127.0.0.1", connection.port)):  # never starts the handshake
        assert ask(connection, "/v2/")[0] == 200


def test_the_process_says_when_it_serves_and_ends_when_told(
    root: Path, certificate: tuple[Path, Path], tmp_path: Path
) -> None:
    pid_file = tmp_path / "pid"
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    argv = [sys.executable, "-m", "bootstrap.testvm.components.serve", "--root", str(root), "--address", "127.0.0.1"]
    argv += [
        "--port",
        str(port),
        "--cert",
        str(certificate[0]),
        "--key",
        str(certificate[1]),
        "--pid-file",
        str(pid_file),
    ]
    child = subprocess.Popen(argv, cwd=Path(__file__).parents[4])
    try:
        end = time.monotonic() + 15
        while not pid_file.exists() and time.monotonic() < end:
            time.sleep(0.02)
        assert int(pid_file.read_text()) == child.pid
        with socket.create_connection(("127.0.0.1", port), timeout=5):
            assert mirror._is_served(root)
        child.terminate()
        assert child.wait(timeout=10) == 0
        assert not pid_file.exists()
        assert not mirror._is_served(root)
    finally:
        child.kill()
        child.wait()


def test_the_files_for_minikube_are_there(connection: http.client.HTTPSConnection) -> None:
    connection.request("GET", "/minikube/bundle.tar")
    response = connection.getresponse()
    assert (response.status, response.read()) == (200, b"bundle")
    assert response.headers["Content-Type"] == "application/x-tar"


LINE, END = b"GET /v2/ HTTP/1.1\r\nHost: m\r\n", b"\r\n"
MALFORMED = {
    "nothing": b"",
    "a blank line": b"\r\n\r\n",
    "binary": bytes(range(256)) + END,
    "one word": b"GET\r\n\r\n",
    "four words": b"GET / HTTP/1.1 x\r\n\r\n",
    "no version that there is": b"GET / HTTP/9.9\r\n\r\n",
    "no number for a version": b"GET / HTTP/1.x\r\n\r\n",
    "a version of many digits": b"GET / HTTP/1." + b"1" * 5000 + b"\r\n\r\n",
    "HTTP/0.9": b"GET /v2/\r\n",
    "a method that is not served": b"DELETE /v2/ HTTP/1.1\r\n\r\n",
    "a method named after an attribute": b"__init__ /v2/ HTTP/1.1\r\n\r\n",
    "a bracket that is not closed": b"GET http://[ HTTP/1.1\r\n\r\n",
    "a NUL": b"GET /apt/%00 HTTP/1.1\r\n\r\n",
    "a bare NUL": b"GET /apt/\x00 HTTP/1.1\r\n\r\n",
    "no UTF-8": b"GET /apt/%ff%fe\xff HTTP/1.1\r\n\r\n",
    "a name that is too long": b"GET /apt/" + b"a" * 5000 + b" HTTP/1.1\r\n\r\n",
    "many folders": b"GET /apt" + b"/.." * 5000 + b" HTTP/1.1\r\n\r\n",
    "a line without an end": b"GET /" + b"a" * 300_000,
    "a header without a colon": LINE + b"hello\r\n" + END,
    "a header that goes on": LINE + b" more\r\n" + END,
    "a header without an end": LINE + b"A: " + b"a" * 300_000,
    "many headers": LINE + b"A: b\r\n" * 50_000 + END,
    "large headers": LINE + (b"A: " + b"a" * 60_000 + b"\r\n") * 90 + END,
    "a body that never comes": b"POST /v2/ HTTP/1.1\r\nContent-Length: 99999999999\r\n\r\n",
    "a length that is no number": LINE + b"Content-Length: -x\r\n" + END,
    "terminal sequences": b"GET /\x1b]0;x\x07\x1b[2J HTTP/1.1\r\n\r\n",
}


def sent(port: int, certificate: Path, data: bytes) -> bytes:
    """Whatever comes back for these bytes, until the server closes or says nothing for a while."""
    context = ssl.create_default_context(cafile=str(certificate))
    got = b""
    with (
        socket.create_connection(("127.0.0.1", port), timeout=0.3) as plain,
        context.wrap_socket(plain, server_hostname="127.0.0.1") as client,
    ):
        try:
            client.sendall(data)
            while part := client.recv(65536):
                got += part
        except OSError:
            pass
    return got


def test_malformed_requests_do_no_harm(
    connection: http.client.HTTPSConnection,
    certificate: tuple[Path, Path],
    capfd: pytest.CaptureFixture[str],
    figure: Callable[[str], None],
) -> None:
    served = 0
    for name, data in MALFORMED.items():
        answer = sent(connection.port, certificate[0], data)
        assert answer[:9] in (b"", b"HTTP/1.1 ", b"{}", b"<!DOCTYPE"), name
        assert b" 500 " not in answer[:20], name
        served += ask(connection, "/v2/")[0] == 200
        connection.close()
    figure(f"malformed requests to the mirror: {len(MALFORMED)}, served as before after {served}")
    assert served == len(MALFORMED)
    said = capfd.readouterr().err
    assert "Traceback" not in said
    assert all(c.isprintable() for c in said.replace("\n", ""))
    assert max(map(len, said.splitlines())) <= limits.LOG_COLUMNS


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"GET http://[ HTTP/1.1\r\n\r\n", b"400"),
        (LINE + b"A: " + b"a" * 70_000, b"431"),
        (b"DELETE /v2/ HTTP/1.1\r\n\r\n", b"501"),
    ],
)
def test_what_is_wrong_with_a_request_is_said(
    connection: http.client.HTTPSConnection, certificate: tuple[Path, Path], data: bytes, status: bytes
) -> None:
    assert sent(connection.port, certificate[0], data).split()[1] == status


def test_a_slow_head_is_given_up(
    connection: http.client.HTTPSConnection, certificate: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "IDLE_S", 0.5)
    context = ssl.create_default_context(cafile=str(certificate[0]))
    begun, given_up = time.monotonic(), False
    with (
        socket.create_connection(("127.0.0.1", connection.port), timeout=10) as plain,
        context.wrap_socket(plain, server_hostname="127.0.0.1") as client,
    ):
        while not given_up and time.monotonic() < begun + 10:  # a byte now and then, as long as somebody listens
            try:
                client.sendall(b"G")
            except OSError:
                given_up = True
            time.sleep(0.05)
    assert given_up
    assert time.monotonic() < begun + 5


def test_a_host_has_so_many_connections_and_others_have_theirs(
    connection: http.client.HTTPSConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "CONNECTIONS_PER_HOST", 3)
    silent = [socket.create_connection(("127.0.0.1", connection.port), timeout=5) for _ in range(3)]
    try:
        with socket.create_connection(("127.0.0.1", connection.port), timeout=5) as refused:
            assert refused.recv(1) == b""
        with socket.socket() as other:
            other.bind(("127.0.0.2", 0))
            other.settimeout(0.3)
            other.connect(("127.0.0.1", connection.port))
            with pytest.raises(TimeoutError):  # it is listened to: the handshake is awaited
                other.recv(1)
    finally:
        for one in silent:
            one.close()
    until = time.monotonic() + 10
    while True:  # what ended makes room
        try:
            assert ask(connection, "/v2/")[0] == 200
            break
        except OSError:
            connection.close()
            assert time.monotonic() < until


def test_the_log_ends(
    connection: http.client.HTTPSConnection, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "LOG_LINES", 3)
    for _ in range(6):
        assert ask(connection, "/nothing")[0] == 404
    assert capfd.readouterr().err.splitlines()[3:] == ["further lines are left out"]
