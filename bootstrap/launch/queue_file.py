"""A queue's configuration as people write it: YAML or JSON, whole or only the Kubernetes part; with its lines. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

from bootstrap.errors import Problem, settings_error
from bootstrap.inventory.yaml_nodes import doubled, too_much
from bootstrap.launch.file_kinds import foreign_kind

Place = tuple[str | int, ...]  # keys and indexes that lead to a value
_TEMPLATE_FIX = 'put template variables into quotes: "{{gpus}}"'
_BESIDE = frozenset({"template_variables"})


@dataclass(frozen=True, slots=True)
class QueueConfig:
    """What a queue is to have. `kubernetes`: the resource arguments; `variables`: name → JSON schema.

    `origin` and `lines` say where each value stands; a configuration that comes from no file has none.
    """

    kubernetes: Mapping[str, Any]
    variables: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    origin: str = ""
    lines: Mapping[Place, int] = field(default_factory=dict)
    variable_lines: Mapping[str, int] = field(default_factory=dict)

    def at(self, place: Place) -> str | None:
        """`file:line` of a value, or of what it is in; None without a file."""
        while place and place not in self.lines:
            place = place[:-1]
        return f"{self.origin}:{self.lines[place]}" if place in self.lines else self.origin or None


def parse_queue_config(text: str, origin: str) -> QueueConfig:
    """The configuration in a YAML or JSON text; `origin` is named in errors.

    Accepted are the Kubernetes part alone, the same under `kubernetes`, and the same under `resource_args`, each with
    `template_variables` beside it.

    Raises:
        GpuctlError: the text cannot be parsed, or holds something else (exit 3), with its line.
    """
    try:
        loader = yaml.SafeLoader(text)
        node = loader.get_single_node()
        if node is not None:
            _check_nodes(node, origin)
        value = None if node is None else loader.construct_document(node)
        lines = {} if node is None else dict(_lines(node, ()))
        json.dumps(value, allow_nan=False)
    except (yaml.YAMLError, RecursionError, ValueError, TypeError) as error:
        raise _unreadable(error, text, origin) from error
    if node is None or not isinstance(value, dict) or not value:
        raise settings_error(_bad("it holds no configuration", "write a mapping, such as a Job's", origin))
    inner, prefix = _resource_arguments(value, origin, lines)
    if found := foreign_kind({key: item for key, item in inner.items() if key not in _BESIDE}):
        raise settings_error(Problem("launch-file-foreign", f"it is {found.what}", found.fix, at=f"{origin}:1"))
    variables = _variables(value, origin, lines)
    return QueueConfig(
        kubernetes={key: item for key, item in inner.items() if prefix or key not in _BESIDE},
        variables=variables,
        origin=origin,
        lines={place[len(prefix) :]: line for place, line in lines.items() if place[: len(prefix)] == prefix},
        variable_lines={name: lines.get(("template_variables", name), 1) for name in variables},
    )


def _check_nodes(node: yaml.Node, origin: str) -> None:
    if too_much(node):
        raise settings_error(_bad("its anchors come to more than a configuration can be", "write it out", origin))
    if found := next(doubled(node), None):
        key, first, again = found
        words = f"`{key}` is there twice (first in line {first.line + 1}), and only the last one would count"
        fix = "keep one; where lines lost their indentation, indent them below their parent"
        raise settings_error(_bad(words, fix, f"{origin}:{again.line + 1}"))


def _resource_arguments(value: dict[str, Any], origin: str, lines: Mapping[Place, int]) -> tuple[dict[str, Any], Place]:
    """The Kubernetes part, and the keys that lead to it."""
    inner: Any = value
    prefix: Place = ()
    for key in ("resource_args", "kubernetes"):
        if key not in inner:
            continue
        others = {str(name) for name in inner} - {key} - (frozenset() if prefix else _BESIDE)
        if others:
            words = f"`{min(others)}` stands beside `{key}`"
            line = lines.get((*prefix, min(others)), 1)
            raise settings_error(_bad(words, f"move it below `{key}`, or remove it", f"{origin}:{line}"))
        prefix = (*prefix, key)
        inner = inner[key]
        if not isinstance(inner, dict):
            fix = "write it as keys and values"
            raise settings_error(
                _bad(f"`{'.'.join(map(str, prefix))}` is no mapping", fix, f"{origin}:{lines[prefix]}")
            )
    if prefix == ("resource_args",):
        words = f"`resource_args` holds {', '.join(map(str, inner)) or 'nothing'}, not `kubernetes`"
        raise settings_error(_bad(words, "only queues of the resource kubernetes are known here", origin))
    return inner, prefix


def _variables(value: dict[str, Any], origin: str, lines: Mapping[Place, int]) -> dict[str, Mapping[str, Any]]:
    """Template variables: name → schema, or name → {schema: …} as the client's API takes them."""
    raw = value.get("template_variables") or {}
    found: dict[str, Mapping[str, Any]] = {}
    if not isinstance(raw, dict):
        place = f"{origin}:{lines[('template_variables',)]}"
        raise settings_error(_bad("`template_variables` is no mapping", "write `NAME: {type: integer, …}`", place))
    for name, entry in raw.items():
        schema = entry.get("schema", entry) if isinstance(entry, dict) else entry
        if not isinstance(schema, dict) or not isinstance(name, str):
            place = f"{origin}:{lines.get(('template_variables', str(name)), lines[('template_variables',)])}"
            raise settings_error(_bad(f"template variable `{name}` has no schema", "give it a type and bounds", place))
        found[name] = schema
    return found


def _lines(node: yaml.Node, place: Place) -> Iterator[tuple[Place, int]]:
    """Each value's place and line; a mapping's entry is where its key is."""
    if place == ():
        yield place, node.start_mark.line + 1
    if isinstance(node, yaml.MappingNode):
        for key, item in node.value:
            inner = (*place, _key(key))
            yield inner, key.start_mark.line + 1
            yield from _lines(item, inner)
    elif isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            yield (*place, index), item.start_mark.line + 1
            yield from _lines(item, (*place, index))


def _key(node: yaml.Node) -> str:
    return str(node.value)


def _bad(words: str, fix: str, at: str) -> Problem:
    return Problem("launch-config-invalid", words, fix, at=at)


def _unreadable(error: Exception, text: str, origin: str) -> Exception:
    if isinstance(error, yaml.reader.ReaderError):
        at = f"{origin}:{text.count(chr(10), 0, error.position) + 1}"
        words = f"it holds a character that YAML forbids (U+{ord(text[error.position]):04X})"
        return settings_error(_bad(words, "remove it", at))
    mark = getattr(error, "problem_mark", None)
    at = f"{origin}:{mark.line + 1}" if mark else origin
    if isinstance(error, ValueError | TypeError):
        what = "infinity, or no number (.inf, .nan)" if "float" in str(error) else str(error)
        return settings_error(_bad(f"it holds a value that JSON has not: {what}", "put it into quotes", at))
    what = str(getattr(error, "problem", None) or "nested too deeply")
    fix = _TEMPLATE_FIX if "unhashable" in what or "flow" in what else "correct the line"
    fix = "indent with spaces: YAML allows no tab there" if r"'\t'" in what else fix
    return settings_error(_bad(f"it is neither YAML nor JSON: {what}", fix, at))
