"""What Kubernetes would drop or refuse in a queue's configuration: unknown fields, values of another kind. Pure.

The agent sends what it is given: the API drops an unknown field with a warning that nobody reads, and refuses a value
of another kind for every job. The fields are those of fields.json, which tools/launch_fields.py writes.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from bootstrap.errors import Problem
from bootstrap.launch.queue_file import Place, QueueConfig
from bootstrap.launch.template_variables import USE

UNKNOWN, INVALID = "launch-field-unknown", "launch-field-invalid"
# Beside an object's own fields the agent reads these.
_AGENT = dict.fromkeys(("namespace", "context", "configFile", "group", "version"), "text")
_BATCH = frozenset({"", "batch/v1", "batch/v1beta1"})
_CLOSE = 0.75
_DEEP = 4  # how far below a misplaced field is looked for: spec.template.spec.containers of a Job
_QUANTITY = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+|[numkMGTPE]|[KMGTPE]i)?")
_FORMS: Mapping[str, tuple[str, str]] = {
    "text": ("text", "put it into quotes"),
    "integer": ("a whole number", "write a whole number, without quotes"),
    "number": ("a number", "write a number, without quotes"),
    "truth": ("true or false", "write true or false, without quotes"),
    "quantity": ("a quantity", "write it as 4, 500m or 16Gi"),
    "[": ("a list", "begin each entry with `- `"),
    "{": ("a mapping", "write `NAME: VALUE`"),
    "": ("a mapping", "write its fields below it"),
}


@dataclass(frozen=True, slots=True)
class _Spot:
    """A value's place, the type of the object there, and the objects that it is in, outermost first."""

    place: Place
    type: str
    above: tuple[_Spot, ...] = ()


@cache
def _file() -> Mapping[str, Any]:
    found: Mapping[str, Any] = json.loads(Path(__file__).with_name("fields.json").read_text(encoding="utf-8"))
    return found


def release() -> str:
    """The release of Kubernetes whose fields are known here, such as 1.36."""
    return f"1.{_file()['kubernetes']}"


def object_type(kubernetes: Mapping[str, Any]) -> str:
    """The type of the object that the agent makes; empty for one whose fields are not known here."""
    version, kind = str(kubernetes.get("apiVersion") or ""), str(kubernetes.get("kind") or "")
    if version in _BATCH:
        return "V1Job"
    if version.startswith("batch.volcano.sh/") and kind == "Job":
        return "VolcanoJob"
    return "PyTorchJob" if version.startswith("kubeflow.org/") and kind == "PyTorchJob" else ""


def unknown_fields(config: QueueConfig) -> Iterator[Problem]:
    """Each field that Kubernetes drops, with where it belongs as far as that can be told."""
    for spot, key in _strangers(config):
        guess, fix = _advice(spot, key)
        where = f"`{_dotted(spot.place)}`" if spot.place else "the object"
        words = f"`{key}` is no field of {where}, Kubernetes drops it{guess}"
        yield Problem(UNKNOWN, words, fix, at=config.at((*spot.place, key)))


def wrong_values(config: QueueConfig) -> Iterator[Problem]:
    """Each value that the API refuses, for it is of another kind than its field."""
    version, kind = config.kubernetes.get("apiVersion"), config.kubernetes.get("kind")
    said = str(version or "")
    if (said in _BATCH and kind not in (None, "", "Job")) or (said not in _BATCH and "/" not in said):
        words = f"`apiVersion: {said or 'batch/v1'}`, `kind: {kind}`: the agent makes Jobs and custom objects only"
        yield Problem(INVALID, words, "write a Job of batch/v1, or leave both out", at=config.at(("apiVersion",)))
        return
    for spot, form in _misfits(config):
        what, fix = _FORMS[form if form in _FORMS else form[0] if form[0] in "[{" else ""]
        yield Problem(INVALID, f"`{_dotted(spot.place)}` must be {what}", fix, at=config.at(spot.place))


def objects(config: QueueConfig) -> Iterator[tuple[str, Place, Mapping[str, Any]]]:
    """Each object whose type is known: the type, its place, its fields."""
    yield from ((spot.type, spot.place, value) for spot, value in _objects(config))


def _strangers(config: QueueConfig) -> Iterator[tuple[_Spot, str]]:
    for spot, value in _objects(config):
        yield from ((spot, str(key)) for key in value if str(key) not in _fields(spot) and not USE.search(str(key)))


