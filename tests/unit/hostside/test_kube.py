"""The small API client against a TLS server of its own, and the digests of owned fields."""

from __future__ import annotations

import base64
import copy
import datetime
import hashlib
import http.server
import ipaddress
import json
import re
import shutil
import ssl
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from bootstrap.hostside import gpuctl_facts_cluster as cluster
from bootstrap.hostside import gpuctl_kube
from bootstrap.hostside.gpuctl_kube import Api, KubeError, last_writer, object_id, owned_digest, split_id

DAEMON_SET: dict[str, Any] = {
    "apiVersion": "apps/v1",
    "kind": "DaemonSet",
    "metadata": {
        "name": "flannel",
        "namespace": "kube-flannel",
        "labels": {"app": "flannel", "theirs": "x"},
        "managedFields": [
            {
                "manager": "gpuctl",
                "operation": "Apply",
                "fieldsV1": {
                    "f:metadata": {"f:labels": {"f:app": {}}},
                    "f:spec": {
                        "f:template": {
                            "f:spec": {
                                "f:containers": {'k:{"name":"main"}': {".": {}, "f:image": {}, "f:args": {}}},
                                "f:finalizers": {'v:"a"': {}},
                            }
                        }
                    },
                },
            },
            {
                "manager": "kube-controller-manager",
                "operation": "Update",
                "subresource": "status",
                "time": "2026-03-01",
            },
            {"manager": "kubectl-edit", "operation": "Update", "time": "2026-02-01T00:00:00Z", "fieldsV1": {}},
        ],
    },
    "spec": {
        "template": {
            "spec": {
                "containers": [{"name": "side", "image": "s"}, {"name": "main", "image": "flannel:1", "args": ["--a"]}],
                "finalizers": ["a", "b"],
            }
        }
    },
}


def changed(path: list[Any], value: Any) -> dict[str, Any]:
    found = copy.deepcopy(DAEMON_SET)
    place: Any = found
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    return found


MAIN = ["spec", "template", "spec", "containers", 1]


@pytest.mark.parametrize(
    "theirs",
    [
        changed(["metadata", "labels", "theirs"], "y"),
        changed(["metadata", "labels", "app2"], "y"),
        changed(["spec", "template", "spec", "containers", 0, "image"], "other"),
        changed(["spec", "template", "spec", "finalizers"], ["c", "a"]),
        changed([*MAIN, "resources"], {"limits": {}}),
    ],
)
def test_fields_of_others_do_not_count(theirs: dict[str, Any]) -> None:
    assert owned_digest(theirs) == owned_digest(DAEMON_SET)


@pytest.mark.parametrize(
    "ours",
    [
        changed(["metadata", "labels", "app"], "y"),
        changed(["metadata", "labels"], {}),
        changed([*MAIN, "image"], "flannel:2"),
        changed([*MAIN, "args"], []),
        changed([*MAIN, "name"], "renamed"),
        changed(["spec", "template", "spec", "finalizers"], ["b"]),
        changed(["metadata", "managedFields", 0, "manager"], "kubectl"),
    ],
)
def test_fields_that_we_own_count(ours: dict[str, Any]) -> None:
    assert owned_digest(ours) != owned_digest(DAEMON_SET)


def test_the_last_other_writer_is_named_and_status_is_no_writing() -> None:
    assert last_writer(DAEMON_SET) == ("kubectl-edit", "2026-02-01T00:00:00Z")
    assert last_writer({"metadata": {}}) is None


def test_identities_are_read_back() -> None:
    assert object_id(DAEMON_SET) == "apps/v1/DaemonSet/kube-flannel/flannel"
    assert split_id("apps/v1/DaemonSet/kube-flannel/flannel") == ("apps/v1", "DaemonSet", "kube-flannel", "flannel")
    assert split_id("v1/Namespace//kube-flannel") == ("v1", "Namespace", "", "kube-flannel")


