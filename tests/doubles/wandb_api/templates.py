"""The server's part of template variables: their schemas, the values that a job gives, and the filling-in.

The texts of the refusals are this double's own: those of the service are not known.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

_PLACE = re.compile(r"\{\{\s*([A-Za-z_]\w*)\s*\}\}")
_NUMBERS = ("integer", "number")
_KEYWORDS = {
    "integer": {"type", "default", "minimum", "maximum", "enum", "description"},
    "number": {"type", "default", "minimum", "maximum", "enum", "description"},
    "string": {"type", "default", "enum", "pattern", "description"},
}


class TemplateError(ValueError):
    """A value or a schema is refused; the message names the variable."""


def check_schemas(variables: Any) -> dict[str, dict[str, Any]]:
    """The schemas of a queue's variables, from `{name: {"schema": {...}, "description"?}}`. Raises TemplateError."""
    if not isinstance(variables, Mapping):
        raise TemplateError("template variables must be a map of names")
    schemas = {}
    for name, variable in variables.items():
        schema = variable.get("schema") if isinstance(variable, Mapping) else None
        if not re.fullmatch(r"[A-Za-z_]\w*", str(name)) or not isinstance(schema, Mapping):
            raise TemplateError(f"template variable {name}: a schema is missing")
        kind = schema.get("type")
        if kind not in _KEYWORDS:
            raise TemplateError(f"template variable {name}: type must be integer, number or string")
        if strange := sorted(set(schema) - _KEYWORDS[kind]):
            raise TemplateError(f"template variable {name}: {strange[0]} is not allowed for type {kind}")
        if "default" in schema:
            check_value(name, schema, schema["default"])
        schemas[name] = dict(schema)
    return schemas


def check_value(name: str, schema: Mapping[str, Any], value: Any) -> None:
    """Raises TemplateError unless the value has the type and is within the bounds."""
    kind = str(schema["type"])
    if not _is_a(value, kind):
        raise TemplateError(f"template variable {name}: {value!r} is not of type {kind}")
    low, high, choices = schema.get("minimum"), schema.get("maximum"), schema.get("enum")
    if low is not None and value < low:
        raise TemplateError(f"template variable {name}: {value} is less than the minimum of {low}")
    if high is not None and value > high:
        raise TemplateError(f"template variable {name}: {value} is greater than the maximum of {high}")
    if choices is not None and value not in choices:
        raise TemplateError(f"template variable {name}: {value!r} is not one of {', '.join(map(str, choices))}")
    if "pattern" in schema and not re.search(schema["pattern"], value):
        raise TemplateError(f"template variable {name}: {value!r} does not match {schema['pattern']}")


def _is_a(value: Any, kind: str) -> bool:
    if kind in _NUMBERS:
        whole = isinstance(value, int) or (isinstance(value, float) and value.is_integer())
        return not isinstance(value, bool) and (whole or (kind == "number" and isinstance(value, float)))
    return isinstance(value, str)


def complete(schemas: Mapping[str, Mapping[str, Any]], given: Mapping[str, Any]) -> dict[str, Any]:
    """The value of every variable: the job's, or else the default. Raises TemplateError."""
    for name in given:
        if name not in schemas:
            raise TemplateError(f"template variable {name} is not defined for this queue")
    values = {}
    for name, schema in schemas.items():
        if name not in given and "default" not in schema:
            raise TemplateError(f"template variable {name}: a value is required, it has no default")
        values[name] = given.get(name, schema.get("default"))
        check_value(name, schema, values[name])
        if schema["type"] == "integer":
            values[name] = int(values[name])  # 2.0 is an integer in JSON, but not to Kubernetes
    return values


def fill(node: Any, values: Mapping[str, Any]) -> Any:
    """Replace `{{name}}`: alone it becomes the typed value, inside a longer text its text. Others stay as they are."""
    if isinstance(node, Mapping):
        return {_inside(str(key), values): fill(value, values) for key, value in node.items()}
    if isinstance(node, list):
        return [fill(item, values) for item in node]
    if not isinstance(node, str):
        return node
    whole = _PLACE.fullmatch(node)
    return values[whole[1]] if whole and whole[1] in values else _inside(node, values)


def _inside(text: str, values: Mapping[str, Any]) -> str:
    return _PLACE.sub(lambda found: str(values[found[1]]) if found[1] in values else found[0], text)
