"""A kubeconfig that a host hands over, read into checked values; what is used afterwards is built from those alone.

A kubeconfig is a program for its reader: `exec` runs a command, `tokenFile` and the `*-file` keys read files,
`proxy-url` and `insecure-skip-tls-verify` send the client key elsewhere. Nothing of a host's document is passed on.
"""

from __future__ import annotations

import base64
import binascii
import ipaddress
import json
import re
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from bootstrap.errors import GpuctlError, Problem
from bootstrap.exit_codes import ExitCode
from bootstrap.kube.plain_yaml import parse_plain

# kubeadm's admin.conf has 5.5 KiB, one with chains and 4096-bit keys twice that.
MAX_BYTES = 64 * 1024
_CLUSTER = frozenset({"server", "certificate-authority-data", "tls-server-name"})
_CERTIFICATE = frozenset({"client-certificate-data", "client-key-data"})
_TOKEN = frozenset({"token"})
_CONTEXT = frozenset({"cluster", "user", "namespace"})
_FIX = "compare /etc/kubernetes/admin.conf with one that `kubeadm kubeconfig user` makes: somebody has changed it"
_PORTS = range(1, 65536)
_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*", re.IGNORECASE)
_NAMESPACE = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_JWT = re.compile(r"[A-Za-z0-9_-]{10,2000}\.[A-Za-z0-9_-]{10,8000}\.[A-Za-z0-9_-]{10,2000}")


class RefusedKubeconfigError(ValueError):
    """What a host handed over as a kubeconfig is not used; the text says why, in words of our own."""


@dataclass(frozen=True, slots=True)
class Account:
    """The service account that a token has to be of."""

    namespace: str
    name: str


@dataclass(frozen=True, slots=True)
class Credentials:
    """An API server and what lets somebody in. `ca`, `certificate` and `key` are PEM texts.

    `host` is a name or an address without brackets. Either certificate and key are given, or a token.
    """

    host: str
    port: int
    ca: str
    certificate: str = ""
    key: str = field(default="", repr=False)
    token: str = field(default="", repr=False)


def read_credentials(text: str, account: Account | None = None) -> Credentials:
    """The values of a kubeconfig with one cluster, one user and one context.

    With `account` it has to hold a token of that service account, else a client certificate with its key. Keys that
    lead a client elsewhere, or have it run or read something, are refused; so is whatever is not as kubeadm or we
    write it.

    Raises:
        RefusedKubeconfigError: it does not fit.
    """
    config = _parse(text)
    cluster = _only(config, "clusters", "cluster", _CLUSTER)
    user = _only(config, "users", "user", _CERTIFICATE if account is None else _TOKEN)
    context = _only(config, "contexts", "context", _CONTEXT)
    host, port = read_server(cluster.get("server"))
    ca = _pem(cluster.get("certificate-authority-data"), "certificate-authority-data")
    check_authority(ca)
    if account is not None:
        if "namespace" in context and not _fits(_NAMESPACE, context["namespace"]):
            raise RefusedKubeconfigError("its context has a namespace that is no name of one")
        return Credentials(host, port, ca, token=_token(user.get("token"), account))
    certificate = _pem(user.get("client-certificate-data"), "client-certificate-data")
    key = _pem(user.get("client-key-data"), "client-key-data")
    check_pair(certificate, key)
    return Credentials(host, port, ca, certificate, key)


def credentials_from(host: str, text: str, account: Account | None = None, *, fix: str = _FIX) -> Credentials:
    """`read_credentials` of what a host handed over; `fix` is for one that is refused.

    Raises:
        GpuctlError: kubeconfig-refused (exit 6), with the host and the reason.
    """
    try:
        return read_credentials(text, account)
    except RefusedKubeconfigError as error:
        words = f"its kubeconfig is not used: {error}"
        raise GpuctlError(ExitCode.NOT_READY, Problem("kubeconfig-refused", words, fix, host)) from error


def kubeconfig_of(
    found: Credentials, name: str, *, server: str = "", tls_server_name: str = "", namespace: str = ""
) -> dict[str, Any]:
    """A new kubeconfig document: cluster, user and context are all called `name`. `server` replaces host and port."""
    cluster = {"server": server or url(found.host, found.port), "certificate-authority-data": encoded(found.ca)}
    if tls_server_name:
        cluster["tls-server-name"] = tls_server_name
    user = {"client-certificate-data": encoded(found.certificate), "client-key-data": encoded(found.key)}
    context = {"cluster": name, "user": name} | ({"namespace": namespace} if namespace else {})
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": name, "cluster": cluster}],
        "users": [{"name": name, "user": {"token": found.token} if found.token else user}],
        "contexts": [{"name": name, "context": context}],
        "current-context": name,
    }


def url(host: str, port: int) -> str:
    """The address of an API server; IPv6 gets its brackets."""
    return f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}"


def encoded(pem: str) -> str:
    """A PEM text as kubeconfigs embed it."""
    return base64.b64encode(pem.encode("ascii")).decode()


