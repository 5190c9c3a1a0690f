"""Fingerprints of the primary keys in an OpenPGP key file, read without gpg (RFC 4880 §4.2, §6.2, §12.2)."""

from __future__ import annotations

import base64
import binascii
import hashlib
from typing import Iterator, List, Tuple

_PUBLIC_KEY = 6
_ARMOR_START = b"-----BEGIN PGP PUBLIC KEY BLOCK-----"
_ARMOR_END = b"-----END PGP PUBLIC KEY BLOCK-----"


def dearmor(data: bytes) -> bytes:
    """The binary packets of an ASCII-armoured file; binary input is returned as it is. ValueError when damaged."""
    if _ARMOR_START not in data or data[0] & 0x80:  # every binary packet begins with this bit (§4.2)
        return data
    packets = b""
    for block in data.split(_ARMOR_START)[1:]:
        body, end, _rest = block.partition(_ARMOR_END)
        if not end:
            raise ValueError("the armour has no end line")
        lines = body.replace(b"\r", b"").lstrip(b"\n").split(b"\n")
        if any(b":" in line for line in lines[:4]):  # armour headers end with an empty line
            lines = lines[lines.index(b"") + 1 :]
        encoded = b"".join(line.strip() for line in lines if line.strip() and not line.startswith(b"="))
        try:
            packets += base64.b64decode(encoded, validate=True)
        except binascii.Error as error:
            raise ValueError(f"the armour is damaged: {error}") from error
    return packets


def fingerprints(data: bytes) -> List[str]:
    """Upper-case hexadecimal fingerprints (40 digits) of every primary key, in the order of the file.

    ValueError when the data is no key file or holds a key of a version other than 4 (the only one apt's tools share).
    """
    found: List[str] = []
    for tag, body in _packets(dearmor(data)):
        if tag != _PUBLIC_KEY:
            continue
        if not body or body[0] != 4:
            raise ValueError("a key of a version other than 4")
        digest = hashlib.sha1(b"\x99" + len(body).to_bytes(2, "big") + body)  # noqa: S324 - RFC 4880 defines it so
        found.append(digest.hexdigest().upper())
    if not found:
        raise ValueError("no public key in it")
    return found


def _packets(data: bytes) -> Iterator[Tuple[int, bytes]]:
    position = 0
    while position < len(data):
        header = data[position]
        if not header & 0x80:
            raise ValueError("not an OpenPGP key")
        position += 1
        if header & 0x40:
            tag = header & 0x3F
            length, position = _new_length(data, position)
        else:
            tag = (header >> 2) & 0x0F
            size = (1, 2, 4, 0)[header & 3]
            if not size:
                raise ValueError("a packet without a length")
            length = int.from_bytes(data[position : position + size], "big")
            position += size
        body = data[position : position + length]
        if len(body) != length:
            raise ValueError("the key file ends early")
        yield tag, body
        position += length


def _new_length(data: bytes, position: int) -> Tuple[int, int]:
    if position >= len(data):
        raise ValueError("the key file ends early")
    first = data[position]
    if first < 192:
        return first, position + 1
    if first < 224:
        if position + 1 >= len(data):
            raise ValueError("the key file ends early")
        return ((first - 192) << 8) + data[position + 1] + 192, position + 2
    if first == 255:
        return int.from_bytes(data[position + 1 : position + 5], "big"), position + 5
    raise ValueError("a packet of partial length")