@dataclass
class Pki:
    """A CA and a certificate for 127.0.0.1 (or another address) that it signed."""

    folder: Path
    names: dict[str, str] = field(default_factory=dict)

    def make(self, address: str = "127.0.0.1") -> str:
        """Write the server's files; the text of an admin.conf without its server line."""
        now = datetime.datetime.now(datetime.UTC)

        def certificate(name: str, public: Any, issuer: str, signer: Any, ca: bool) -> x509.Certificate:
            def named(text: str) -> x509.Name:
                return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])

            address_ = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(address))])
            builder = x509.CertificateBuilder().subject_name(named(name)).issuer_name(named(issuer)).public_key(public)
            builder = builder.serial_number(x509.random_serial_number()).not_valid_before(now)
            builder = builder.not_valid_after(now + datetime.timedelta(hours=1)).add_extension(address_, critical=False)
            builder = builder.add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
            return builder.sign(signer, hashes.SHA256())

        ca_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
        ca = certificate("ca", ca_key.public_key(), "ca", ca_key, True)
        leaf = certificate("server", key.public_key(), "ca", ca_key, False)
        pem = serialization.Encoding.PEM
        parts = {
            "ca": ca.public_bytes(pem),
            "crt": leaf.public_bytes(pem),
            "key": key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()),
        }
        spki = ca_key.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        self.names["spki"] = "sha256:" + hashlib.sha256(spki).hexdigest()
        for name, data in parts.items():
            (self.folder / name).write_bytes(data)
        encoded = {name: base64.b64encode(data).decode() for name, data in parts.items()}
        return (
            f"clusters:\n- cluster:\n    certificate-authority-data: {encoded['ca']}\n    server: @SERVER@\n"
            f"users:\n- user:\n    client-certificate-data: {encoded['crt']}\n    client-key-data: {encoded['key']}\n"
        )


@dataclass
class Server:
    """An API that answers from a table, and notes what it was asked."""

    conf: Path
    answers: dict[str, tuple[int, Any]]
    asked: list[tuple[str, str, str, Any]] = field(default_factory=list)
    peers: list[Any] = field(default_factory=list)


RESOURCES = {
    "/api/v1": {"resources": [{"name": "namespaces", "kind": "Namespace", "namespaced": False}]},
    "/apis/apps/v1": {
        "resources": [
            {"name": "daemonsets", "kind": "DaemonSet", "namespaced": True},
            {"name": "daemonsets/status", "kind": "DaemonSet", "namespaced": True},
        ]
    },
}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    conf = tmp_path / "admin.conf"
    text = Pki(tmp_path).make()
    found = Server(conf, {path: (200, body) for path, body in RESOURCES.items()})

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _answer(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(length)) if length else None
            found.asked.append((self.command, self.path, self.headers.get("Content-Type") or "", body))
            found.peers.append(self.connection.getpeercert())
            status, answer = found.answers.get(self.path, (404, {"message": "not found"}))
            data = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_PATCH = do_DELETE = _answer  # noqa: N815

        def log_message(self, *_args: Any) -> None:
            """Keep quiet."""

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "crt", tmp_path / "key")
    context.load_verify_locations(tmp_path / "ca")
    context.verify_mode = ssl.CERT_REQUIRED
    httpd = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    httpd.socket = context.wrap_socket(httpd.socket, server_side=True)
    threading.Thread(target=httpd.serve_forever, args=(0.05,), daemon=True).start()
    conf.write_text(text.replace("@SERVER@", f"https://127.0.0.1:{httpd.server_port}"))
    yield found
    httpd.shutdown()
    httpd.server_close()


def test_requests_are_made_with_the_client_certificate(server: Server) -> None:
    server.answers["/version"] = (200, {"gitVersion": "v1.36.3"})
    api = Api.from_admin_conf(str(server.conf))

    assert api.get("/version") == {"gitVersion": "v1.36.3"}
    assert server.peers[0]["subject"] == ((("commonName", "server"),),)


