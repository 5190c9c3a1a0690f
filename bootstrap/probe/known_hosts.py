"""known_hosts files as sshd(8) describes them: which keys are known for a name, and what that means for one key.

Paramiko's own reader knows neither markers nor patterns, and one broken line costs it the whole file.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import cache, lru_cache
from pathlib import Path

CERT_AUTHORITY, REVOKED = "@cert-authority", "@revoked"
_HASHED = "|1|"  # the only kind there is: HMAC-SHA1 of the name
_MOST_BYTES = 16 << 20


class Verdict(Enum):
    """What the files say of a key that a host has shown."""

    KNOWN = "known"
    UNKNOWN = "unknown"
    CHANGED = "changed"  # others are known for the name, this one is not
    REVOKED = "revoked"


@dataclass(frozen=True, slots=True)
class Entry:
    """One line: `hosts` as it stands there, `kind` as ssh-ed25519, `blob` is the key's wire form."""

    file: str
    line: int
    marker: str
    hosts: str
    kind: str
    blob: bytes

    @property
    def place(self) -> str:
        """FILE:LINE."""
        return f"{self.file}:{self.line}"

    def matches(self, name: str) -> bool:
        """Whether the line is about that name, in lower case."""
        if self.hosts.startswith(_HASHED):
            return _hash_matches(self.hosts, name)
        return pattern_list_matches(self.hosts, name)

    def names(self, name: str) -> bool:
        """Whether `ssh-keygen -R NAME` would find it: literally, or hashed."""
        return self.hosts.startswith(_HASHED) or name in self.hosts.lower().split(",")


@dataclass(frozen=True, slots=True)
class KnownHosts:
    """All files of one connection, in order; `broken` names each line that was passed over, and why."""

    entries: tuple[Entry, ...]
    broken: tuple[str, ...]

    def judge(self, names: Sequence[str], blob: bytes) -> tuple[Verdict, Entry | None]:
        """What is known of a key, and the line that decides. `names` are those of `lookup_names`.

        As with OpenSSH, a key that is unknown for a name with a port is good when the bare name has it.
        """
        verdict, entry = self._judge(names[0], blob)
        for name in names[1:] if verdict is Verdict.UNKNOWN else ():
            other = self._judge(name, blob)
            if other[0] is Verdict.KNOWN:
                return other
        return verdict, entry

    def _judge(self, name: str, blob: bytes) -> tuple[Verdict, Entry | None]:
        found = [entry for entry in self.entries if entry.matches(name)]
        revoked = next((e for e in found if e.marker == REVOKED and e.blob == blob), None)
        if revoked is not None:
            return Verdict.REVOKED, revoked
        plain = [entry for entry in found if not entry.marker]
        same = next((entry for entry in plain if entry.blob == blob), None)
        if same is not None:
            return Verdict.KNOWN, same
        kind = blob_kind(blob)
        plain.sort(key=lambda entry: entry.kind != kind)  # the line that was replaced is named, if there is one
        return (Verdict.CHANGED, plain[0]) if plain else (Verdict.UNKNOWN, None)

    def kinds(self, names: Sequence[str]) -> tuple[str, ...]:
        """Kinds of keys that are known for the name: the server is asked for these first."""
        found = [entry for entry in self.entries if entry.matches(names[0])]
        revoked = {entry.blob for entry in found if entry.marker == REVOKED}
        return tuple(dict.fromkeys(e.kind for e in found if not e.marker and e.blob not in revoked))

    def authority(self, names: Sequence[str]) -> Entry | None:
        """The line by which certificates of the host are trusted, if there is one."""
        trusted = (e for e in self.entries if e.marker == CERT_AUTHORITY and any(e.matches(name) for name in names))
        return next(trusted, None)


def lookup_names(address: str, port: int, alias: str | None) -> tuple[str, ...]:
    """The names under which a host is looked up, as OpenSSH does: an alias stands alone, a port goes with the name."""
    if alias:
        return (alias.lower(),)
    name = address.lower()
    return (name,) if port == 22 else (f"[{name}]:{port}", name)


