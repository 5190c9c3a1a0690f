"""Reads a document that a host printed, key by key: what does not have its form is unknown, and noted."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

T = TypeVar("T")
# Entries of one list or map; a host with as many interfaces, packages or ports as this is none.
_MANY = 16_384
_NOTED = 64
_KEY = re.compile(r"[a-z_.]{1,64}")


class Reader:
    """One object of a document; `lost` collects the places whose values were none, for all objects of the document."""

    def __init__(self, found: Any, where: str = "", lost: set[str] | None = None) -> None:
        self._found: Mapping[str, Any] = found if isinstance(found, Mapping) else {}
        self._where = where
        self.lost: set[str] = set() if lost is None else lost

    def one(self, key: str, read: Callable[[Any], T | None]) -> T | None:
        """The value of a key; None when it is not there, is null or empty, or has no such form."""
        value = self._found.get(key)
        if value is None or value == "":
            return None
        return self._read(key, value, read)

    def text(self, key: str, read: Callable[[Any], str | None]) -> str:
        """A text; empty instead of None."""
        return self.one(key, read) or ""

    def count(self, key: str, read: Callable[[Any], int | None]) -> int:
        """A number; zero instead of None."""
        return self.one(key, read) or 0

    def flag(self, key: str) -> bool:
        """Whether the value is true."""
        return self.one(key, lambda value: value if isinstance(value, bool) else None) is True

    def many(self, key: str, read: Callable[[Any], T | None]) -> tuple[T, ...]:
        """The entries of a list that have the form."""
        read_all = (self._read(key, item, read) for item in self._list(key))
        return tuple(item for item in read_all if item is not None)

    def mapping(self, key: str, names: Callable[[Any], Any], read: Callable[[Any], T | None]) -> dict[Any, T]:
        """The entries of a map whose names and values have their forms."""
        entries = {}
        for name, raw in self._map(key).items():
            known, value = self._read(key, name, names), None if raw is None else self._read(key, raw, read)
            if known is not None and value is not None:
                entries[known] = value
        return entries

    def below(self, key: str) -> Reader:
        """The object under a key; an empty one where there is none."""
        return Reader(self._map(key), f"{self._where}{key}.", self.lost)

    def each(self, key: str) -> tuple[Reader, ...]:
        """The objects of a list."""
        return tuple(Reader(item, f"{self._where}{key}.", self.lost) for item in self._list(key))

    def lists_of(self, key: str, names: Callable[[Any], str | None]) -> dict[str, tuple[Reader, ...]]:
        """The lists of objects in a map."""
        inner = self.below(key)
        return {name: inner.each(name) for name in self._map(key) if names(name) is not None}

    def raw(self, key: str) -> Any:
        """What stands under a key, as it is."""
        return self._found.get(key)

    @property
    def malformed(self) -> tuple[str, ...]:
        """The places whose values were none, those too that the document itself names, sorted."""
        said = self._found.get("malformed")
        names = said if isinstance(said, list | tuple) else ()
        named = [name for name in names if isinstance(name, str) and _KEY.fullmatch(name)]
        return tuple(sorted({*self.lost, *named})[:_NOTED])

    def _read(self, key: str, value: Any, read: Callable[[Any], T | None]) -> T | None:
        found = read(value)
        if found is None:
            self._lose(key)
        return found

    def _lose(self, key: str) -> None:
        place = f"{self._where}{key}"
        self.lost.add(place if _KEY.fullmatch(place) else self._where.rstrip(".") or "?")

    def _map(self, key: str) -> Mapping[str, Any]:
        found: Mapping[str, Any] = self._kind(key, Mapping, {})
        return found

    def _list(self, key: str) -> list[Any] | tuple[Any, ...]:
        found: list[Any] | tuple[Any, ...] = self._kind(key, (list, tuple), ())
        return found

    def _kind(self, key: str, kind: Any, empty: Any) -> Any:
        value = self._found.get(key)
        if value is None:
            return empty
        if not isinstance(value, kind) or len(value) > _MANY:
            self._lose(key)
            return empty
        return value
