"""Whether a value that a stranger names could be one of a role's variable: by its argument spec, without Ansible.

Nothing is converted, unlike in an inventory: what a receipt holds was converted before it was written.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from bootstrap.inventory.schema import Variable
from bootstrap.inventory.validate import setting_complaints

# The deepest setting of any role has four levels (kubeadm_kubelet_config).
DEEPEST = 16
# An integer of JSON that every program reads alike (RFC 8259 says 2**53; sizes in bytes go beyond that).
BIGGEST = 2**63 - 1
# A bundle of certificate authorities is the longest text there is: the whole of Mozilla's has 220 KiB.
LONGEST = 1 << 20
_KINDS: Mapping[str, type | tuple[type, ...]] = {
    "str": str,
    "path": str,
    "bool": bool,
    "int": int,
    "float": (int, float),
    "list": list,
    "dict": dict,
}


def misfit(variable: Variable, value: Any) -> str:
    """Why the value is none of the variable's: type, choices, pattern, range, format; empty when it is one.

    The role's default is always one, whatever its patterns say of what users may set.
    """
    if value is None and variable.default is None:
        return ""
    return _unlike(variable.spec, value, 0) or next(_broken_rules(variable, value), "")


def _broken_rules(variable: Variable, value: Any) -> Any:
    return iter(()) if value == variable.default else setting_complaints(variable.name, value)


def _unlike(spec: Mapping[str, Any], value: Any, depth: int) -> str:
    kind = str(spec.get("type", "str"))
    wanted = _KINDS.get(kind)
    if wanted is not None and (not isinstance(value, wanted) or (isinstance(value, bool) and kind != "bool")):
        return f"is not of type {kind}"
    if complaint := _unbounded(value, depth):
        return complaint
    choices = spec.get("choices")
    items = value if isinstance(value, list) else [value]
    if choices is not None and any(item not in choices for item in items):
        return f"is none of {', '.join(map(str, choices))}"
    if isinstance(value, list) and spec.get("elements"):
        inner = {"type": spec["elements"], "options": spec.get("options")}
        return next(filter(None, (_unlike(inner, item, depth + 1) for item in value)), "")
    if isinstance(value, dict) and spec.get("options"):
        return _unlike_options(spec["options"], value, depth)
    return ""


def _unlike_options(options: Mapping[str, Any], value: Mapping[str, Any], depth: int) -> str:
    for key, item in value.items():
        if key not in options:
            return f"has a key that it cannot have: {key[:40]!r}"
        if item is not None and (complaint := _unlike(options[key] or {}, item, depth + 1)):
            return f".{key} {complaint}"
    return ""


def _unbounded(value: Any, depth: int) -> str:
    """What no setting is: deep, huge, not a number, or text with control characters."""
    if depth > DEEPEST:
        return "is nested too deeply"
    if isinstance(value, str):
        return "" if is_text(value) else "is no text"
    if isinstance(value, float):
        return "" if math.isfinite(value) else "is not a number"
    if isinstance(value, int):
        return "" if abs(value) <= BIGGEST else "is too large a number"
    if isinstance(value, dict):
        value = [*value, *value.values()]
    if isinstance(value, list):
        return next(filter(None, (_unbounded(item, depth + 1) for item in value)), "")
    return ""


def is_text(value: str) -> bool:
    """Whether it is text that may be shown and written: of a bounded length, without control characters."""
    return len(value) <= LONGEST and (value.isprintable() or all(c.isprintable() or c in "\n\r\t" for c in value))
