"""Certificates for tests: a CA, and client certificates by it, made once for a run."""

from __future__ import annotations

import base64
import datetime
import json
from functools import cache
from typing import Any

import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

PEM = serialization.Encoding.PEM
SERVER = "https://no-such-name.invalid:6443"


_KEYS: dict[str, ec.EllipticCurvePrivateKey] = {}


def key(name: str) -> ec.EllipticCurvePrivateKey:
    return _KEYS.setdefault(name, ec.generate_private_key(ec.SECP256R1()))


def key_pem(name: str) -> str:
    form = serialization.PrivateFormat.TraditionalOpenSSL
    return key(name).private_bytes(PEM, form, serialization.NoEncryption()).decode()


@cache
def certificate(name: str, issuer: str = "ca", days: float = 365, organization: str = "", public: str = "") -> str:
    """PEM of a certificate of `name`; with itself as issuer, of a CA. `public` names whose key it is for."""
    parts = [x509.NameAttribute(NameOID.COMMON_NAME, name)]
    if organization:
        parts.insert(0, x509.NameAttribute(NameOID.ORGANIZATION_NAME, organization))
    now = datetime.datetime.now(datetime.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name(parts))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
        .public_key(key(public or name).public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=400))
        .not_valid_after(now + datetime.timedelta(days=days))
        .add_extension(x509.BasicConstraints(ca=name == issuer, path_length=None), critical=True)
    )
    return builder.sign(key(issuer), hashes.SHA256()).public_bytes(PEM).decode()


def sign(request: str, issuer: str = "ca", days: float = 365) -> str:
    """What a cluster's signer makes of a request (PEM)."""
    asked = x509.load_pem_x509_csr(request.encode())
    now = datetime.datetime.now(datetime.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(asked.subject)
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
        .public_key(asked.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(minutes=5))
        .not_valid_after(now + datetime.timedelta(days=days))
    )
    return builder.sign(key(issuer), hashes.SHA256()).public_bytes(PEM).decode()


def data(pem: str) -> str:
    return base64.b64encode(pem.encode()).decode()


def admin_config(
    server: str = "https://no-such-name.invalid:6443", ca: str = "ca", user: str = "admin"
) -> dict[str, Any]:
    """What kubeadm's admin.conf holds."""
    cluster = {"certificate-authority-data": data(certificate(ca, ca)), "server": server}
    mine = {"client-certificate-data": data(certificate(user, ca)), "client-key-data": data(key_pem(user))}
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "kubernetes", "cluster": cluster}],
        "contexts": [{"name": "admin@kubernetes", "context": {"cluster": "kubernetes", "user": "admin"}}],
        "current-context": "admin@kubernetes",
        "users": [{"name": "admin", "user": mine}],
    }


def admin_conf(server: str = SERVER, ca: str = "ca", user: str = "admin") -> str:
    return yaml.safe_dump(admin_config(server, ca, user))


def token(namespace: str = "wandb", account: str = "launch-agent", **claims: Any) -> str:
    """A token of a service account, as far as its form goes."""

    def part(value: object) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")

    body = {"iss": "kubernetes/serviceaccount", "sub": f"system:serviceaccount:{namespace}:{account}", **claims}
    return f"{part({'alg': 'RS256', 'kid': 'k'})}.{part(body)}.{'c2lnbmF0dXJl' * 4}"
