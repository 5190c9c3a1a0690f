"""A Node object as the walk reads it: what it offers, what keeps pods away, and who did that. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from bootstrap.verify.pods import GPU_RESOURCE

NVIDIA = "nvidia.com/"
_BAD_WHEN_TRUE = frozenset({"MemoryPressure", "DiskPressure", "PIDPressure", "NetworkUnavailable"})


@dataclass(frozen=True, slots=True)
class Taint:
    """A taint; `origin` is " (set by MANAGER at TIME)" where the API says who wrote the node's taints last."""

    key: str
    value: str
    effect: str
    origin: str = ""

    def __str__(self) -> str:
        return f"{self.key}{'=' * bool(self.value)}{self.value}:{self.effect}"


@dataclass(frozen=True, slots=True)
class NodeSeen:
    """`allocatable` and `capacity` hold NVIDIA's resources: name → count. `conditions` are the bad ones, in words."""

    name: str
    labels: Mapping[str, str] = field(default_factory=dict)
    taints: tuple[Taint, ...] = ()
    cordoned: str = ""  # who did it and when, where the node is; a space where nobody says
    allocatable: Mapping[str, int] = field(default_factory=dict)
    capacity: Mapping[str, int] = field(default_factory=dict)
    conditions: tuple[str, ...] = ()

    @property
    def resource(self) -> str:
        """What pods ask for to have a GPU: NVIDIA's own name, else the one of which there is most."""
        offered = {name: count for name, count in self.allocatable.items() if count}
        if GPU_RESOURCE in offered or not offered:
            return GPU_RESOURCE
        return max(sorted(offered), key=lambda name: offered[name])


def node_seen(item: Mapping[str, Any]) -> NodeSeen:
    """From the API's object, whose form was checked."""
    meta, spec, status = item["metadata"], item.get("spec") or {}, item.get("status") or {}
    taint_origin = _origin(meta, "f:taints")
    return NodeSeen(
        name=meta["name"],
        labels=meta.get("labels") or {},
        taints=tuple(
            Taint(t["key"], str(t.get("value") or ""), t["effect"], taint_origin) for t in spec.get("taints") or ()
        ),
        cordoned=(_origin(meta, "f:unschedulable") or " ") if spec.get("unschedulable") else "",
        allocatable=_gpus(status.get("allocatable")),
        capacity=_gpus(status.get("capacity")),
        conditions=tuple(
            f"{c['type']}: {c.get('message') or c.get('reason')}"
            for c in status.get("conditions") or ()
            if c["type"] in _BAD_WHEN_TRUE and c["status"] == "True"
        ),
    )


def _gpus(quantities: Mapping[str, Any] | None) -> dict[str, int]:
    found = {name: str(count) for name, count in (quantities or {}).items() if name.startswith(NVIDIA)}
    return {name: int(count) for name, count in found.items() if count.isascii() and count.isdecimal()}


def _origin(meta: Mapping[str, Any], field_name: str) -> str:
    """Who wrote a field of the spec last, in words; empty where the API does not say."""
    writers = []
    for entry in meta.get("managedFields") or []:
        fields = entry.get("fieldsV1") if isinstance(entry, Mapping) else None
        spec = fields.get("f:spec") if isinstance(fields, Mapping) else None
        if isinstance(spec, Mapping) and field_name in spec:
            writers.append((str(entry.get("time") or ""), str(entry.get("manager") or "?")))
    if not writers:
        return ""
    when, who = max(writers)
    return f" (set by {who[:64]}{' at ' * bool(when)}{when[:32]})"
