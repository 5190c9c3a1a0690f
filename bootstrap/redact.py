"""Takes secrets out of whatever is written down: logs, event files, reports, error messages."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator, Mapping
from typing import Any

MASK = "********"

# Shorter values are left alone: masking "a" or "12" would make every line unreadable and hide nothing.
_SHORTEST_SECRET = 4

_PATTERNS: tuple[tuple[re.Pattern[str], str], ...] = (
    # PEM private keys, also with \n spelled out as in JSON, and cut off at the end of the text.
    (re.compile(r"-----BEGIN (?P<k>[A-Z0-9 ]*PRIVATE KEY)-----.*?(?:-----END (?P=k)-----|\Z)", re.DOTALL), MASK),
    # Bootstrap tokens as kubeadm makes them: the id is public, the rest is not.
    (re.compile(r"(?<![A-Za-z0-9.])([a-z0-9]{6})\.[a-z0-9]{16}(?![A-Za-z0-9])"), rf"\1.{MASK}"),
    # kubeadm's certificate key (AES-256, 64 hex digits) where it is named; bare 64 hex digits are mostly digests.
    (re.compile(r"(?i)(certificate[-_ ]?key[\"']?\s*[:=\s]\s*[\"']?)[0-9a-f]{64}"), rf"\1{MASK}"),
    # The key may be set off from its name by other words ("using certificate key:\n<key>").
    (re.compile(r"(?i)((?:authorization[\"']?\s*[:=]\s*[\"']?)?\bbearer\s+)[A-Za-z0-9._~+/=-]{8,}"), rf"\1{MASK}"),
    # user:password@ in URLs. The last @ before the path ends the password, so one with an @ in it is masked in full.
    (re.compile(r"(?i)\b([a-z][a-z0-9+.-]*://[^\s/:@\"']*):[^\s/\"']+@"), rf"\1:{MASK}@"),
)

_SECRET_KEY = re.compile(
    r"(?i)(^|[_-])(password|passwd|passphrase|secret|token|private[_-]?key|certificate[_-]?key)s?$"
)


class Redactor:
    """Masks secret values that it was told, and shapes that are always secret. Safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: re.Pattern[str] | None = None
        self._values: set[str] = set()

    def add(self, *secrets: str | None) -> None:
        """Mask these values from now on, line by line too when they span several lines."""
        with self._lock:
            for secret in secrets:
                for part in _parts(secret or ""):
                    self._values.update((part, part.strip(), _as_json(part)))
            # Longest first: a secret that contains another is masked as a whole.
            ordered = sorted(self._values, key=len, reverse=True)
            self._known = re.compile("|".join(map(re.escape, ordered))) if ordered else None

    def text(self, text: str) -> str:
        """The text with every secret replaced by a mask."""
        if self._known is not None:
            text = self._known.sub(MASK, text)
        for pattern, mask in _PATTERNS:
            text = pattern.sub(mask, text)
        return text

    def tree(self, value: Any) -> Any:
        """A JSON tree with secrets masked in strings, in keys, and under keys that name a secret."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, Mapping):
            return {self._key(key): self._member(str(key), item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [self.tree(item) for item in value]
        return value

    def _key(self, key: Any) -> str:
        return self.text(str(key))

    def _member(self, key: str, item: Any) -> Any:
        if _SECRET_KEY.search(key) and isinstance(item, str) and item:
            return MASK
        return self.tree(item)


def _parts(secret: str) -> Iterator[str]:
    """The secret and, of one of several lines, each line; the first and last line of a PEM block are no secret."""
    lines = secret.splitlines()
    for part in (secret, *(line for line in lines if len(lines) > 1 and not line.startswith("-----"))):
        if len(part.strip()) >= _SHORTEST_SECRET:
            yield part


def _as_json(text: str) -> str:
    """How the value looks inside a JSON string."""
    import json

    return json.dumps(text)[1:-1]
