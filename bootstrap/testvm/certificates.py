"""A lab's own certificate authority, and the one certificate that it signs: the mirror's."""

from __future__ import annotations

import datetime
import ipaddress
import shutil
from typing import TYPE_CHECKING

from bootstrap.testvm import state

if TYPE_CHECKING:
    from pathlib import Path

    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import ec

_DAYS = 365


def make(directory: Path, lab: str, address: str) -> None:
    """Make ca.pem, server.pem and server.key (PEM) for the IP address `address`, once.

    The authority's key is never stored: it signs this one certificate, and nobody can sign another later.
    """
    if (directory / "complete").exists():
        return
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(mode=0o700, parents=True)
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives import serialization as form
    from cryptography.hazmat.primitives.asymmetric import ec

    authority_key = ec.generate_private_key(ec.SECP256R1())
    server_key = ec.generate_private_key(ec.SECP256R1())
    authority = _name(f"gpuctl lab {lab} mirror CA")
    builders = {
        "server.pem": _for_server(_builder(_name("gpuctl lab mirror"), authority, server_key, authority_key), address),
        "ca.pem": _for_authority(_builder(authority, authority, authority_key, authority_key)),
    }
    secret = server_key.private_bytes(form.Encoding.PEM, form.PrivateFormat.PKCS8, form.NoEncryption())
    state.write(directory / "server.key", secret.decode())
    for name, builder in builders.items():
        signed = builder.sign(authority_key, hashes.SHA256())
        state.write(directory / name, signed.public_bytes(form.Encoding.PEM).decode(), 0o644)
    (directory / "complete").touch()


def _name(common: str) -> x509.Name:
    from cryptography import x509
    from cryptography.x509.oid import NameOID

    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    issuer_key: ec.EllipticCurvePrivateKey,
) -> x509.CertificateBuilder:
    from cryptography import x509

    now = datetime.datetime.now(datetime.UTC)
    signer = x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key())
    holder = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    return (
        x509.CertificateBuilder(issuer, subject, key.public_key(), x509.random_serial_number())
        # A host whose clock is a little behind must not find it "not yet valid".
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=_DAYS))
        .add_extension(signer, critical=False)
        .add_extension(holder, critical=False)
    )


def _usage(*, ca: bool) -> x509.KeyUsage:
    from cryptography import x509

    return x509.KeyUsage(
        digital_signature=not ca, key_cert_sign=ca, crl_sign=ca, content_commitment=False, key_encipherment=False,
        data_encipherment=False, key_agreement=False, encipher_only=False, decipher_only=False,
    )  # fmt: skip


def _for_authority(builder: x509.CertificateBuilder) -> x509.CertificateBuilder:
    from cryptography import x509

    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    return builder.add_extension(_usage(ca=True), critical=True)


def _for_server(builder: x509.CertificateBuilder, address: str) -> x509.CertificateBuilder:
    from cryptography import x509
    from cryptography.x509.oid import ExtendedKeyUsageOID

    names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(address))])
    builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    builder = builder.add_extension(names, critical=False).add_extension(_usage(ca=False), critical=True)
    return builder.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