def _objects(config: QueueConfig) -> Iterator[tuple[_Spot, Mapping[str, Any]]]:
    for spot, form, value in _values(config):
        if form in _file()["types"] and isinstance(value, Mapping):
            yield spot, value


def _misfits(config: QueueConfig) -> Iterator[tuple[_Spot, str]]:
    yield from ((spot, form) for spot, form, value in _values(config) if not _fits(value, form))


def _values(config: QueueConfig) -> Iterator[tuple[_Spot, str, Any]]:
    """Every value whose field is known, with its form; nothing below what is of another kind."""
    if root := object_type(config.kubernetes):
        yield from _below(config.kubernetes, root, _Spot((), root))


def _below(value: Any, form: str, spot: _Spot) -> Iterator[tuple[_Spot, str, Any]]:
    if value is None or (isinstance(value, str) and USE.search(value)):
        return  # as if it were not there; or only the server knows what it will be
    yield spot, form, value
    if not _fits(value, form) or form in _FORMS or form == "any":
        return
    if form[0] == "[":
        for index, item in enumerate(value):
            yield from _below(item, form[1:-1], _inner(spot, index, form[1:-1]))
    elif form[0] == "{":
        for key, item in value.items():
            yield from _below(item, form[1:-1], _inner(spot, str(key), form[1:-1]))
    else:
        fields = _fields(spot)
        for key, item in value.items():
            if str(key) in fields:
                yield from _below(item, fields[str(key)], _inner(spot, str(key), fields[str(key)]))


def _inner(spot: _Spot, key: str | int, form: str) -> _Spot:
    above = (*spot.above, spot) if spot.type in _file()["types"] else spot.above
    return _Spot((*spot.place, key), form, above)


def _fits(value: Any, form: str) -> bool:
    if form == "any":
        return True
    if form == "text":
        return isinstance(value, str)
    if form == "truth":
        return isinstance(value, bool)
    if form in ("integer", "number"):
        kinds = (int,) if form == "integer" else (int, float)
        return isinstance(value, kinds) and not isinstance(value, bool)
    if form == "quantity":
        number = isinstance(value, int | float) and not isinstance(value, bool)
        return number or (isinstance(value, str) and ("${" in value or bool(_QUANTITY.fullmatch(value))))
    return isinstance(value, list if form[0] == "[" else Mapping)


def _fields(spot: _Spot) -> Mapping[str, str]:
    own: Mapping[str, str] = _file()["types"].get(spot.type, {})
    return own if spot.place else {**own, **_AGENT}


def _advice(spot: _Spot, key: str) -> tuple[str, str]:
    """What an unknown field is likely to be, and what to do."""
    own = _fields(spot)
    if meant := _meant(key, list(own)):
        return f"; did you mean `{meant}`?", f"rename it to {meant}"
    for outer in reversed(spot.above):
        if key in _fields(outer):
            target = f"`{_dotted(outer.place)}`" if outer.place else "the top"
            return f"; it belongs to {target}", f"move it to {target}, beside `{spot.place[len(outer.place)]}`"
    if below := _path_to(spot.type, key):
        target = _dotted((*spot.place, *below))
        return f"; it belongs below `{target}`", f"move it below `{target}`"
    known = ", ".join(sorted(own)[:12]) + (" …" if len(own) > 12 else "")
    return "", f"remove it; known are {known}"


def _meant(key: str, known: list[str]) -> str:
    def plain(name: str) -> str:
        return re.sub(r"[_-]", "", name).lower()

    same = [name for name in known if plain(name) == plain(key)]
    return next(iter(same or difflib.get_close_matches(key, known, 1, _CLOSE)), "")


def _path_to(kind: str, key: str) -> tuple[str, ...]:
    """The shortest way from a type down to one that has the field; empty where there is none nearby."""
    waiting: list[tuple[str, tuple[str, ...]]] = [(kind, ())]
    seen = {kind}
    for name, path in waiting:
        fields: Mapping[str, str] = _file()["types"].get(name, {})
        if path and key in fields:
            return path
        for field, form in fields.items():
            inner = form.strip("[]{}")
            if inner not in seen and len(path) < _DEEP and not inner.endswith("Status"):
                seen.add(inner)
                waiting.append((inner, (*path, field)))
    return ()


def _dotted(place: Place) -> str:
    return "".join(f"[{each}]" if isinstance(each, int) else f".{each}" for each in place).lstrip(".")
