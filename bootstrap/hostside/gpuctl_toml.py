"""The part of TOML that `containerd config dump` prints, for hosts whose Python has no tomllib (before 3.11).

Standard library only, Python 3.8 and later: this code runs on the hosts.
"""

from __future__ import annotations

import ast
import re
from typing import Any, Dict, List

_PART = re.compile(r"""\s*(?:'([^']*)'|"((?:[^"\\]|\\.)*)"|([A-Za-z0-9_-]+))\s*(\.|$)""")


def parse(text: str) -> Dict[str, Any]:
    """Nested dictionaries of tables, with strings, numbers, booleans, arrays; ValueError when it is more."""
    root: Dict[str, Any] = {}
    table = root
    lines = iter(text.splitlines())
    for line in lines:
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        if line.startswith("[["):  # arrays of tables: nothing that is asked for is in one
            table = {}
        elif line.startswith("["):
            table = _descend(root, _key(line[1 : line.rindex("]")]))
        else:
            name, _, raw = line.partition("=")
            while raw.count("[") > raw.count("]") and raw.strip().startswith("["):
                raw += next(lines, "]").strip()
            *above, last = _key(name)
            _descend(table, above)[last] = _value(raw.strip())
    return root


def _key(text: str) -> List[str]:
    parts, position = [], 0
    while position < len(text):
        match = _PART.match(text, position)
        if not match:
            raise ValueError(f"not a key: {text}")
        parts.append(next(group for group in match.groups()[:3] if group is not None))
        position = match.end()
    return parts


def _descend(table: Dict[str, Any], path: List[str]) -> Dict[str, Any]:
    for part in path:
        table = table.setdefault(part, {})
    return table


def _value(raw: str) -> Any:
    if raw in ("true", "false"):
        return raw == "true"
    if raw.startswith(("'''", '"""')):
        raise ValueError("strings of several lines are not supported")
    if raw.startswith("{"):
        return {}  # inline tables: empty ones are all that containerd prints
    try:
        return ast.literal_eval(re.sub(r"\btrue\b", "True", re.sub(r"\bfalse\b", "False", raw)))
    except (SyntaxError, ValueError) as error:
        raise ValueError(f"not a value: {raw}") from error


def lookup(tree: Dict[str, Any], path: List[str]) -> Any:
    """What stands at a path of keys; None when there is nothing."""
    found: Any = tree
    for part in path:
        if not isinstance(found, dict) or part not in found:
            return None
        found = found[part]
    return found
