"""Digests of the arguments that a role is given: what receipts store and the planner compares.

The same functions are called by the planner and, while a role runs, by the gpuctl_receipt and gpuctl_objects action
plugins, so that both speak of the same bytes.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Mapping
from typing import Any

from bootstrap.hostside.gpuctl_url import has_login
from bootstrap.inventory.canonical import canonical as canonical
from bootstrap.inventory.canonical import plain as plain
from bootstrap.inventory.canonical import value_digest as value_digest
from bootstrap.inventory.schema import options_of

# Cost of one secret's digest: about 50 ms and 16 MiB, as RFC 7914 suggests for interactive use.
_SCRYPT = {"n": 2**14, "r": 8, "p": 1, "dklen": 32}


def secret_digest(value: Any, salt: bytes | None = None) -> str:
    """Salted scrypt of a secret, "scrypt:<salt>:<digest>" in hex: comparable, not guessable at speed."""
    salt = secrets.token_bytes(16) if salt is None else salt
    digest = hashlib.scrypt(canonical(value).encode(), salt=salt, maxmem=2**26, **_SCRYPT)
    return f"scrypt:{salt.hex()}:{digest.hex()}"


def same(recorded: str, value: Any) -> bool:
    """Whether a recorded digest is the digest of this value."""
    if recorded.startswith("scrypt:"):
        salt = bytes.fromhex(recorded.split(":")[1])
        return hmac.compare_digest(recorded, secret_digest(value, salt))
    return recorded == value_digest(value)


def argument_digests(component: str, values: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """What a receipt keeps of each argument: its digest and, unless it is secret or holds a login, its value.

    `values` may hold more than the component's arguments; arguments that it lacks are left out.
    """
    found: dict[str, dict[str, Any]] = {}
    for option in options_of(component):
        if option.name not in values:
            continue
        value = plain(values[option.name])
        found[option.name] = (
            {"digest": secret_digest(value)}
            if option.no_log or has_login(value)
            else {"digest": value_digest(value), "value": value}
        )
    return found