def test_admin_conf_is_used_with_the_servers_own_address(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.answers["/version"] = (200, {})
    own = tmp_path / "controller-manager.conf"
    shutil.copy(server.conf, own)
    text = server.conf.read_text()
    server.conf.write_text(re.sub("server: .*", "server: https://127.0.0.1:1", text))  # another control plane, gone
    monkeypatch.setattr(gpuctl_kube, "ADMIN_CONF", str(server.conf))
    monkeypatch.setattr(gpuctl_kube, "CONTROLLER_CONF", str(own))
    assert Api.from_admin_conf(str(server.conf)).get("/version") == {}

    own.unlink()
    with pytest.raises(KubeError, match=r"https://127\.0\.0\.1:1"):
        Api.from_admin_conf(str(server.conf), total_s=2).get("/version")


def test_objects_are_found_by_their_kind(server: Server) -> None:
    server.answers["/apis/apps/v1/namespaces/kube-flannel/daemonsets/flannel"] = (200, DAEMON_SET)
    server.answers["/api/v1/namespaces/x"] = (200, {"kind": "Namespace"})
    api = Api.from_admin_conf(str(server.conf))

    assert api.get_id("apps/v1/DaemonSet/kube-flannel/flannel") == DAEMON_SET
    assert api.get_id("v1/Namespace//x") == {"kind": "Namespace"}
    api.get_id("apps/v1/DaemonSet/kube-flannel/flannel")
    assert [path for _, path, _, _ in server.asked].count("/apis/apps/v1") == 1
    with pytest.raises(KubeError, match="no kind Job") as caught:
        api.get_id("apps/v1/Job/x/y")
    assert caught.value.status == 404


def test_apply_is_server_side_with_our_manager(server: Server) -> None:
    path = "/apis/apps/v1/namespaces/kube-flannel/daemonsets/flannel?fieldManager=gpuctl&force=false"
    server.answers[path] = (409, {"message": "conflict with kubectl"})
    api = Api.from_admin_conf(str(server.conf))
    with pytest.raises(KubeError, match="conflict with kubectl") as caught:
        api.apply(DAEMON_SET)

    assert caught.value.status == 409
    assert server.asked[-1] == ("PATCH", path, "application/apply-patch+yaml", DAEMON_SET)


def test_a_connection_that_the_server_ended_is_made_anew(server: Server) -> None:
    server.answers["/version"] = (200, {})
    api = Api.from_admin_conf(str(server.conf))
    api.get("/version")
    assert api._connection is not None
    api._connection.sock.shutdown(2)

    assert api.get("/version") == {}


def test_a_server_with_another_authority_is_not_talked_to(server: Server, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    address = server.conf.read_text().split("server: ")[1].split("\n")[0]
    (other / "conf").write_text(Pki(other).make().replace("@SERVER@", address))
    with pytest.raises(KubeError, match=r"(?i)certificate verify failed") as caught:
        Api.from_admin_conf(str(other / "conf")).get("/version")

    assert caught.value.status == 0
    assert server.asked == []


def test_no_server_is_told_with_its_address(tmp_path: Path) -> None:
    (tmp_path / "conf").write_text(Pki(tmp_path).make().replace("@SERVER@", "https://127.0.0.1:1"))
    with pytest.raises(KubeError, match=r"https://127\.0\.0\.1:1"):
        Api.from_admin_conf(str(tmp_path / "conf"), total_s=2).get("/version")


def test_a_deadline_that_is_over_ends_requests(server: Server) -> None:
    with pytest.raises(KubeError, match="in time"):
        Api.from_admin_conf(str(server.conf), total_s=0).get("/version")


def test_object_drift_names_what_changed_and_who(server: Server) -> None:
    server.answers["/apis/apps/v1/namespaces/kube-flannel/daemonsets/flannel"] = (200, DAEMON_SET)
    api = Api.from_admin_conf(str(server.conf))
    good = {"apps/v1/DaemonSet/kube-flannel/flannel": owned_digest(DAEMON_SET)}

    assert cluster.object_drift(api, good) == []
    drift = cluster.object_drift(api, {"apps/v1/DaemonSet/kube-flannel/flannel": "sha256:old", "v1/Namespace//x": "y"})
    assert [(d["key"], d["now"]) for d in drift] == [
        (
            "object:apps/v1/DaemonSet/kube-flannel/flannel",
            owned_digest(DAEMON_SET) + " (last changed by kubectl-edit)",
        ),
        ("object:v1/Namespace//x", "absent"),
    ]


def test_the_key_hash_is_that_of_the_public_key(tmp_path: Path) -> None:
    pki = Pki(tmp_path)
    pki.make()
    pem = (tmp_path / "ca").read_text()

    assert cluster.public_key_hash(pem) == pki.names["spki"]
    assert cluster.public_key_hash("") is None
    lines = pem.splitlines()
    assert cluster.public_key_hash("\n".join([lines[0], lines[1], lines[-1]])) is None  # cut off


def test_nodes_are_read_with_the_kubelets_own_words() -> None:
    node = {
        "metadata": {"name": "gpu1", "uid": "u", "labels": {"a": "b"}},
        "spec": {"unschedulable": True},
        "status": {
            "conditions": [{"type": "Ready", "status": "False", "message": "cni plugin not initialized"}],
            "addresses": [{"type": "Hostname", "address": "gpu1"}, {"type": "InternalIP", "address": "10.0.0.5"}],
            "allocatable": {"nvidia.com/gpu": "7"},
            "capacity": {"nvidia.com/gpu": "8"},
            "nodeInfo": {"kubeletVersion": "v1.36.3"},
        },
    }
    found = cluster.node_facts(node, {"gpu1": 2})

    assert found == {
        "name": "gpu1", "ready": False, "reason": "cni plugin not initialized", "uid": "u",
        "kubelet_version": "v1.36.3", "internal_ip": "10.0.0.5", "allocatable_gpus": 7, "capacity_gpus": 8,
        "unschedulable": True, "labels": {"a": "b"}, "other_gpus": 0,
        "gpu_pods": 2,
    }  # fmt: skip
    assert cluster.node_facts({"metadata": {"name": "new"}}, {})["reason"] == "unknown"


def test_only_pods_that_ask_for_gpus_count() -> None:
    def pod(node: str, limits: dict[str, str] | None) -> dict[str, Any]:
        return {"spec": {"nodeName": node, "containers": [{"resources": {"limits": limits} if limits else None}]}}

    pods = [
        pod("a", {"nvidia.com/gpu": "1"}),
        pod("a", {"cpu": "1"}),
        pod("b", None),
        pod("a", {"nvidia.com/gpu": "2"}),
    ]
    assert cluster.gpu_pods(pods) == {"a": 2}


def test_receipts_in_the_cluster_are_read_and_damaged_ones_are_not_good() -> None:
    maps = [
        {"metadata": {"name": "gpuctl-receipt-flannel"}, "data": {"receipt": '{"component": "flannel"}'}},
        {"metadata": {"name": "gpuctl-receipt-broken"}, "data": {"receipt": "{"}},
        {"metadata": {"name": "gpuctl-receipt-empty"}},
        {"metadata": {"name": "coredns"}, "data": {}},
    ]

    assert cluster.receipts_of(maps) == {
        "flannel": {"component": "flannel"},
        "broken": {"component": "broken", "state": "damaged"},
        "empty": {"component": "empty", "state": "damaged"},
    }


def secret(value: str | None, owned: str = "f:password") -> dict[str, Any]:
    fields = {"f:metadata": {"f:labels": {"f:app": {}}}, "f:data": {owned: {}} if owned else {}}
    return {
        "kind": "Secret",
        "metadata": {
            "labels": {"app": "x"},
            "managedFields": [{"manager": "gpuctl", "operation": "Apply", "fieldsV1": fields}],
        },
        "data": {} if value is None else {"password": value},
    }


def test_nothing_of_a_secret_can_be_guessed_from_its_digest() -> None:
    assert owned_digest(secret("aHVudGVyMg==")) == owned_digest(secret("b3RoZXI="))


def test_a_secret_that_somebody_else_changed_shows() -> None:
    assert owned_digest(secret("b3RoZXI=", owned="")) != owned_digest(secret("aHVudGVyMg=="))
    assert owned_digest(secret(None)) != owned_digest(secret("aHVudGVyMg=="))
