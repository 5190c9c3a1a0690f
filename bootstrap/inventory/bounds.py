"""How much an inventory stands for: a short line can name a thousand million hosts, a few aliases as many values."""

from __future__ import annotations

import re
from typing import Any

import yaml

# Kubernetes supports 5,000 nodes (kubernetes.io, "Considerations for large clusters").
MOST_HOSTS = 10_000
MOST_VALUES = 1_000_000
_RANGE = re.compile(r"\[([0-9a-zA-Z]*):([0-9a-zA-Z]+)(?::([0-9]+))?\]")


def host_count(pattern: str) -> int:
    """How many hosts a pattern such as gpu[1:3] stands for, at most; more than MOST_HOSTS is not counted exactly."""
    count = 1
    for begin, end, step in _RANGE.findall(pattern):
        numbers = (begin or "0").isdecimal() and end.isdecimal()
        span = max(_number(end) - _number(begin or "0"), 0) + 1 if numbers else 52  # letters
        count *= max(span // max(int(step[-6:] or 1), 1), 1)
        if count > MOST_HOSTS:
            return count
    return count


def _number(digits: str) -> int:
    """Their value, or one that is too large for anything."""
    return int(digits) if len(digits.lstrip("0")) <= 9 else 10**9


def value_count(node: Any, known: dict[int, int] | None = None) -> int:
    """How many values a YAML node is with its aliases written out; MOST_VALUES + 1 where it holds itself."""
    known = {} if known is None else known
    if id(node) in known:
        return known[id(node)]
    known[id(node)] = MOST_VALUES + 1  # until it is counted: who meets it now is inside of it
    if isinstance(node, yaml.MappingNode):
        parts = [part for pair in node.value for part in pair]
    else:
        parts = node.value if isinstance(node, yaml.SequenceNode) else []
    total = 1
    for part in parts:
        total += value_count(part, known)
        if total > MOST_VALUES:
            break
    known[id(node)] = min(total, MOST_VALUES + 1)
    return known[id(node)]
