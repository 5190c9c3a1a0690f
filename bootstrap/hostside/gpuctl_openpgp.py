"""OpenPGP key files, read without gpg (RFC 4880 §4.2, §6.2, §11.1, §12.2), and written anew from what was checked.

apt up to 2.8 trusts every key of every armoured block that it finds in a file, whatever stands around it: a check of
what one reader sees says nothing about another. What is written is made of the checked packets, and of nothing else.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from typing import Collection, Iterator, List, Tuple

_SIGNATURE, _PUBLIC_KEY, _TRUST, _USER_ID, _SUBKEY, _USER_ATTRIBUTE = 2, 6, 12, 13, 14, 17
_OF_A_KEY = frozenset({_SIGNATURE, _USER_ID, _SUBKEY, _USER_ATTRIBUTE})
_BLOCK = re.compile(
    rb"-----BEGIN PGP PUBLIC KEY BLOCK-----[ \t]*\n((?:[A-Za-z]{1,20}: [^\n]*\n)*)[ \t]*\n"
    rb"([A-Za-z0-9+/=\n \t]*?)\n(?:=([A-Za-z0-9+/]{4})[ \t]*\n)?-----END PGP PUBLIC KEY BLOCK-----[ \t]*(?:\n|\Z)"
)
_LINE = 64  # characters of an armoured line, as gpg writes them


def dearmor(data: bytes) -> bytes:
    """The binary packets of an ASCII-armoured file; binary input is returned as it is.

    ValueError when anything but blank lines stands outside of its blocks, or when one is damaged.
    """
    if data[:1] and data[0] & 0x80:  # every binary packet begins with this bit (§4.2)
        return data
    text = data.replace(b"\r\n", b"\n")
    if _BLOCK.sub(b"", text).strip():
        raise ValueError("something stands outside of the armour")
    packets = b""
    for _headers, body, check in _BLOCK.findall(text):
        try:
            block = base64.b64decode(b"".join(body.split()), validate=True)
        except binascii.Error as error:
            raise ValueError(f"the armour is damaged: {error}") from error
        if check and base64.b64decode(check) != _crc24(block).to_bytes(3, "big"):
            raise ValueError("the armour is damaged: its checksum is another")
        packets += block
    return packets


def is_one_block(data: bytes) -> bool:
    """Whether the data is one armoured block from its first byte on, in ASCII."""
    return _BLOCK.match(data) is not None and data.count(b"-----BEGIN") == 1 and max(data) < 0x80


def armored(packets: bytes) -> str:
    """One armoured block of these packets."""
    encoded = base64.b64encode(packets).decode("ascii")
    lines = [encoded[at : at + _LINE] for at in range(0, len(encoded), _LINE)]
    check = base64.b64encode(_crc24(packets).to_bytes(3, "big")).decode("ascii")
    return "\n".join(
        ["-----BEGIN PGP PUBLIC KEY BLOCK-----", "", *lines, f"={check}", "-----END PGP PUBLIC KEY BLOCK-----", ""]
    )


def keyring(data: bytes, accepted: Collection[str]) -> str:
    """The keys of a file as one armoured block, each primary key with its own subkeys, user IDs and signatures.

    `accepted` are fingerprints (40 upper-case hexadecimal digits). ForeignKeyError when the file holds another primary
    key; ValueError when it is no key file, or has anything in it that is not part of such a key.
    """
    kept: List[bytes] = []
    for tag, body in _checked(data):
        if tag == _PUBLIC_KEY and _fingerprint(body) not in accepted:
            raise ForeignKeyError(_fingerprint(body))
        kept.append(_packet(tag, body))
    return armored(b"".join(kept))


class ForeignKeyError(ValueError):
    """A key file holds a primary key that was not asked for; the text is its fingerprint."""


def fingerprints(data: bytes) -> List[str]:
    """Upper-case hexadecimal fingerprints (40 digits) of every primary key, in the order of the file.

    ValueError when the data is no key file, or has anything in it that is not part of such a key.
    """
    return [_fingerprint(body) for tag, body in _checked(data) if tag == _PUBLIC_KEY]


def _checked(data: bytes) -> List[Tuple[int, bytes]]:
    """All packets that belong to keys of version 4 (the only one that all of apt's tools share)."""
    found: List[Tuple[int, bytes]] = []
    for tag, body in _packets(dearmor(data)):
        if tag == _TRUST:  # gpg's own notes, which no other program reads
            continue
        if tag not in _OF_A_KEY and tag != _PUBLIC_KEY:
            raise ValueError(f"a packet of type {tag} in it")
        if not found and tag != _PUBLIC_KEY:
            raise ValueError("it does not begin with a public key")
        if tag in (_PUBLIC_KEY, _SUBKEY) and body[:1] != b"\x04":
            raise ValueError("a key of a version other than 4")
        if tag == _PUBLIC_KEY and len(body) >= 1 << 16:  # its fingerprint has two bytes for the length (§12.2)
            raise ValueError("a key of more than 64 KiB")
        found.append((tag, body))
    if not found:
        raise ValueError("no public key in it")
    return found


def _fingerprint(body: bytes) -> str:
    digest = hashlib.sha1(b"\x99" + len(body).to_bytes(2, "big") + body)  # noqa: S324 - RFC 4880 defines it so
    return digest.hexdigest().upper()


def _packet(tag: int, body: bytes) -> bytes:
    """A packet in the old format (§4.2.1), which every reader knows, with a length of two or four bytes."""
    size = 1 if len(body) < 1 << 16 else 2
    if tag > 15:  # the old format has no room for it
        return bytes([0xC0 | tag, 255]) + len(body).to_bytes(4, "big") + body
    return bytes([0x80 | tag << 2 | size]) + len(body).to_bytes(2 * size, "big") + body


def _crc24(data: bytes) -> int:
    """The checksum of armour (§6.1)."""
    crc = 0xB704CE
    for byte in data:
        crc ^= byte << 16
        for _ in range(8):
            crc <<= 1
            if crc & 0x1000000:
                crc ^= 0x1864CFB
    return crc & 0xFFFFFF


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
            if position + size > len(data):
                raise ValueError("the key file ends early")
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
        if position + 5 > len(data):
            raise ValueError("the key file ends early")
        return int.from_bytes(data[position + 1 : position + 5], "big"), position + 5
    raise ValueError("a packet of partial length")
