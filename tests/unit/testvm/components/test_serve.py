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
from collections.abc import Iterator
from pathlib import Path

import pytest

from bootstrap.testvm.components import images, mirror, serve
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
