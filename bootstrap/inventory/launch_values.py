"""The values.yaml of W&B's chart for the Launch agent, which many people have already. Pure: text in, values out.

No value is ever shown in a problem: some of them are secrets.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from bootstrap.errors import Problem
from bootstrap.inventory.launch_mistakes import home_of, lost_parent, other_file, placeholders
from bootstrap.inventory.launch_schema import (
    BUILDER_KEYS,
    CHART,
    CONFIG,
    LAUNCH_CONFIG,
    MOVED,
    OURS,
    OURS_BY_DEFAULT,
    SCALARS,
    TYPES,
    VARIABLES,
)
from bootstrap.inventory.yaml_nodes import MERGE, too_much


@dataclass(slots=True)
class _Reading:
    """One pass over a document: `first_line` is the file's line at which the text begins, counted from 0."""

    path: Path
    first_line: int = 0
    one_line: bool = False  # the text stands in one scalar without lines of its own
    problems: list[Problem] = field(default_factory=list)

    def complain(self, code: str, message: str, fix: str, line: int) -> None:
        number = self.first_line + (0 if self.one_line else line) + 1
        self.problems.append(Problem(code, message, fix, at=f"{self.path}:{number}"))


def parse_values(text: str, path: Path) -> tuple[dict[str, Any], tuple[Problem, ...]]:
    """The values of a chart's values.yaml, and all that is wrong with it; `path` is named in the problems.

    `launchConfig`, a text with YAML in it, comes out parsed. Keys without a value are left out. Problems have the codes
    launch-values-unknown and launch-values-invalid, and `file:line`.
    """
    reading = _Reading(path)
    values = _document(reading, text, CHART, "")
    if not reading.problems:
        reading.problems += _contradictions(values, path)
    return values, tuple(reading.problems)


def settings_of(values: Mapping[str, Any]) -> dict[str, Any]:
    """The role's variables that the values set; an inventory that sets them itself wins."""
    agent, config = values.get("agent", {}), values.get("launchConfig", {})
    found = {
        "launch_agent_api_key": agent.get("apiKey", "").strip(),
        "launch_agent_base_url": values.get("baseUrl"),
        "launch_agent_entity": config.get("entity"),
        "launch_agent_image": agent.get("image"),
        "launch_agent_max_jobs": config.get("max_jobs"),
        "launch_agent_namespace": values.get("namespace"),
        "launch_agent_queues": config.get("queues"),
        "launch_agent_target_namespaces": values.get("additionalTargetNamespaces"),
    }
    return {name: value for name, value in found.items() if value not in (None, "", [])}


def secrets_of(values: Mapping[str, Any]) -> list[str]:
    """What in the values must not be shown anywhere."""
    texts = [values.get("agent", {}).get("apiKey"), values.get("gitCreds"), values.get("azureStorageAccessKey")]
    texts += values.get("additionalSecretEnvVars", {}).values()
    return [text for text in texts if text]


def _contradictions(values: Mapping[str, Any], path: Path) -> Iterator[Problem]:
    bundle = values.get("customCABundle", {}).get("configMap", {})
    if bundle and not (bundle.get("name") and bundle.get("key")):
        words = "`customCABundle.configMap` needs `name` and `key`"
        yield Problem("launch-values-invalid", words, "name the ConfigMap and the key with the PEM text", at=str(path))
    plain, secret = values.get("additionalEnvVars", {}), values.get("additionalSecretEnvVars", {})
    for name in sorted((set(plain) & OURS) | (set(secret) & (OURS | OURS_BY_DEFAULT | set(plain)))):
        words = f"the agent's environment has `{name}` twice, or it is set from another key"
        fix = "set it in one place; agent.apiKey, baseUrl and the other keys set what the chart itself sets"
        yield Problem("launch-values-invalid", words, fix, at=str(path))
    if values.get("additionalTargetNamespaces") == [] and not values.get("namespace"):
        words = "`additionalTargetNamespaces` is empty: the agent may run jobs in its own namespace only"
        yield Problem("launch-values-invalid", words, "name namespaces, or remove the key", at=str(path))