def read_known_hosts(files: Sequence[str]) -> KnownHosts:
    """What these files hold; those that are not there hold nothing."""
    entries: list[Entry] = []
    broken: list[str] = []
    for file in files:
        found = _read(file, _stamp(file))
        entries += found.entries
        broken += found.broken
    return KnownHosts(tuple(entries), tuple(broken))


def _stamp(file: str) -> tuple[int, int]:
    try:
        found = Path(file).stat()
    except OSError:
        return (0, 0)
    return (found.st_mtime_ns, found.st_size)


@lru_cache(maxsize=64)
def _read(file: str, stamp: tuple[int, int]) -> KnownHosts:  # noqa: ARG001 - a file that changed is read again
    try:
        with Path(file).open("rb") as stream:
            text = stream.read(_MOST_BYTES).decode("utf-8", "replace")
    except FileNotFoundError:
        return KnownHosts((), ())
    except OSError as error:
        return KnownHosts((), (f"{file}: {error.strerror}",))
    entries: list[Entry] = []
    broken: list[str] = []
    for number, line in enumerate(text.split("\n"), 1):
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        try:
            entries.append(_entry(file, number, words))
        except ValueError as error:
            broken.append(f"{file}:{number}: {error}")
    return KnownHosts(tuple(entries), tuple(broken))


def _entry(file: str, number: int, words: list[str]) -> Entry:
    marker = words.pop(0).lower() if words[0].startswith("@") else ""
    if marker not in ("", CERT_AUTHORITY, REVOKED):
        raise ValueError(f"the marker {marker[:40]} is unknown")
    if len(words) < 3:
        raise ValueError("it is not of the form NAMES TYPE KEY")
    hosts, kind, key = words[:3]
    try:
        blob = base64.b64decode(key, validate=True)
    except (binascii.Error, ValueError):
        raise ValueError("its key is no base64") from None
    if blob_kind(blob) != kind:
        raise ValueError(f"its key is not of the type {kind[:40]}")
    return Entry(file, number, marker, hosts, kind, blob)


def blob_kind(blob: bytes) -> str:
    """The type that a key's wire form begins with; empty when it has no such form."""
    if len(blob) < 4:
        return ""
    (length,) = struct.unpack(">I", blob[:4])
    return blob[4 : 4 + length].decode("ascii", "replace") if 0 < length <= len(blob) - 4 else ""


def _hash_matches(field: str, name: str) -> bool:
    salt, _, digest = field[len(_HASHED) :].partition("|")
    try:
        key, wanted = base64.b64decode(salt), base64.b64decode(digest)
    except (binascii.Error, ValueError):
        return False
    return hmac.compare_digest(hmac.new(key, name.encode(), hashlib.sha1).digest(), wanted)


def hashed_name(name: str, salt: bytes) -> str:
    """The name as HashKnownHosts has it written; `salt` of 20 random bytes."""
    digest = hmac.new(salt, name.encode(), hashlib.sha1).digest()
    return f"{_HASHED}{base64.b64encode(salt).decode()}|{base64.b64encode(digest).decode()}"


def pattern_list_matches(patterns: str, name: str) -> bool:
    """Whether a comma-separated list of patterns of ssh_config(5) matches: one does, and none with `!` does."""
    found = False
    for pattern in _patterns(patterns):
        if pattern.startswith("!"):
            if _compiled(pattern[1:]).fullmatch(name):
                return False
        elif not found:
            found = _compiled(pattern).fullmatch(name) is not None
    return found


def _patterns(patterns: str) -> Iterator[str]:
    return (pattern for pattern in patterns.lower().split(",") if pattern)


@cache
def _compiled(pattern: str) -> re.Pattern[str]:
    collapsed = re.sub(r"\*+", "*", pattern)  # as many in a row mean the same as one
    return re.compile("".join({"*": ".*", "?": "."}.get(c) or re.escape(c) for c in collapsed), re.DOTALL)
