"""Facts about building modules for the running kernel: its headers, and the key for Secure Boot. Reads only."""

from __future__ import annotations

import base64
import glob
import os
import re

from .gpuctl_base import listdir, run

MODULES = "/lib/modules"
LISTS = "/var/lib/apt/lists"
# Where DKMS has the certificate of the key that it signs with: Ubuntu's, Debian's, and what framework.conf names.
CERTIFICATES = ("/var/lib/shim-signed/mok/MOK.der", "/var/lib/dkms/mok.pub")
DKMS_CONFIGS = ("/etc/dkms/framework.conf", "/etc/dkms/framework.conf.d/*.conf")
# The keys that shim trusts, as the kernel shows them; the second path is for lists that are too long for one variable.
ENROLLED = ("/sys/firmware/efi/efivars/MokListRT-*", "/sys/firmware/efi/mok-variables/MokListRT*")
TRUSTED = ("/sys/firmware/efi/efivars/db-*",)
_SMALLEST = 256  # bytes of a certificate with an RSA key; an empty file is in every list


def headers(kernel: str) -> str | None:
    """Headers of a kernel: installed, offered by the package lists, or missing; None where that cannot be known.

    A kernel without a module folder (a container's, or one with everything built in) takes no modules.
    """
    if not os.path.isdir(os.path.join(MODULES, kernel)):
        return None
    if os.path.exists(os.path.join(MODULES, kernel, "build", "Makefile")):
        return "installed"
    if not any(name.partition("_Packages")[1] for name in listdir(LISTS)):
        return None  # a new image, on which apt has not looked yet
    name = "linux-headers-" + kernel
    told = run(["apt-cache", "showpkg", "--", name], timeout_s=5.0)
    if told is None:
        return None
    versions = re.search(r"^Versions:[ ]*\n(.*?)^Reverse Depends:", told, re.MULTILINE | re.DOTALL)
    providers = told.partition("Reverse Provides:")[2].strip()
    return "offered" if (versions and versions.group(1).strip()) or providers else "missing"


def module_key() -> str | None:
    """Whether the key that DKMS signs modules with is enrolled: enrolled, not-enrolled, absent; None without UEFI."""
    stores = [_bytes(path) for pattern in (*ENROLLED, *TRUSTED) for path in sorted(glob.glob(pattern))]
    if not os.path.isdir("/sys/firmware/efi"):
        return None
    certificates = [found for path in _certificates() if len(found := _der(_bytes(path))) >= _SMALLEST]
    if not certificates:
        return "absent"
    return "enrolled" if any(cert in store for cert in certificates for store in stores) else "not-enrolled"


def _certificates() -> list[str]:
    named: list[str] = []
    for pattern in DKMS_CONFIGS:
        for path in sorted(glob.glob(pattern)):
            text = _bytes(path).decode("utf-8", "replace")
            named += re.findall(r"^\s*mok_certificate=[\"']?([^\"'\s]+)", text, re.MULTILINE)
    return named or [*CERTIFICATES]


def _bytes(path: str) -> bytes:
    try:
        with open(path, "rb") as handle:
            return handle.read()
    except OSError:
        return b""


def _der(data: bytes) -> bytes:
    """A certificate as the firmware stores it, also of a PEM file; empty when it is damaged."""
    found = re.search(rb"-----BEGIN CERTIFICATE-----(.*?)-----END", data, re.DOTALL)
    try:
        return base64.b64decode(found.group(1)) if found else data
    except ValueError:
        return b""
