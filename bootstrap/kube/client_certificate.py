"""A person's own client certificate, signed by the cluster: asked for, checked like anything that comes from a host."""

from __future__ import annotations

import base64
import datetime
import re
import secrets
import time
from dataclasses import replace
from typing import Any

from bootstrap.kube.client import ApiError, Cluster
from bootstrap.kube.credentials import MAX_BYTES, Credentials, RefusedKubeconfigError, check_pair, refused_certificates

# kubeadm binds this group to cluster-admin (kubeadm 1.29 and later).
GROUP = "kubeadm:cluster-admins"
_BINDING = f"/apis/rbac.authorization.k8s.io/v1/clusterrolebindings/{GROUP}"
_REQUESTS = "/apis/certificates.k8s.io/v1/certificatesigningrequests"
# A year; the controller manager shortens it to its --cluster-signing-duration.
VALID_S = 365 * 24 * 3600
RENEW_WITHIN = datetime.timedelta(days=30)
_SIGNED_WITHIN_S = 20.0  # it takes under a second; longer means that nobody signs
_POLL_S = 0.2
_USER_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,62}")


class NotSignedError(Exception):
    """The cluster makes no certificate; the text says why."""


def is_user_name(name: str) -> bool:
    """Whether a certificate may be asked for in that name: letters, digits and ._@-, at most 63 characters."""
    return _USER_NAME.fullmatch(name) is not None


def ends_soon(certificate: str) -> bool:
    """Whether a certificate (PEM) has less than 30 days left, or cannot be read."""
    try:
        return time_left(certificate) < RENEW_WITHIN
    except RefusedKubeconfigError:
        return True


def time_left(certificate: str) -> datetime.timedelta:
    """Until the certificate (PEM) ends. Raises RefusedKubeconfigError: it cannot be read."""
    from cryptography.x509 import load_pem_x509_certificate

    with refused_certificates("it is broken"):
        ends = load_pem_x509_certificate(certificate.encode("ascii")).not_valid_after_utc
    return ends - datetime.datetime.now(datetime.UTC)


def personal_credentials(api: Cluster, admin: Credentials, user_name: str) -> Credentials:
    """Credentials of `user_name`, a cluster admin by its group; the key is made here and leaves this machine never.

    Raises:
        NotSignedError: the cluster does not sign, does not know the group, or what it signed is not what was asked.
    """
    key, request = _request(user_name)
    try:
        if api.get(_BINDING) is None:
            raise NotSignedError(f"the cluster gives the group {GROUP} no rights (kubeadm before 1.29)")
        certificate = _checked(_signed(api, request), key, admin.ca, user_name)
    except ApiError as error:
        raise NotSignedError(f"the API refuses it: {error.message[:200]}") from error
    except RefusedKubeconfigError as error:
        raise NotSignedError(str(error)) from error
    return replace(admin, certificate=certificate, key=key)


def _request(user_name: str) -> tuple[str, str]:
    """A new key and a request for a certificate of it, both PEM."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    names = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, GROUP), x509.NameAttribute(NameOID.COMMON_NAME, user_name)]
    request = x509.CertificateSigningRequestBuilder().subject_name(x509.Name(names)).sign(key, hashes.SHA256())
    plain = (serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption())
    pem = serialization.Encoding.PEM
    return key.private_bytes(pem, *plain).decode(), request.public_bytes(pem).decode()


def _signed(api: Cluster, request: str) -> str:
    """The certificate (PEM) for a request; the object is gone afterwards."""
    name = f"gpuctl-{secrets.token_hex(6)}"
    spec = {
        "request": base64.b64encode(request.encode()).decode(),
        "signerName": "kubernetes.io/kube-apiserver-client",
        "expirationSeconds": VALID_S,
        "usages": ["client auth"],
    }
    found = {"apiVersion": "certificates.k8s.io/v1", "kind": "CertificateSigningRequest", "metadata": {"name": name}}
    api.call("POST", _REQUESTS, body={**found, "spec": spec})
    try:
        approval = {
            "type": "Approved",
            "status": "True",
            "reason": "gpuctl",
            "message": "gpuctl bootstrap",
        }
        body = {"status": {"conditions": [approval]}}
        merge = "application/merge-patch+json"
        api.call("PATCH", f"{_REQUESTS}/{name}/approval", body=body, content_type=merge)
        until = time.monotonic() + _SIGNED_WITHIN_S
        while time.monotonic() < until:
            certificate = _certificate_of(api.get(f"{_REQUESTS}/{name}"))
            if certificate:
                return certificate
            time.sleep(_POLL_S)
    finally:
        api.delete(f"{_REQUESTS}/{name}")
    raise NotSignedError(f"nobody has signed it within {_SIGNED_WITHIN_S:.0f} s")


def _certificate_of(found: Any) -> str:
    """The certificate (PEM) in the status of a request; empty as long as there is none."""
    status = found.get("status") if isinstance(found, dict) else None
    encoded = status.get("certificate") if isinstance(status, dict) else None
    if not encoded:
        return ""
    try:
        if not isinstance(encoded, str) or len(encoded) > MAX_BYTES:
            raise ValueError
        return base64.b64decode(encoded, validate=True).decode("ascii")
    except ValueError:
        raise NotSignedError("what it answered with is no certificate") from None


def _checked(certificate: str, key: str, ca: str, user_name: str) -> str:
    """The certificate alone, if it is for our key, in our name, by the cluster's CA, and not at its end."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.x509 import load_pem_x509_certificate
    from cryptography.x509.oid import NameOID

    check_pair(certificate, key)
    with refused_certificates("what was signed is broken"):
        found = load_pem_x509_certificate(certificate.encode("ascii"))
        subject = {(part.oid, part.value) for part in found.subject}
        if subject != {(NameOID.ORGANIZATION_NAME, GROUP), (NameOID.COMMON_NAME, user_name)}:
            raise NotSignedError("what was signed is in another name")
        if found.not_valid_after_utc <= datetime.datetime.now(datetime.UTC):
            raise NotSignedError("what was signed has ended already: compare the clocks")
        if not any(_issued_by(found, authority) for authority in _authorities(ca)):
            raise NotSignedError("it was not signed by the cluster's CA")
        return found.public_bytes(serialization.Encoding.PEM).decode()


def _authorities(ca: str) -> list[Any]:
    from cryptography.x509 import load_pem_x509_certificates

    return list(load_pem_x509_certificates(ca.encode("ascii")))


def _issued_by(certificate: Any, authority: Any) -> bool:
    try:
        with refused_certificates("not by this one"):
            certificate.verify_directly_issued_by(authority)
    except RefusedKubeconfigError:
        return False
    return True
