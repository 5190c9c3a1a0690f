"""Answer a parsed operation from a tree of objects: the fields that were asked for, under the names asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from tests.doubles.wandb_api.language import Document, Enum, Field, Operation, Spread, Variable

# A type's name under `__typename`, then its fields: values, or functions of the field's arguments.
Node = dict[str, Any]


class GraphQLError(Exception):
    """The server refuses; clients read the message.

    `status` 200 is a refusal of one field, shown with its path; others are the request's own status.
    """

    def __init__(self, message: str, status: int = 200) -> None:
        super().__init__(message)
        self.status = status
        self.path: list[str] = []


def execute(document: Document, operation: Operation, variables: Mapping[str, Any], root: Node) -> dict[str, Any]:
    """The `data` of an answer. Raises GraphQLError with the path of the field that refused."""
    values = {**_plain(operation.defaults, {}), **variables}
    data: dict[str, Any] = _Run(document, values).select(operation.fields, root)
    return data


class _Run:
    """One operation with its variables."""

    def __init__(self, document: Document, variables: Mapping[str, Any]) -> None:
        self._document = document
        self._variables = variables

    def select(self, fields: tuple[Field | Spread, ...], node: Node) -> dict[str, Any]:
        answer: dict[str, Any] = {}
        for field in self._flat(fields):
            try:
                found = self._complete(field, self._read(field, node))
            except GraphQLError as error:
                error.path.insert(0, field.key)
                raise
            if isinstance(found, dict) and isinstance(answer.get(field.key), dict):
                answer[field.key] = {**answer[field.key], **found}
            else:
                answer[field.key] = found
        return answer

    def _flat(self, fields: tuple[Field | Spread, ...]) -> Iterator[Field]:
        for field in fields:
            if not self._wanted(field.directives):
                continue
            if isinstance(field, Field):
                yield field
            else:
                yield from self._flat(field.fields or self._document.fragments.get(field.name, ()))

    def _wanted(self, directives: Mapping[str, Mapping[str, Any]]) -> bool:
        include = _plain(directives.get("include", {}), self._variables).get("if", True)
        skip = _plain(directives.get("skip", {}), self._variables).get("if", False)
        return bool(include) and not skip

    def _read(self, field: Field, node: Node) -> Any:
        if field.name not in node:
            kind = node.get("__typename", "object")
            raise GraphQLError(f'Cannot query field "{field.name}" on type "{kind}".', 400)
        value = node[field.name]
        if callable(value):
            arguments = _plain(field.arguments, self._variables)
            resolve: Callable[[dict[str, Any]], Any] = value
            return resolve(arguments)
        return value

    def _complete(self, field: Field, value: Any) -> Any:
        if not field.fields:
            return value
        if isinstance(value, list):
            return [self._complete(field, item) for item in value]
        return self.select(field.fields, value) if isinstance(value, dict) else None


def _plain(value: Any, variables: Mapping[str, Any]) -> Any:
    """A value of the language as JSON; arguments whose variable was not sent are left out."""
    if isinstance(value, Variable):
        return variables.get(value.name)
    if isinstance(value, Enum):
        return value.name
    if isinstance(value, Mapping):
        sent = {k: v for k, v in value.items() if not (isinstance(v, Variable) and v.name not in variables)}
        return {k: _plain(v, variables) for k, v in sent.items()}
    return [_plain(item, variables) for item in value] if isinstance(value, list) else value
