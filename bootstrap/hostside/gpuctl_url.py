"""User names and passwords in addresses, https://USER:PASSWORD@HOST/ or https://TOKEN@HOST/: taken out, and found.

Standard library only, Python 3.8 and later: this code runs on the hosts.
"""

from __future__ import annotations

import re
from typing import Any, Iterator, Mapping, NamedTuple
from urllib.parse import unquote, urlsplit, urlunsplit

# The last @ before the path ends the password, so that one with an @ in it is found as a whole.
_LOGIN = re.compile(r"(?i)\b(https?|socks[45]?h?)://([^\s/?#\"']+)@")


class Address(NamedTuple):
    """An address without its login, and the login, decoded; a token alone is a user without a password."""

    url: str
    user: str
    password: str


def parted(url: str) -> Address:
    """An address taken apart; what is none is given back as it is."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return Address(url, "", "")
    login, _, place = parts.netloc.rpartition("@")
    user, _, password = login.partition(":")
    return Address(urlunsplit(parts._replace(netloc=place)) if login else url, unquote(user), unquote(password))


def without_logins(text: str) -> str:
    """A text whose addresses have lost their logins."""
    return _LOGIN.sub(r"\1://", text)


def logins(value: Any) -> Iterator[str]:
    """What is secret in the addresses of a value (text, list, mapping): each password, or the token that has none.

    As it stands there, and decoded where that differs.
    """
    if isinstance(value, str):
        for _scheme, login in _LOGIN.findall(value) if "@" in value else ():
            user, _, password = login.partition(":")
            secret = password or user
            yield from sorted({secret, unquote(secret)} - {""})
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from logins(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from logins(item)


def has_login(value: Any) -> bool:
    """Whether a value holds an address with a password or a token: `logins` without their words, in less time."""
    if isinstance(value, str):
        return "@" in value and _LOGIN.search(value) is not None
    if isinstance(value, dict):
        return any(map(has_login, value.values()))
    return isinstance(value, (list, tuple)) and any(map(has_login, value))