def _document(reading: _Reading, text: str, keys: Mapping[str, Any], where: str) -> dict[str, Any]:
    """A YAML document with these keys, as far as it is right."""
    try:
        loader = yaml.SafeLoader(text)
        node = loader.get_single_node()
        if node is None:
            return {}
        if too_much(node):
            reading.complain("launch-values-invalid", "its anchors come to too much", "write them out", 0)
            return {}
        if not where and (other := other_file(node, f"{reading.path}:{node.start_mark.line + 1}")):
            reading.problems.append(other)
            return {}
        return _mapping(reading, loader, node, keys, where)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line if error.problem_mark else 0
        what = f"`{where}` is" if where else "it is"
        reading.complain("launch-values-invalid", f"{what} no YAML: {error.problem}", "correct the line", line)
    except yaml.YAMLError:
        reading.complain("launch-values-invalid", "it holds characters that YAML forbids", "remove them", 0)
    except RecursionError:
        reading.complain("launch-values-invalid", "it is nested too deeply", "write it without anchors", 0)
    return {}


def _mapping(
    reading: _Reading, loader: yaml.SafeLoader, node: yaml.Node, keys: Mapping[str, Any], where: str
) -> dict[str, Any]:
    if not isinstance(node, yaml.MappingNode):
        if node.tag == "tag:yaml.org,2002:null":
            return {}
        what = f"`{where}` must be" if where else "the file must hold"
        reading.complain("launch-values-invalid", f"{what} a mapping", "see docs/launch.md", node.start_mark.line)
        return {}
    own = len([key for key, _ in node.value if key.tag != MERGE])
    loader.flatten_mapping(node)
    found: dict[str, Any] = {}
    seen: dict[str, int] = {}
    strangers: list[int] = []
    for number, (key_node, item) in enumerate(node.value):
        line = key_node.start_mark.line
        if not isinstance(key_node, yaml.ScalarNode):
            reading.complain("launch-values-invalid", "a key must be text", "write it without brackets", line)
            continue
        key = str(key_node.value)
        full = f"{where}.{key}" if where else key
        if key in seen and number >= len(node.value) - own and seen[key] >= 0:
            first = reading.first_line + seen[key] + 1
            reading.complain(
                "launch-values-invalid", f"`{full}` is there twice (first in line {first})", "keep one", line
            )
        seen[key] = line if number >= len(node.value) - own else -1
        if key not in keys:
            strangers.append(number)
        elif (value := _known(reading, loader, item, keys[key], full, line)) is not None:
            found[key] = value
    _strangers(reading, node, keys, where, strangers)
    return found


def _known(reading: _Reading, loader: yaml.SafeLoader, node: yaml.Node, kind: Any, full: str, line: int) -> Any:
    for name, place in placeholders(node, full, line):
        words = f"`{name}` still has the chart's placeholder"
        reading.complain("launch-values-invalid", words, f"write what {name} is to be", place)
    return _value(reading, loader, node, kind, full)


def _strangers(
    reading: _Reading, node: yaml.MappingNode, keys: Mapping[str, Any], where: str, numbers: list[int]
) -> None:
    """The keys that are unknown where they stand, by their numbers in the mapping."""
    lost: dict[str, list[tuple[str, int]]] = {}
    for number in numbers:
        key_node = node.value[number][0]
        key, line = str(key_node.value), key_node.start_mark.line
        if parent := lost_parent(node, keys, number):
            lost.setdefault(parent, []).append((key, line))
        else:
            _unknown(reading, f"{where}.{key}" if where else key, key, keys, line)
    if lost:
        _tell_lost(reading, lost)


def _tell_lost(reading: _Reading, lost: Mapping[str, list[tuple[str, int]]]) -> None:
    """One problem for all lines that are further left than they were meant to be."""
    belong = "; ".join(f"{', '.join(f'`{key}`' for key, _ in keys)} below `{parent}`" for parent, keys in lost.items())
    words = f"the file lost its indentation: {belong}"
    fix = f"indent by two spaces what belongs below {' and below '.join(f'`{parent}`' for parent in lost)}"
    reading.complain("launch-values-invalid", words, fix, min(line for keys in lost.values() for _, line in keys))


