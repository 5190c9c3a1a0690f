"""One spelling per value, and its digest: what receipts keep of an argument, and what they are checked against."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any


def plain(value: Any) -> Any:
    """The value as plain JSON types (Ansible hands out tagged and lazy subclasses)."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(item) for item in value]
    if isinstance(value, bool) or value is None:
        return value
    for kind in (int, float, str):
        if isinstance(value, kind):
            return kind(value)
    return str(value)


def canonical(value: Any) -> str:
    """One spelling per value: JSON with sorted keys and no spaces."""
    return json.dumps(plain(value), sort_keys=True, separators=(",", ":"), ensure_ascii=True)


def value_digest(value: Any) -> str:
    """sha256 of the canonical JSON."""
    return "sha256:" + hashlib.sha256(canonical(value).encode()).hexdigest()
