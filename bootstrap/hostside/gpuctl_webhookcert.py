"""The certificate of a webhook that does not make its own: one authority and one certificate, kept in a Secret.

Standard library only, Python 3.8 and later: this code runs on the hosts.
"""

from __future__ import annotations

import base64
import os
import shutil
import tempfile
from typing import Any, Dict, Mapping, Optional

from .gpuctl_applyset import get_or_none
from .gpuctl_hostio import HostError, read_bytes, run
from .gpuctl_kube import Api

_DAYS = 3650
_RENEW_BEFORE_S = 90 * 86400
_KEYS = ("ca.crt", "tls.crt", "tls.key")


def secret(api: Api, namespace: str, name: str, service: str) -> Dict[str, Any]:
    """The Secret as it is to be: with the cluster's certificate while that is good, else with a new one.

    HostError webhook-certificate: openssl is not there, or failed.
    """
    found = _kept(get_or_none(api, f"v1/Secret/{namespace}/{name}"))
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "type": "Opaque",
        "metadata": {"name": name, "namespace": namespace},
        "data": found or _made(service, namespace),
    }


def _kept(found: Optional[Mapping[str, Any]]) -> Optional[Dict[str, str]]:
    """The data of a Secret whose certificate is good for a while."""
    data = (found or {}).get("data") or {}
    if not all(data.get(key) for key in _KEYS):
        return None
    folder = tempfile.mkdtemp(prefix="gpuctl-webhook-")
    try:
        path = os.path.join(folder, "tls.crt")
        with open(path, "wb") as handle:
            handle.write(base64.b64decode(data["tls.crt"]))
        good = run(["openssl", "x509", "-noout", "-checkend", str(_RENEW_BEFORE_S), "-in", path])
        if good.rc == 127:
            raise _failed(good.tail(2))
        return {key: data[key] for key in _KEYS} if good.rc == 0 else None
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _made(service: str, namespace: str) -> Dict[str, str]:
    """A new certificate for the service's names, by an authority whose key is thrown away."""
    names = ",".join(f"DNS:{service}{rest}" for rest in ("", f".{namespace}", f".{namespace}.svc"))
    folder = tempfile.mkdtemp(prefix="gpuctl-webhook-")  # only its owner may look into it
    try:
        at = {name: os.path.join(folder, name) for name in ("ca.key", "tls.csr", "extensions", *_KEYS)}
        with open(at["extensions"], "w", encoding="ascii") as handle:
            handle.write(f"subjectAltName={names}\nextendedKeyUsage=serverAuth\nkeyUsage=digitalSignature\n")
        key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
        for argv in (
            ["req", "-x509", *key, "-days", str(_DAYS), "-keyout", at["ca.key"], "-out", at["ca.crt"],
             "-subj", f"/CN={service}-ca"],
            ["req", *key, "-keyout", at["tls.key"], "-out", at["tls.csr"], "-subj", f"/CN={service}.{namespace}.svc"],
            ["x509", "-req", "-in", at["tls.csr"], "-CA", at["ca.crt"], "-CAkey", at["ca.key"], "-CAcreateserial",
             "-days", str(_DAYS), "-extfile", at["extensions"], "-out", at["tls.crt"]],
        ):  # fmt: skip
            done = run(["openssl", *argv])
            if done.rc:
                raise _failed(done.tail(2))
        return {name: base64.b64encode(read_bytes(at[name]) or b"").decode("ascii") for name in _KEYS}
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _failed(said: str) -> HostError:
    return HostError("webhook-certificate", f"openssl: {said}", "install the package openssl on the control planes")
