"""The forms of what hosts name: identifiers, addresses, versions. A text that has none of them is unknown."""

from __future__ import annotations

import ipaddress
import math
import re
from collections.abc import Callable
from typing import Any

from bootstrap.inventory.conform import BIGGEST, is_text

# Free text of a host, such as an error of NVML's or a kubelet's reason; longer ones say no more.
_LONG = 4096
DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
MACHINE_ID = re.compile(r"[0-9a-f]{32}")  # machine-id(5)
PCI_ADDRESS = re.compile(r"[0-9a-f]{4,8}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]")
PCI_ID = re.compile(r"[0-9a-f]{4}")
MAC = re.compile(r"(?:[0-9a-f]{2}:){0,31}[0-9a-f]{2}")  # of any kind of interface: the kernel's MAX_ADDR_LEN is 32
PACKAGE = re.compile(r"[a-z0-9][a-z0-9+._:-]{0,127}")
VERSION = re.compile(r"[0-9A-Za-z.+~:_-]{1,128}")  # deb-version(7), and upstream's
TIME = re.compile(r"2[0-9]{3}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12][0-9])T(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]Z")
OS_WORD = re.compile(r"[a-z0-9._-]{1,64}")  # os-release(5): ID and VERSION_ID
WORD = re.compile(r"[0-9A-Za-z._+~@:-]{1,128}")
VISIBLE = re.compile(r"[!-~]{1,253}")
FIRMWARE = re.compile(r"[ -~]{1,64}")  # a UUID, or what a vendor put in its place
CAPABILITY = re.compile(r"[0-9]{1,3}\.[0-9]{1,3}")
FOLDER = re.compile(r"/[A-Za-z0-9._/-]{0,255}")  # as the role's containerd_data_root
GLOB = re.compile(r"/[A-Za-z0-9._/*?\[\]-]{1,255}")
INTERFACE = re.compile(r"[!-.0-~]{1,15}")  # the kernel's dev_valid_name
NODE = re.compile(r"(?=.{1,253}$)[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?)*")
LABEL_KEY = re.compile(r"(?:[a-z0-9.-]{1,253}/)?[A-Za-z0-9](?:[A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")
LABEL_VALUE = re.compile(r"(?:[A-Za-z0-9](?:[A-Za-z0-9._-]{0,61}[A-Za-z0-9])?)?")
UNIT_STATE = re.compile(r"[a-z,-]{1,64}")
SERVER = re.compile(r"https?://[!-~]{1,253}")


def form(pattern: re.Pattern[str]) -> Callable[[Any], str | None]:
    """A reader of texts that have the form as a whole."""

    def read(value: Any) -> str | None:
        return value if isinstance(value, str) and pattern.fullmatch(value) else None

    return read


def one_of(*words: str) -> Callable[[Any], str | None]:
    """A reader of one of these words."""
    return lambda value: value if isinstance(value, str) and value in words else None


def text(value: Any) -> str | None:
    """Free text of a bounded length, without control characters."""
    return value if isinstance(value, str) and len(value) <= _LONG and is_text(value) else None


def whole(value: Any) -> int | None:
    """A whole number from zero on."""
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= BIGGEST else None


def number(value: Any) -> float | None:
    """A finite number."""
    if not isinstance(value, (int, float)) or isinstance(value, bool) or abs(value) > BIGGEST:
        return None
    return float(value) if math.isfinite(value) else None


def boolean(value: Any) -> bool | None:
    """True or false."""
    return value if isinstance(value, bool) else None


def interface_address(value: Any) -> str | None:
    """An address with its prefix length that an interface can have and others can reach, or one of loopback."""
    try:
        found = ipaddress.ip_interface(value).ip if isinstance(value, str) and "/" in value else None
    except ValueError:
        return None
    if found is None or "%" in value or found.is_multicast or found.is_unspecified or found.is_reserved:
        return None
    return str(value)


def network(value: Any) -> str | None:
    """The destination of a route."""
    try:
        ipaddress.ip_network(value if isinstance(value, str) else "", strict=False)
    except ValueError:
        return None
    return str(value)


def address(value: Any) -> str | None:
    """An IP address."""
    try:
        return str(ipaddress.ip_address(value if isinstance(value, str) and "%" not in value else ""))
    except ValueError:
        return None


def port(value: Any) -> int | None:
    """A TCP port, or its number as JSON has it for a key."""
    word = str(value) if isinstance(value, int) else value
    found = int(word) if isinstance(word, str) and word.isascii() and word.isdecimal() and len(word) < 6 else 0
    return found if 0 < found < 65536 else None


def is_name_or_address(value: str) -> bool:
    """Whether a certificate can be for it: a DNS name or an IP address."""
    return NODE.fullmatch(value.lower()) is not None or address(value) is not None
