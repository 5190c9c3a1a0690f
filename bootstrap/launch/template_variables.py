"""Template variables of a queue: their schemas, how they are given on a command line, and whether they fit. Pure."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

from bootstrap.errors import Problem, usage_error
from bootstrap.launch.queue_file import Place, QueueConfig

USE = re.compile(r"\{\{\s*([A-Za-z_][A-Za-z0-9_]*)\s*\}\}")
NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_KEYS = frozenset({"type", "default", "minimum", "maximum", "enum", "description"})
_TYPES: Mapping[str, tuple[type, ...]] = {"integer": (int,), "number": (int, float), "string": (str,)}


def from_option(option: str, text: str) -> tuple[str, dict[str, Any]]:
    """`NAME=DEFAULT,MIN,MAX` (numbers) or `NAME=A|B|C` (one of these texts, the first by default) as a schema.

    Raises:
        GpuctlError: it is neither (exit 2).
    """
    name, equals, value = text.partition("=")
    if not equals or not NAME.fullmatch(name):
        raise usage_error(f"{option} {text}: no name before `=`", f"write {option} NAME=DEFAULT,MIN,MAX or NAME=A|B|C")
    if "|" in value:
        choices = [part.strip() for part in value.split("|")]
        if not all(choices) or len(set(choices)) < len(choices):
            raise usage_error(f"{option} {text}: a choice is empty, or there twice", "name each choice once")
        return name, {"type": "string", "enum": choices, "default": choices[0]}
    return name, numbers(option, value)


def numbers(option: str, text: str) -> dict[str, Any]:
    """`DEFAULT,MIN,MAX` as the schema of a whole number, or of a fraction where one is written so.

    Raises:
        GpuctlError: not three numbers in order (exit 2).
    """
    try:
        parts = [part.strip() for part in text.split(",")]
        whole = all(re.fullmatch(r"[+-]?\d+", part) for part in parts)
        default, low, high = [int(part) for part in parts] if whole else [_fraction(part) for part in parts]
    except ValueError:
        raise usage_error(f"{option} {text}: not DEFAULT,MIN,MAX", f"write three numbers: {option} 1,1,8") from None
    if not low <= default <= high:
        raise usage_error(f"{option} {text}: MIN ≤ DEFAULT ≤ MAX does not hold", f"write them as in {option} 1,1,8")
    kind = "integer" if whole else "number"
    return {"type": kind, "default": default, "minimum": low, "maximum": high}


def _fraction(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(text)
    return value


def problems(config: QueueConfig) -> Iterator[Problem]:
    """What is wrong with the variables, and with how the configuration uses them."""
    for name, schema in config.variables.items():
        line = config.variable_lines.get(name)
        at = f"{config.origin}:{line}" if line else config.origin or None
        for words, fix in _complaints(name, schema):
            yield Problem("launch-variable-invalid", f"template variable `{name}`: {words}", fix, at=at)
    for name, place in uses(config.kubernetes):
        if name not in config.variables:
            words = f"`{{{{{name}}}}}` is used, and there is no template variable `{name}`"
            schema_words = "{type: integer, default: 1, minimum: 1, maximum: 8}"
            fix = f"declare it in the file, such as: template_variables: {{{name}: {schema_words}}}"
            yield Problem("launch-variable-unknown", words, fix, at=config.at(place))


def unused(config: QueueConfig) -> list[str]:
    """Variables that the configuration does not use."""
    used = {name for name, _ in uses(config.kubernetes)}
    return [name for name in config.variables if name not in used]


def uses(value: Any, place: Place = ()) -> Iterator[tuple[str, Place]]:
    """Each use of a variable, with its place."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from ((name, (*place, str(key))) for name in USE.findall(str(key)))
            yield from uses(item, (*place, str(key)))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from uses(item, (*place, index))
    elif isinstance(value, str):
        yield from ((name, place) for name in USE.findall(value))


def _complaints(name: str, schema: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    if not NAME.fullmatch(name):
        yield "a name has letters, digits and _ only", "rename it"
    if foreign := sorted(map(str, set(schema) - _KEYS)):
        yield f"unknown key `{foreign[0]}`", f"known are {', '.join(sorted(_KEYS))}"
    kind = str(schema.get("type"))
    if kind not in _TYPES:
        yield f"type is {kind!r}", f"use one of {', '.join(_TYPES)}"
        return
    choices = schema.get("enum")
    if "enum" in schema and (not isinstance(choices, list) or not choices):
        yield "`enum` is no list of values", "name the values that are allowed"
        return
    for key, value in [(key, schema[key]) for key in ("default", "minimum", "maximum") if key in schema] + [
        ("enum", choice) for choice in choices or ()
    ]:
        if isinstance(value, bool) or not isinstance(value, _TYPES[kind]):
            yield f"`{key}` {value!r} is not of type {kind}", "give it a value of that type"
            return
    low, high, default = schema.get("minimum"), schema.get("maximum"), schema.get("default")
    if kind == "string" and (low is not None or high is not None):
        yield "a text has no minimum or maximum", "use `enum`"
        return
    if low is not None and high is not None and low > high:
        yield f"minimum {low} is above maximum {high}", "exchange them"
    if default is not None and (
        (low is not None and default < low)
        or (high is not None and default > high)
        or (choices and default not in choices)
    ):
        yield f"default {default!r} is not allowed by its own bounds", "choose a default within them"