def _unknown(reading: _Reading, full: str, key: str, keys: Mapping[str, Any], line: int) -> None:
    if full not in MOVED and (home := home_of(key, keys)):
        words = f"unknown key `{full}`, it belongs {home}"
        reading.complain("launch-values-unknown", words, f"move it {home}", line)
        return
    close = difflib.get_close_matches(key, list(keys), 1, 0.6)
    guess = f", did you mean `{close[0]}`?" if close else ""
    fix = MOVED.get(full) or (f"rename it to {close[0]}" if close else f"remove it; known are: {', '.join(keys)}")
    reading.complain("launch-values-unknown", f"unknown key `{full}`{'' if full in MOVED else guess}", fix, line)


def _value(reading: _Reading, loader: yaml.SafeLoader, node: yaml.Node, kind: Any, where: str) -> Any:
    """The value of one key; None where it has none or is wrong."""
    if isinstance(kind, Mapping):
        return _mapping(reading, loader, node, kind, where)
    value: Any
    try:
        if kind in (SCALARS, VARIABLES) and isinstance(node, yaml.MappingNode):
            value = _as_written(loader, node)
        else:
            value = loader.construct_object(node, deep=True)
    except ValueError:  # what looks like a date and is none
        value = object()
    if value is None:
        return None
    if kind is CONFIG:
        return _launch_config(reading, node, value)
    try:
        json.dumps(value, allow_nan=False)
        fits = kind[1](value)
    except (TypeError, ValueError):  # a date, a set, something that holds itself
        fits = False
    if fits:
        return value
    reading.complain("launch-values-invalid", f"`{where}` must be {kind[0]}", "correct its value", node.start_mark.line)
    return None


def _as_written(loader: yaml.SafeLoader, node: yaml.MappingNode) -> dict[str, Any]:
    """A mapping of texts, with what YAML takes for numbers and truths as it stands in the file: 0644, yes."""
    loader.flatten_mapping(node)
    return {str(key.value): item.value for key, item in node.value}


def _launch_config(reading: _Reading, node: yaml.Node, value: Any) -> dict[str, Any] | None:
    """The agent's configuration file inside the values."""
    if not isinstance(value, str):
        words = "`launchConfig` must be text with the agent's configuration in it"
        reading.complain(
            "launch-values-invalid", words, "write `launchConfig: |`, and indent what follows", node.start_mark.line
        )
        return None
    block = isinstance(node, yaml.ScalarNode) and node.style in ("|", ">")
    inner = _Reading(reading.path, node.start_mark.line + int(block), not block, reading.problems)
    config = _document(inner, value, LAUNCH_CONFIG, "launchConfig")
    lines = value.splitlines()
    for name, allowed in TYPES.items():
        chosen = config.get(name, {}).get("type")
        if chosen is not None and not allowed[1](chosen):
            words = f"`launchConfig.{name}.type` must be {allowed[0]}"
            inner.complain("launch-values-invalid", words, "correct it", _line_of(lines, "type", name))
    if config.get("environment") and "region" not in config["environment"]:
        words = "`launchConfig.environment` needs `region`"
        inner.complain("launch-values-invalid", words, "name the cloud's region", _line_of(lines, "environment"))
    for key in config.get("builder", {}):
        close = [] if key in BUILDER_KEYS else difflib.get_close_matches(key, BUILDER_KEYS, 1, 0.75)
        if close:
            words = f"unknown key `launchConfig.builder.{key}`, did you mean `{close[0]}`?"
            inner.complain("launch-values-unknown", words, f"rename it to {close[0]}", _line_of(lines, key, "builder"))
    return config


def _line_of(lines: list[str], key: str, after: str = "") -> int:
    """The line on which a key stands, counted from 0; the first after another key."""
    begun = not after
    for number, line in enumerate(lines):
        begun = begun or line.lstrip().startswith(f"{after}:")
        if begun and re.search(rf"(^|[\s{{,]){re.escape(key)}:", line):
            return number
    return 0
