"""A receipt as a host, or the cluster, shows it: parsed by the role's own spec, or damaged and then never used.

What stands in a receipt is data of a stranger: a version that stays pinned, an argument that was recorded, the GPUs
that a host had. Each part is checked here, once, before anything else sees it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from bootstrap.hostside.gpuctl_receipts import BEGUN, COMPLETE, SCHEMA
from bootstrap.inventory.canonical import value_digest
from bootstrap.inventory.conform import is_text, misfit
from bootstrap.inventory.schema import Component, Variable, components, options_of
from bootstrap.probe.forms import DIGEST, MACHINE_ID, PACKAGE, PCI_ADDRESS, TIME, VERSION

DAMAGED = "damaged"
_SCRYPT = re.compile(r"scrypt:(?:[0-9a-f]{2}){8,64}:[0-9a-f]{64}")
# group/version/Kind/namespace/name, the group and the namespace perhaps empty (hostside/gpuctl_kube: object_id).
_OBJECT = re.compile(
    r"(?:[a-z0-9.-]{1,253}/)?v[0-9a-z]{1,30}/[A-Z][A-Za-z0-9]{0,62}/[a-z0-9-]{0,63}/[A-Za-z0-9][A-Za-z0-9.:-]{0,252}"
)
_MANY = 4096  # entries of one map: a host has some twenty files and packages to a component


@dataclass(frozen=True, slots=True)
class Receipt(Mapping[str, Any]):
    """What one component left on a host or in the cluster; read by the document's own keys.

    Its keys are schema, component, state (begun, complete, damaged), why (of a damaged one), machine_id, cluster_id,
    revision, arguments, installed, evidence, versions, gpus, objects, began_at and completed_at: those that the
    document has, each of its type. A damaged one has no more than schema, component, state and why.
    """

    content: Mapping[str, Any]

    def __getitem__(self, key: str) -> Any:
        return self.content[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self.content)

    def __len__(self) -> int:
        return len(self.content)


class _DamagedError(ValueError):
    """Says which part does not fit."""


def read_receipts(found: Any, scope: str) -> dict[str, Receipt]:
    """Component → receipt, of the components that belong there: `scope` is host or cluster. Others are ignored."""
    if not isinstance(found, Mapping):
        return {}
    known = _by_scope(scope)
    return {name: read_receipt(known[name], raw) for name, raw in found.items() if name in known}


def component_names(scope: str) -> Callable[[Any], str | None]:
    """A reader of the names of the components of a scope."""
    return lambda name: name if isinstance(name, str) and name in _by_scope(scope) else None


@cache
def _by_scope(scope: str) -> Mapping[str, Component]:
    return {component.name: component for component in components() if component.scope == scope}


def read_receipt(component: Component, raw: Any) -> Receipt:
    """One receipt; state "damaged", with the reason under "why", when any part of it does not fit."""
    head = {"schema": SCHEMA, "component": component.name}
    try:
        if not isinstance(raw, Mapping) or raw.get("component") != component.name:
            raise _DamagedError("it is not one of this component")
        if raw.get("state") == DAMAGED:
            raise _DamagedError(_why(raw.get("why")))
        schema = raw.get("schema")
        if isinstance(schema, int) and not isinstance(schema, bool) and SCHEMA < schema < 1000:
            return Receipt({**head, "schema": schema, "state": DAMAGED, "why": "it is of a newer form"})
        return Receipt({**head, **dict(_parts(component, raw))})
    except _DamagedError as error:
        return Receipt({**head, "state": DAMAGED, "why": str(error)})


def _why(said: Any) -> str:
    return said if isinstance(said, str) and len(said) < 400 and is_text(said) else "it cannot be parsed"


def _parts(component: Component, raw: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    if isinstance(raw.get("schema"), bool) or raw.get("schema") != SCHEMA:
        raise _DamagedError("its form has no number")
    if raw.get("state") not in (BEGUN, COMPLETE):
        raise _DamagedError("state is neither begun nor complete")
    yield "state", raw["state"]
    options = _options(component.name)
    for key, read in _PARTS.items():
        if raw.get(key) is not None:
            yield key, read(key, raw[key])
    for key in ("arguments", "installed"):
        if raw.get(key) is not None:
            yield key, _arguments(key, raw[key], options)


@cache
def _options(component: str) -> Mapping[str, Variable]:
    return {option.name: option for option in options_of(component)}


def _arguments(key: str, raw: Any, options: Mapping[str, Variable]) -> dict[str, dict[str, Any]]:
    """The arguments that the role has; others, of an older or a newer role, are ignored."""
    return {name: _argument(options[name], entry) for name, entry in _map(key, raw).items() if name in options}


def _argument(option: Variable, raw: Any) -> dict[str, Any]:
    digest = raw.get("digest") if isinstance(raw, Mapping) else None
    if not isinstance(digest, str) or not (DIGEST.fullmatch(digest) or _SCRYPT.fullmatch(digest)):
        raise _DamagedError(f"the digest of {option.name} is none")
    if "value" not in raw or option.no_log:  # what is secret now is not taken from there
        return {"digest": digest}
    value = raw["value"]
    if complaint := misfit(option, value):
        raise _DamagedError(f"{option.name} {complaint[:200]}")
    if value_digest(value) != digest:
        raise _DamagedError(f"the digest of {option.name} is not that of its value")
    return {"digest": digest, "value": value}


def _map(key: str, raw: Any) -> Mapping[str, Any]:
    if not isinstance(raw, Mapping) or len(raw) > _MANY:
        raise _DamagedError(f"{key} is no map")
    return raw


def _form(form: re.Pattern[str]) -> Callable[[str, Any], str]:
    def read(key: str, raw: Any) -> str:
        if not isinstance(raw, str) or not form.fullmatch(raw):
            raise _DamagedError(f"{key} has no such form")
        return raw

    return read


def _texts(key: str, raw: Any) -> dict[str, str]:
    found = _map(key, raw)
    if not all(isinstance(text, str) and is_text(name) and is_text(text) for name, text in found.items()):
        raise _DamagedError(f"{key} holds what is no text")
    return dict(found)


def _forms(names: re.Pattern[str], values: re.Pattern[str]) -> Callable[[str, Any], dict[str, str]]:
    def read(key: str, raw: Any) -> dict[str, str]:
        found = _texts(key, raw)
        if not all(names.fullmatch(name) and values.fullmatch(value) for name, value in found.items()):
            raise _DamagedError(f"{key} has an entry of no such form")
        return found

    return read


def _gpus(key: str, raw: Any) -> list[str]:
    if not isinstance(raw, (list, tuple)) or len(raw) > _MANY:
        raise _DamagedError(f"{key} is no list")
    return [_form(PCI_ADDRESS)(key, address) for address in raw]


def _revision(key: str, raw: Any) -> int:
    if not isinstance(raw, int) or isinstance(raw, bool) or not 0 < raw < 1_000_000:
        raise _DamagedError(f"{key} is no number of one")
    return raw


_PARTS: Mapping[str, Callable[[str, Any], Any]] = {
    "machine_id": _form(MACHINE_ID),
    "cluster_id": _form(DIGEST),
    "revision": _revision,
    "evidence": _texts,
    "versions": _forms(PACKAGE, VERSION),
    "gpus": _gpus,
    "objects": _forms(_OBJECT, re.compile(r"(?:sha256:[0-9a-f]{64})?")),
    "began_at": _form(TIME),
    "completed_at": _form(TIME),
}
