"""Takes secrets out of whatever is written down: logs, event files, reports, error messages."""

from __future__ import annotations

import base64
import json
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any
from urllib.parse import quote

from bootstrap.printable import printable

MASK = "********"

# Shorter values are left alone: masking "a" or "12" would make every line unreadable and hide nothing.
_SHORTEST_SECRET = 4
_SHORTEST_SURE = 8  # digits of base64: six bytes of a secret within something longer
_URL_SAFE = str.maketrans("+/", "-_")

_NAME = r"[\"']?\s*[:=]\s*\\*[\"']?"  # between a name and its value, in YAML, JSON, JSON within JSON, assignments
_PATTERNS: tuple[tuple[re.Pattern[str], str], ...] = (
    # PEM private keys, also with \n spelled out as in JSON, and cut off at the end of the text.
    (re.compile(r"-----BEGIN (?P<k>[A-Z0-9 ]*PRIVATE KEY)-----.*?(?:-----END (?P=k)-----|\Z)", re.DOTALL), MASK),
    # The same in base64, as kubeconfigs and Secrets have them: "-----BEGIN ", a kind of key or none, "PRIV".
    (re.compile(r"LS0tLS1CRUdJTiB(?:QUklW|SU0EgUF|FQyBQUk|EU0EgUF|PUEVOU1|FTkNSWV)[A-Za-z0-9+/_=-]*"), MASK),
    # Tokens of service accounts, and any other signed JSON Web Token: header.claims[.signature].
    (re.compile(r"\beyJ[A-Za-z0-9_-]{8,}\.eyJ[A-Za-z0-9_-]{8,}(?:\.[A-Za-z0-9_-]*)?"), MASK),
    # Bootstrap tokens as kubeadm makes them: the id is public, the rest is not.
    (re.compile(r"(?<![A-Za-z0-9.])([a-z0-9]{6})\.[a-z0-9]{16}(?![A-Za-z0-9])"), rf"\1.{MASK}"),
    # kubeadm's certificate key (AES-256, 64 hex digits) where it is named; bare 64 hex digits are mostly digests.
    # The key may be set off from its name by other words ("using certificate key:\n<key>").
    (re.compile(r"(?i)(certificate[-_ ]?key\\*[\"']?\s*[:=\s]\s*\\*[\"']?)[0-9a-f]{64}"), rf"\1{MASK}"),
    (re.compile(rf"(?i)(\bkey-data\\*{_NAME})[A-Za-z0-9+/=_-]{{8,}}"), rf"\1{MASK}"),
    (re.compile(rf"(?i)((?:authorization\\*{_NAME})?\bbearer\s+)[A-Za-z0-9._~+/=-]{{8,}}"), rf"\1{MASK}"),
    (re.compile(rf"(?i)(authorization\\*{_NAME}basic\s+)[A-Za-z0-9+/=_-]{{4,}}"), rf"\1{MASK}"),
    # WANDB_API_KEY=…, apiKey: …, "launch_agent_api_key": "…", X-Api-Key: …
    (re.compile(rf"(?i)(api[-_]?key\\*{_NAME})[^\s\"',;&\\(){{}}]{{8,}}"), rf"\1{MASK}"),
    # A line of netrc.
    (re.compile(r"(?i)(\bmachine\s+\S+\s+login\s+\S+\s+password\s+)\S+"), rf"\1{MASK}"),
    # user:password@ in URLs. The last @ before the path ends the password, so one with an @ in it is masked in full.
    (re.compile(r"(?i)\b([a-z][a-z0-9+.-]*://[^\s/:@\"']*):[^\s/\"']+@"), rf"\1:{MASK}@"),
)

_SECRET_KEY = re.compile(
    r"(?i)(^|[_-])(pass(word|wd|phrase)?|secret|token|(private|certificate|api)[_-]?key|key-data|authorization)s?$"
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
                    self._values.update(_forms(part))
            # Longest first: a secret that contains another is masked as a whole.
            ordered = sorted(self._values, key=len, reverse=True)
            self._known = re.compile("|".join(map(re.escape, ordered))) if ordered else None

    def text(self, text: str) -> str:
        """The text with every secret replaced by a mask, and printable.

        Both before and after it is made printable: what that takes away may hide a secret, and be a part of one.
        """
        known = self._known
        if known is not None:
            text = known.sub(MASK, text)
        text = printable(text)
        if known is not None:
            text = known.sub(MASK, text)
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


_OF_THIS_RUN: ContextVar[Redactor | None] = ContextVar("redactor", default=None)


@contextmanager
def redacting(redactor: Redactor) -> Iterator[None]:
    """While this lasts, `register` tells this redactor: that of the command that runs."""
    token = _OF_THIS_RUN.set(redactor)
    try:
        yield
    finally:
        _OF_THIS_RUN.reset(token)


def register(*secrets: str | None) -> None:
    """Have the command that runs mask these values. For readers of secrets, which do not know who writes."""
    if (redactor := _OF_THIS_RUN.get()) is not None:
        redactor.add(*secrets)


def _parts(secret: str) -> Iterator[str]:
    """The secret and, of one of several lines, each line; the first and last line of a PEM block are no secret."""
    lines = secret.splitlines()
    for part in (secret, *(line for line in lines if len(lines) > 1 and not line.startswith("-----"))):
        if len(part.strip()) >= _SHORTEST_SECRET:
            yield part


def _forms(secret: str) -> Iterator[str]:
    """How a value is written: as it is, in JSON (twice, too), Python, a shell's word, a URL, and in base64."""
    yield from (secret, secret.strip())
    quoted = json.dumps(secret)[1:-1]
    yield from (quoted, json.dumps(secret, ensure_ascii=False)[1:-1], json.dumps(quoted)[1:-1])
    yield from (repr(secret)[1:-1], secret.replace("'", "'\"'\"'"))
    for safe in ("", "/"):
        url = quote(secret, safe=safe, errors="replace")
        yield from (url, url.replace("%20", "+"), re.sub("%..", lambda found: found[0].lower(), url))
    yield from _base64(secret.encode("utf-8", "replace"))


def _base64(secret: bytes) -> Iterator[str]:
    """In both alphabets; within a longer text, what does not depend on the bytes before and after it."""
    for before in range(3):
        whole = base64.b64encode(b"\0" * before + secret).decode().rstrip("=")
        unsure = (len(secret) + before) % 3  # bytes of an unfinished group share their last digit with what follows
        sure = whole[-(-before * 8 // 6) : len(whole) - bool(unsure)] if before or unsure else whole
        for text in (whole if before == 0 else "", sure):
            if len(text) >= (_SHORTEST_SECRET if text == whole else _SHORTEST_SURE):
                yield from (text, text.translate(_URL_SAFE))
