"""A list of names changed in a YAML text by the places of its parts, so that comments and layout stay."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

import yaml


class UnsafeError(ValueError):
    """Changing this text would be a guess; the message says why."""


def changed_in_yaml(text: str, name: str, line: int, values: Sequence[str]) -> str:
    """The text with another value for the key `name` on that line. Raises UnsafeError."""
    found = [pair for pair in _all_pairs(_compose(text)) if pair[0].value == name and _line(pair[0]) == line]
    if len(found) != 1:
        raise UnsafeError("it is not found where it should stand")
    key, value = found[0]
    if value.start_mark.index < key.end_mark.index:
        raise UnsafeError("its value stands at an anchor")
    if isinstance(value, yaml.SequenceNode) and not value.flow_style:
        return _changed_block(text, key, value, values)
    old = text[value.start_mark.index : value.end_mark.index]
    if "{" in old or "#" in old or old.startswith(("|", ">", "&", "!")):
        raise UnsafeError("its value is a template, or has comments in it")
    if not old:  # a key without a value
        colon = text.index(":", key.end_mark.index) + 1
        return f"{text[:colon]} {_flow(values)}{text[colon:]}"
    return text[: value.start_mark.index] + _flow(values) + text[value.end_mark.index :]


def added_to_yaml(text: str, name: str, values: Sequence[str]) -> tuple[str, int]:
    """The text with the variable under `all: vars:`, and its line. Raises UnsafeError."""
    root = _compose(text)
    everybody = _value_of(root, "all")
    if everybody is None or not _is_block(everybody[1], everybody[0]):
        raise UnsafeError("there is no group `all` in block style")
    variables = _value_of(everybody[1], "vars")
    lines = text.splitlines(keepends=True)
    end = "\r\n" if "\r\n" in text else "\n"
    if variables is None:
        first = everybody[1].value[0][0].start_mark.column
        number = everybody[0].end_mark.line + 1
        step = " " * (first - everybody[0].start_mark.column)
        new = [f"{' ' * first}vars:{end}", f"{' ' * first}{step}{name}: {_flow(values)}{end}"]
    elif _is_block(variables[1], variables[0]):
        number = variables[0].end_mark.line + 1
        new = [f"{' ' * variables[1].value[0][0].start_mark.column}{name}: {_flow(values)}{end}"]
    else:
        raise UnsafeError("the variables of the group `all` are not in block style")
    lines[number:number] = new
    return "".join(lines), number + len(new)


def _changed_block(text: str, key: yaml.Node, value: yaml.SequenceNode, values: Sequence[str]) -> str:
    """Items of a block list, a line each, taken out or put behind the last."""
    if any(not isinstance(item, yaml.ScalarNode) or item.start_mark.line != item.end_mark.line for item in value.value):
        raise UnsafeError("an item of its list takes more than one line")
    lines = text.splitlines(keepends=True)
    end = "\r\n" if "\r\n" in text else "\n"
    last = value.value[-1].start_mark.line
    if not lines[last].endswith(("\n", "\r")):
        lines[last] += end
    present = [item.value for item in value.value]
    new = [f"{' ' * value.start_mark.column}- {name}{end}" for name in values if name not in present]
    lines[last] += "".join(new)
    for item in value.value:
        if item.value not in values:
            number = item.start_mark.line
            lines[number] = lines[number].split(end, 1)[1] if number == last else ""
    if not values:
        number = key.end_mark.line
        colon = lines[number].index(":", key.end_mark.column) + 1
        lines[number] = f"{lines[number][:colon]} []{lines[number][colon:]}"
    return "".join(lines)


def _compose(text: str) -> Any:
    try:
        return yaml.compose(text, yaml.SafeLoader)  # the pure parser: its marks count characters
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise UnsafeError("the file cannot be parsed") from error


def _all_pairs(node: Any, seen: frozenset[int] = frozenset()) -> Iterator[tuple[Any, Any]]:
    if id(node) in seen:
        return
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if isinstance(key, yaml.ScalarNode):
                yield key, value
            yield from _all_pairs(value, seen | {id(node)})


def _value_of(node: Any, name: str) -> tuple[Any, Any] | None:
    pairs = node.value if isinstance(node, yaml.MappingNode) else ()
    return next(((key, value) for key, value in pairs if key.value == name), None)


def _is_block(node: Any, key: yaml.Node) -> bool:
    """Whether it is a mapping of its own lines below its key."""
    mapping = isinstance(node, yaml.MappingNode) and not node.flow_style and bool(node.value)
    return mapping and node.start_mark.line > key.end_mark.line


def _flow(values: Sequence[str]) -> str:
    return json.dumps(list(values))


def _line(node: yaml.Node) -> int:
    return int(node.start_mark.line) + 1
