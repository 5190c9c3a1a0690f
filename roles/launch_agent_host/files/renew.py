"""Renew the token of the Launch agent's service account, or say how long it is valid.

    renew.py KUBECONFIG TOKEN NAMESPACE ACCOUNT SECONDS [ADMIN…]
    renew.py TOKEN

With ADMIN, kubeconfigs of the cluster's administrator of which the first that is there counts, its certificate asks
for the new token; else the old token does. A token of which more than half is left stays. One that has lapsed is
removed, so that `gpuctl plan` sees that there is none. Standard library only.
"""

from __future__ import annotations

import base64
import http.client
import json
import os
import re
import ssl
import sys
import tempfile
import time
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

_TIMEOUT_S = 10.0
_UNAVAILABLE = 69  # sysexits.h
_MAX_ANSWER = 256 * 1024


class RefusedError(Exception):
    """The API does not take the old token any more."""


def lifetime(path: Path) -> tuple[float, float] | None:
    """When the token of the file was made and when it ends, in seconds since 1970; None without one."""
    try:
        body = path.read_text(encoding="ascii").split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
        return float(claims.get("iat", 0)), float(claims["exp"])
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return None


def certificate(patterns: list[str]) -> bytes:
    """Certificate and key, one PEM text, of the first kubeconfig that is there. Raises OSError, ValueError."""
    found = [path for pattern in patterns for path in sorted(Path("/").glob(pattern.lstrip("/")))]
    if not found:
        raise FileNotFoundError(f"{' and '.join(patterns)} are not there")
    text = found[0].read_text(encoding="utf-8")
    parts = []
    for key in ("client-certificate-data", "client-key-data"):
        match = re.search(rf"^[ \t-]*{key}:[ \t]+[\"']?([A-Za-z0-9+/=]+)", text, re.MULTILINE)
        if match is None:
            raise ValueError(f"{found[0]} has no {key}")
        parts.append(base64.b64decode(match.group(1), validate=True))
    return b"\n".join(parts)


def ask(cluster: dict[str, Any], path: str, seconds: int, pem: bytes, token: str) -> str:
    """The new token. Raises OSError, ValueError, http.client.HTTPException."""
    end = urlsplit(str(cluster["server"]))
    context = ssl.create_default_context(cadata=base64.b64decode(cluster["certificate-authority-data"]).decode("ascii"))
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT  # as in reach.py
    if pem:
        memory = os.memfd_create("gpuctl-client")
        try:
            os.write(memory, pem)
            context.load_cert_chain(f"/proc/self/fd/{memory}")
        finally:
            os.close(memory)
    spec = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": seconds}}
    headers = {"Content-Type": "application/json", "Accept": "application/json"}
    if not pem:
        headers["Authorization"] = f"Bearer {token}"
    connection = http.client.HTTPSConnection(end.hostname or "", end.port or 443, timeout=_TIMEOUT_S, context=context)
    try:
        connection.request("POST", path, json.dumps(spec), headers)
        answer = connection.getresponse()
        said = answer.read(_MAX_ANSWER)
    finally:
        connection.close()
    if answer.status == http.client.UNAUTHORIZED and not pem:
        raise RefusedError("the API takes it no more (401)")
    if answer.status >= http.client.BAD_REQUEST:
        raise ValueError(f"the API says {answer.status}: {said[:300].decode('utf-8', 'replace')}")
    return str(json.loads(said)["status"]["token"])


def write(path: Path, token: str) -> None:
    """Replace the file at once, as its folder's owner's."""
    owner = path.parent.stat()
    handle, name = tempfile.mkstemp(dir=path.parent)
    try:
        with os.fdopen(handle, "w", encoding="ascii") as stream:
            stream.write(token)
            os.fchown(stream.fileno(), owner.st_uid, owner.st_gid)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink()
        raise


def renew(kubeconfig: Path, path: Path, account: tuple[str, str], seconds: int, admins: list[str]) -> str:
    """What was wrong, or nothing."""
    now, known = time.time(), lifetime(path)
    if known and known[1] - now > (known[1] - known[0]) / 2:
        return ""
    try:
        cluster = json.loads(kubeconfig.read_text(encoding="utf-8"))["clusters"][0]["cluster"]
        pem = certificate(admins) if admins else b""
        token = "" if pem else path.read_text(encoding="ascii")
        where = f"/api/v1/namespaces/{quote(account[0])}/serviceaccounts/{quote(account[1])}/token"
        write(path, ask(cluster, where, seconds, pem, token))
    except (OSError, ValueError, LookupError, TypeError, RefusedError, http.client.HTTPException) as error:
        if (known and known[1] <= now) or isinstance(error, RefusedError):
            path.unlink(missing_ok=True)
            return f"the token has lapsed, and could not be renewed: {error}"
        return f"the token could not be renewed: {error}"
    return ""


def main(words: list[str]) -> int:
    """Renew, or with the token's file alone print `until SECONDS`, `lapsed SECONDS` or `missing`."""
    if len(words) == 1:
        known = lifetime(Path(words[0]))
        ends = f"{'until' if known[1] > time.time() else 'lapsed'} {known[1]:.0f}" if known else "missing"
        sys.stdout.write(f"{ends}\n")
        return 0
    wrong = renew(Path(words[0]), Path(words[1]), (words[2], words[3]), int(words[4]), words[5:])
    if wrong:
        sys.stderr.write(f"{wrong}\n")
    return _UNAVAILABLE if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
