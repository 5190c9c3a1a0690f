"""Every secret that an inventory holds: what no log, report or error may show."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any
from urllib.parse import unquote, urlsplit

from bootstrap.inventory.model import Host, Inventory
from bootstrap.inventory.schema import variables
from bootstrap.inventory.secret import SECRET_VARIABLES

# Aliases, and what other connection and become plugins take: ansible_private_key_passphrase, ansible_su_pass …
_CONNECTION_SECRET = re.compile(r"ansible_\w*(pass|passwd|password|passphrase|private_key)")


def secrets_in(inventory: Inventory) -> frozenset[str]:
    """Passwords and passphrases of connections, variables that a role calls secret, passwords in addresses."""
    return frozenset(secret for host in inventory.hosts for secret in _of_host(host) if secret)


def _of_host(host: Host) -> Iterator[str]:
    for name, value in (host.connection_vars or {}).items():
        if name in SECRET_VARIABLES or _CONNECTION_SECRET.fullmatch(name):
            yield str(value or "")
        yield from _in_addresses(value)
    for name, value in host.settings.items():
        if name in variables() and variables()[name].no_log:
            yield from texts_in(value)
        yield from _in_addresses(value)


def texts_in(value: Any) -> Iterator[str]:
    """All strings of a tree; not the keys of mappings."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        yield from _all(value.values())
    elif isinstance(value, list | tuple):
        yield from _all(value)


def _all(values: Iterable[Any]) -> Iterator[str]:
    for value in values:
        yield from texts_in(value)


def _in_addresses(value: Any) -> Iterator[str]:
    """The passwords of user:password@ in addresses, as they are written there and as they are meant."""
    for text in texts_in(value):
        for word in text.split() if "://" in text else ():
            try:
                password = urlsplit(word.strip("'\"")).password or ""
            except ValueError:  # no address
                continue
            yield from (password, unquote(password))
