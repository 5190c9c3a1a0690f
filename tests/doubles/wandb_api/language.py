"""As much of the GraphQL language as clients send: operations with variables, aliases, arguments and fragments."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_TOKEN = re.compile(
    r"""(?P<skip>[\s,\ufeff]+|\#[^\n\r]*)|(?P<text>\"\"\"(?:[^"]|"(?!""))*\"\"\"|"(?:[^"\\\n]|\\.)*")"""
    r"""|(?P<number>-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)|(?P<name>[A-Za-z_]\w*)|(?P<mark>\.\.\.|[!$():=@\[\]{}|&])"""
)
_CONSTANTS: dict[str, Any] = {"true": True, "false": False, "null": None}


class GraphQLSyntaxError(Exception):
    """The text of a request is not GraphQL; the message says where."""


@dataclass(frozen=True, slots=True)
class Variable:
    """`$name`, to be replaced by its value when the operation runs."""

    name: str


@dataclass(frozen=True, slots=True)
class Enum:
    """A bare word as a value, such as PROJECT."""

    name: str


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a selection. `key` is its alias, or its name."""

    key: str
    name: str
    arguments: Mapping[str, Any]
    directives: Mapping[str, Mapping[str, Any]]
    fields: tuple[Field | Spread, ...]


@dataclass(frozen=True, slots=True)
class Spread:
    """`...Name`, or a fragment written in place (`fields`)."""

    name: str
    directives: Mapping[str, Mapping[str, Any]]
    fields: tuple[Field | Spread, ...]


@dataclass(frozen=True, slots=True)
class Operation:
    """A query or a mutation, with the defaults of its variables."""

    kind: str
    name: str
    defaults: Mapping[str, Any]
    fields: tuple[Field | Spread, ...]


@dataclass(frozen=True, slots=True)
class Document:
    """What one request holds."""

    operations: tuple[Operation, ...]
    fragments: Mapping[str, tuple[Field | Spread, ...]]

    def operation(self, name: str | None) -> Operation:
        """The operation of this name, or the only one. Raises GraphQLSyntaxError."""
        for operation in self.operations:
            if operation.name == name or (not name and len(self.operations) == 1):
                return operation
        raise GraphQLSyntaxError(f'Unknown operation named "{name or ""}".')


def parse(text: str) -> Document:
    """Read a request's `query`. Raises GraphQLSyntaxError."""
    return _Parser(_tokens(text)).document()


def _tokens(text: str) -> list[tuple[str, str]]:
    found, at = [], 0
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            raise GraphQLSyntaxError(f"Syntax Error: Unexpected character {text[at]!r} at {at}.")
        if match.lastgroup and match.lastgroup != "skip":
            found.append((match.lastgroup, match[0]))
        at = match.end()
    return found


def _literal(text: str) -> Any:
    """A number or a quoted text; GraphQL writes both as JSON does."""
    if text.startswith('"""'):
        return text[3:-3]
    try:
        return json.loads(text)
    except ValueError as error:
        raise GraphQLSyntaxError(f"Syntax Error: {text}: {error}") from None


class _Parser:
    """Recursive descent; each method reads one production."""

    def __init__(self, tokens: list[tuple[str, str]]) -> None:
        self._tokens = [*tokens, ("end", "<EOF>")]
        self._at = 0

    def document(self) -> Document:
        operations: list[Operation] = []
        fragments: dict[str, tuple[Field | Spread, ...]] = {}
        while self._peek() != ("end", "<EOF>"):
            if self._peek() == ("mark", "{"):
                operations.append(Operation("query", "", {}, self._selection()))
            elif self._peek() == ("name", "fragment"):
                self._next()
                name = self._name()
                self._name("on")
                self._name()
                self._directives()
                fragments[name] = self._selection()
            else:
                operations.append(self._operation())
        return Document(tuple(operations), fragments)

    def _operation(self) -> Operation:
        kind = self._name()
        if kind not in {"query", "mutation", "subscription"}:
            raise GraphQLSyntaxError(f'Syntax Error: Unexpected Name "{kind}".')
        name = self._name() if self._peek()[0] == "name" else ""
        defaults: dict[str, Any] = {}
        if self._take("("):
            while not self._take(")"):
                self._mark("$")
                variable = self._name()
                self._mark(":")
                self._type()
                if self._take("="):
                    defaults[variable] = self._value()
        self._directives()
        return Operation(kind, name, defaults, self._selection())

    def _type(self) -> None:
        if self._take("["):
            self._type()
            self._mark("]")
        else:
            self._name()
        self._take("!")

    def _selection(self) -> tuple[Field | Spread, ...]:
        self._mark("{")
        found: list[Field | Spread] = []
        while not self._take("}"):
            found.append(self._spread() if self._take("...") else self._field())
        return tuple(found)

    def _spread(self) -> Spread:
        name = ""
        if self._peek()[0] == "name":
            name = self._name()
            if name == "on":
                self._name()
                return Spread("", self._directives(), self._selection())
            return Spread(name, self._directives(), ())
        return Spread("", self._directives(), self._selection())

    def _field(self) -> Field:
        key = name = self._name()
        if self._take(":"):
            name = self._name()
        arguments = self._arguments()
        directives = self._directives()
        fields = self._selection() if self._peek() == ("mark", "{") else ()
        return Field(key, name, arguments, directives, fields)

    def _arguments(self) -> dict[str, Any]:
        return self._pairs(")") if self._take("(") else {}

    def _pairs(self, end: str) -> dict[str, Any]:
        found: dict[str, Any] = {}
        while not self._take(end):
            name = self._name()
            self._mark(":")
            found[name] = self._value()
        return found

    def _directives(self) -> dict[str, Mapping[str, Any]]:
        found: dict[str, Mapping[str, Any]] = {}
        while self._take("@"):
            name = self._name()
            found[name] = self._arguments()
        return found

    def _value(self) -> Any:
        kind, text = self._next()
        if kind in {"number", "text"}:
            return _literal(text)
        if kind == "name":
            return _CONSTANTS[text] if text in _CONSTANTS else Enum(text)
        if text == "$":
            return Variable(self._name())
        if text == "[":
            values = []
            while not self._take("]"):
                values.append(self._value())
            return values
        if text == "{":
            return self._pairs("}")
        raise GraphQLSyntaxError(f"Syntax Error: Unexpected {text!r}.")

    def _peek(self) -> tuple[str, str]:
        return self._tokens[self._at]

    def _next(self) -> tuple[str, str]:
        token = self._tokens[self._at]
        if token[0] == "end":
            raise GraphQLSyntaxError("Syntax Error: Unexpected <EOF>.")
        self._at += 1
        return token

    def _take(self, mark: str) -> bool:
        if self._peek() != ("mark", mark):
            return False
        self._at += 1
        return True

    def _mark(self, mark: str) -> None:
        found = self._next()
        if found != ("mark", mark):
            raise GraphQLSyntaxError(f"Syntax Error: Expected {mark!r}, found {found[1]!r}.")

    def _name(self, wanted: str | None = None) -> str:
        kind, text = self._next()
        if kind != "name" or (wanted and text != wanted):
            raise GraphQLSyntaxError(f"Syntax Error: Expected {wanted or 'Name'}, found {text!r}.")
        return text
