"""Fetch a large file whose sha256 is known, whole or not at all.

Standard library only, Python 3.8 and later: this code runs on the hosts.
"""

from __future__ import annotations

import hashlib
import http.client
import os
import shutil
import ssl
import tempfile
import time
import urllib.error
import urllib.request
from typing import Optional
from urllib.parse import urlsplit, urlunsplit

from .gpuctl_hostio import HostError

SILENCE_S = 60  # without a byte
# A bundle for minikube has 2 to 3 GB: node image, images of Kubernetes and of addons, programs.
MOST_BYTES = 16 << 30
SLOWEST = 8 << 10  # bytes a second on the mean: a modem's
PATIENCE_S = 120.0  # before that is looked at
_CHUNK = 1 << 20
_SCHEMES = ("https", "http", "file")  # what arrives is compared with a sum, whoever brought it


def sha256_of(path: str) -> str:
    """The sum of a file; empty when there is none."""
    total = hashlib.sha256()
    try:
        with open(path, "rb") as stream:
            for part in iter(lambda: stream.read(_CHUNK), b""):
                total.update(part)
    except FileNotFoundError:
        return ""
    return total.hexdigest()


def shown(url: str) -> str:
    """The address without a password that it may hold."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2], query=""))


def fetch(url: str, sha256: str, folder: str, ca_path: str = "") -> str:
    """Fetch into a new file in the folder; its path.

    HostError minikube-download-failed, minikube-checksum, disk-low.
    """
    if urlsplit(url).scheme not in _SCHEMES:
        raise _failed(url, f"no address of {', '.join(_SCHEMES)}")
    os.makedirs(folder, mode=0o755, exist_ok=True)
    handle, path = tempfile.mkstemp(prefix=".gpuctl-", dir=folder)
    try:
        with os.fdopen(handle, "wb") as out:
            found = _copy(url, out, folder, ca_path)
            out.flush()
            os.fsync(out.fileno())
        if found != sha256.lower():
            raise HostError(
                "minikube-checksum",
                f"{shown(url)} has the sha256 {found}, expected {sha256}",
                "correct the sum in the inventory, or have the server's file brought up to date",
            )
    except BaseException:
        os.unlink(path)
        raise
    return path


def _copy(url: str, out: object, folder: str, ca_path: str) -> str:
    total = hashlib.sha256()
    try:
        with urllib.request.urlopen(url, timeout=SILENCE_S, context=_context(url, ca_path)) as answer:  # noqa: S310
            length = answer.headers.get("Content-Length") or ""
            _refuse_full(folder, int(length) if length.isdigit() and len(length) < 19 else 0)
            began, size = time.monotonic(), 0
            for part in iter(lambda: answer.read1(_CHUNK), b""):
                size += len(part)
                _refuse_endless(size, time.monotonic() - began)
                total.update(part)
                out.write(part)  # type: ignore[attr-defined]
    except (urllib.error.URLError, http.client.HTTPException, ssl.SSLError, ValueError, TimeoutError) as error:
        reason = error if isinstance(error, urllib.error.HTTPError) else getattr(error, "reason", None) or error
        raise _failed(url, str(reason)) from error
    except OSError as error:
        raise _failed(url, error.strerror or str(error)) from error
    return total.hexdigest()


def _refuse_endless(size: int, seconds: float) -> None:
    """ValueError: it is longer than any file, or comes so slowly that it would never end."""
    if size > MOST_BYTES:
        raise ValueError("it is longer than %d GiB" % (MOST_BYTES >> 30))
    if seconds > PATIENCE_S and size < SLOWEST * seconds:
        raise ValueError("%d KiB came in %d s" % (size >> 10, seconds))


def _context(url: str, ca_path: str) -> Optional[ssl.SSLContext]:
    """The system's CAs, and the site's."""
    if urlsplit(url).scheme != "https":
        return None
    context = ssl.create_default_context()
    if ca_path:
        context.load_verify_locations(cafile=ca_path)
    return context


def _refuse_full(folder: str, need: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < need:
        raise HostError(
            "disk-low",
            f"{folder} has {free >> 20} MiB free, {need >> 20} MiB are needed",
            "free space there, or enlarge the disk",
        )


def _failed(url: str, why: str) -> HostError:
    return HostError(
        "minikube-download-failed",
        f"{shown(url)}: {why}",
        "check the address, the proxy and cluster_ca_file; without internet access set the address of a mirror",
    )