def read_server(server: Any) -> tuple[str, int]:
    """Host and port of an https address without path, query or user. Raises RefusedKubeconfigError."""
    refused = RefusedKubeconfigError("its server is no https address of a host and a port")
    if not isinstance(server, str) or len(server) > 300 or not server.isascii() or not server.startswith("https://"):
        raise refused
    try:
        parts = urlsplit(server)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        raise refused from None
    if parts.path not in {"", "/"} or parts.query or parts.fragment or "@" in parts.netloc or port not in _PORTS:
        raise refused
    if any(char in server for char in " \t\r\n\\?#%"):  # %: the zone of an address, which may hold any text
        raise refused
    try:
        host = str(ipaddress.ip_address(host))
    except ValueError:
        if len(host) > 253 or not _NAME.fullmatch(host):
            raise refused from None
    return host, int(port or 0)


def check_authority(ca: str) -> None:
    """Raise RefusedKubeconfigError unless the text is one or more certificates, each of a CA, and nothing else."""
    with refused_certificates("its CA is no certificate of a CA"):
        from cryptography import x509

        if _blocks(ca) != {"CERTIFICATE"}:
            raise ValueError
        for found in x509.load_pem_x509_certificates(ca.encode("ascii")):
            found.public_key()
            if not found.extensions.get_extension_for_class(x509.BasicConstraints).value.ca:
                raise ValueError


def check_pair(certificate: str, key: str) -> None:
    """Raise RefusedKubeconfigError unless the key, which has no password, is the first certificate's."""
    with refused_certificates("its client certificate or key cannot be read"):
        from cryptography import x509
        from cryptography.hazmat.primitives import serialization as form

        theirs = x509.load_pem_x509_certificates(certificate.encode("ascii"))[0].public_key()
        ours = form.load_pem_private_key(key.encode("ascii"), None).public_key()
        spki = (form.Encoding.DER, form.PublicFormat.SubjectPublicKeyInfo)
        fits = theirs.public_bytes(*spki) == ours.public_bytes(*spki)
    if not fits or _blocks(certificate) != {"CERTIFICATE"} or len(_blocks(key)) != 1 or "" in _blocks(key):
        raise RefusedKubeconfigError("its client key is not that of its client certificate")


@contextmanager
def refused_certificates(words: str) -> Iterator[None]:
    """Whatever the parsers of certificates and keys raise within is a refusal with these words.

    They are lazy: a name, a date or a signature that is broken raises when it is asked for. What they warn of (a
    serial number below zero, say) is no use to whoever runs gpuctl.
    """
    from cryptography import x509
    from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm

    wrong = (x509.InvalidVersion, x509.DuplicateExtension, x509.ExtensionNotFound, x509.UnsupportedGeneralNameType)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except RefusedKubeconfigError:
        raise
    except (ValueError, TypeError, LookupError, InvalidSignature, UnsupportedAlgorithm, *wrong):
        raise RefusedKubeconfigError(words) from None


def _parse(text: str) -> Mapping[str, Any]:
    try:
        config = parse_plain(text, MAX_BYTES)
    except ValueError as error:
        raise RefusedKubeconfigError(str(error)) from None
    if not isinstance(config, Mapping) or config.get("kind") != "Config" or config.get("apiVersion") != "v1":
        raise RefusedKubeconfigError("it is no kubeconfig")
    return config


def _only(config: Mapping[str, Any], section: str, kind: str, allowed: frozenset[str]) -> Mapping[str, Any]:
    """The one entry of a section. Keys that are not allowed are named only if kubeconfigs have them."""
    entries = config.get(section)
    if not isinstance(entries, list) or len(entries) != 1:
        raise RefusedKubeconfigError(f"it does not have exactly one of its {section}")
    entry = entries[0].get(kind) if isinstance(entries[0], Mapping) else None
    if not isinstance(entry, Mapping):
        raise RefusedKubeconfigError(f"its {kind} is none")
    extra = sorted(str(key) for key in entry if key not in allowed and entry[key] not in (None, False, "", [], {}))
    if extra:
        shown = next((key for key in extra if re.fullmatch(r"[A-Za-z-]{1,40}", key)), "something else")
        raise RefusedKubeconfigError(f"its {kind} has `{shown}`")
    return entry


def _pem(value: Any, what: str) -> str:
    try:
        if not isinstance(value, str):
            raise TypeError
        return base64.b64decode("".join(value.split()), validate=True).decode("ascii")
    except (TypeError, ValueError, binascii.Error):
        raise RefusedKubeconfigError(f"its {what} is no PEM in base64") from None


def _token(value: Any, account: Account) -> str:
    """A token of that account: its form and claims are checked; whether it is genuine, its own API server says."""
    if not isinstance(value, str) or not _JWT.fullmatch(value):
        raise RefusedKubeconfigError("its token is none of a service account")
    body = value.split(".")[1]
    try:
        claims = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
    except (ValueError, RecursionError):
        raise RefusedKubeconfigError("its token is none of a service account") from None
    wanted = f"system:serviceaccount:{account.namespace}:{account.name}"
    if not isinstance(claims, dict) or claims.get("sub") != wanted:
        raise RefusedKubeconfigError(f"its token is not one of {wanted}")
    return value


def _blocks(text: str) -> set[str]:
    """The labels of the PEM blocks of a text; one that is empty stands for whatever is outside of blocks."""
    pattern = r"-----BEGIN ([A-Z0-9 ]+)-----\r?\n[A-Za-z0-9+/=\r\n]+-----END \1-----\s*"
    rest = re.sub(pattern, "", text)
    return {*re.findall(pattern, text), *([""] if rest.strip() else [])}


def _fits(pattern: re.Pattern[str], value: Any) -> bool:
    return isinstance(value, str) and pattern.fullmatch(value) is not None
