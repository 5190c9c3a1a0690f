"""What people put into a values.yaml by mistake: another file, lines without their indentation, placeholders. Pure."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from typing import Any

import yaml

from bootstrap.errors import Problem
from bootstrap.inventory.launch_schema import CHART, CONFIG, LAUNCH_CONFIG, MAPPINGS, NAMED
from bootstrap.inventory.placeholders import placeholder

_OF_QUEUES = frozenset({"kubernetes", "resource_args", "spec", "template_variables"})
_QUEUE = "give it to `gpuctl launch queue apply QUEUE FILE`"
_NULL = "tag:yaml.org,2002:null"


def other_file(node: yaml.Node, at: str) -> Problem | None:
    """What the file is, if its top has the keys of another kind of file and none of the chart's."""
    if not isinstance(node, yaml.MappingNode):
        return None
    keys = {str(key.value) for key, _ in node.value if isinstance(key, yaml.ScalarNode)}
    of_agent = keys & set(LAUNCH_CONFIG)
    if keys & (set(CHART) - {"namespace"}):
        return None
    if of_agent and len(of_agent) * 2 > len(keys):
        words = "it is an agent's configuration (launch-config.yaml), not the values of the chart"
        fix = "begin the file with the line `launchConfig: |`, and indent all that is there below it"
    elif keys & _OF_QUEUES:
        words, fix = "it is the configuration of a queue, not the values of the chart", _QUEUE
    elif {"apiVersion", "kind"} <= keys:
        words = "it is an object of Kubernetes, not the values of the chart"
        fix = "name the values.yaml that was given to `helm install`"
    else:
        return None
    return Problem("launch-file-foreign", words, fix, at=at)


def lost_parent(node: yaml.MappingNode, keys: Mapping[str, Any], number: int) -> str:
    """The key above an unknown one that it was meant to be below: it has nothing, and takes such keys; else empty."""
    name = str(node.value[number][0].value)
    for key, item in reversed(node.value[:number]):
        kind = keys.get(str(key.value))
        empty = isinstance(item, yaml.ScalarNode) and (item.tag == _NULL or not str(item.value).strip())
        if empty and kind is not None and _takes(kind, name, keys):
            return str(key.value)
    return ""


def home_of(name: str, keys: Mapping[str, Any]) -> str:
    """Where an unknown key belongs, as "to the top" or "below `agent`"; empty where nobody knows it."""
    if keys is not CHART:
        return "to the top" if name in CHART else ""
    return next((f"below `{key}`" for key, kind in CHART.items() if name in _below(kind)), "")


def placeholders(node: yaml.Node, full: str, line: int) -> Iterator[tuple[str, int]]:
    """Each key below `full` that still has a placeholder, with its line; nothing where any text may be."""
    if not any(full == name or full.startswith(f"{name}.") for name in NAMED):
        return
    if isinstance(node, yaml.MappingNode):
        for key, item in node.value:
            if isinstance(key, yaml.ScalarNode):
                yield from placeholders(item, f"{full}.{key.value}", key.start_mark.line)
    elif isinstance(node, yaml.SequenceNode):
        if any(isinstance(item, yaml.ScalarNode) and placeholder(str(item.value)) for item in node.value):
            yield full, line
        for item in node.value:
            if isinstance(item, yaml.MappingNode):
                yield from placeholders(item, full, item.start_mark.line)
    elif placeholder(str(node.value)):
        yield full, line


def _takes(kind: Any, name: str, beside: Mapping[str, Any]) -> bool:
    if kind in MAPPINGS:  # which take any key: one that is a misspelt neighbour, or at home elsewhere, was not meant
        known = {*CHART, *LAUNCH_CONFIG, *CHART["agent"]}
        return name not in known and not difflib.get_close_matches(name, list(beside), 1, 0.6)
    return name in _below(kind)


def _below(kind: Any) -> Mapping[str, Any]:
    if kind is CONFIG:
        return LAUNCH_CONFIG
    return kind if isinstance(kind, Mapping) else {}
