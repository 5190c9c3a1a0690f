"""Single keys of a JSON file that others own as well: set ours, leave theirs, take ours away again.

A key is named by its path from the top, such as ("runtimes", "nvidia", "path"). Pure: no file is read or written.
Standard library only, Python 3.8 and later: this code runs on the hosts.
"""

from __future__ import annotations

import copy
import json
import re
from typing import Any, Dict, Iterator, List, Mapping, NamedTuple, Sequence, Tuple

KeyPath = Tuple[str, ...]
MISSING = object()


class ConflictError(Exception):
    """Somebody else gave a key that is needed another value."""

    def __init__(self, path: KeyPath, theirs: Any, ours: Any) -> None:
        self.path = path
        self.theirs = theirs
        self.ours = ours
        super().__init__(f"{name_of(path)} is {shown(theirs)}, needed is {shown(ours)}")


class Merged(NamedTuple):
    """The new content; the keys that differ from before; and how each key that is now ours was before us."""

    tree: Dict[str, Any]
    changed: List[KeyPath]
    owned: Dict[KeyPath, Mapping[str, Any]]


def load(text: str) -> Dict[str, Any]:
    """The object in the text, an empty one for no text. ValueError says what is wrong with it."""
    if not text.strip():
        return {}
    found = json.loads(text, object_pairs_hook=_once)
    if not isinstance(found, dict):
        raise ValueError("it holds no JSON object")
    return found


def _once(pairs: Sequence[Tuple[str, Any]]) -> Dict[str, Any]:
    found: Dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError("it has the key %s twice" % json.dumps(key))
        found[key] = value
    return found


def dump(tree: Mapping[str, Any], like: str = "") -> str:
    """The object as text, indented as the earlier text was."""
    found = re.search(r"\n([ \t]+)\S", like)
    return json.dumps(tree, indent=found.group(1) if found else 2, ensure_ascii=False) + "\n"


def leaves(tree: Mapping[str, Any], prefix: KeyPath = ()) -> Dict[KeyPath, Any]:
    """Every value that is no object with keys, by its path; lists are values."""
    found: Dict[KeyPath, Any] = {}
    for key, value in tree.items():
        path = (*prefix, str(key))
        found.update(leaves(value, path) if isinstance(value, dict) and value else {path: value})
    return found


def lookup(tree: Any, path: KeyPath) -> Any:
    """The value at the path; MISSING where there is none."""
    for key in path:
        if not isinstance(tree, dict) or key not in tree:
            return MISSING
        tree = tree[key]
    return tree


def same(one: Any, other: Any) -> bool:
    """Whether two values are the same JSON: true is not 1."""
    if one is MISSING or other is MISSING:
        return one is other
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)


def name_of(path: KeyPath) -> str:
    """The path as people write it."""
    return ".".join(path)


def shown(value: Any) -> str:
    """A value for a sentence."""
    return "not set" if value is MISSING else json.dumps(value, ensure_ascii=False)


def merge(
    tree: Mapping[str, Any],
    keys: Mapping[str, Any],
    defaults: Sequence[Mapping[str, Any]],
    owned: Mapping[KeyPath, Mapping[str, Any]],
) -> Merged:
    """Have `keys` in the object, and each of `defaults` where nobody has said anything else about its keys.

    `owned` are the keys that an earlier call set, as its `Merged` had them: they follow the new values, and those that
    are wanted no more go back to what they were. Raises ConflictError.
    """
    before = dict(tree)
    wanted = leaves(keys)
    for group in defaults:
        more = leaves(group)
        if all(_free(before, wanted, owned, path, value) for path, value in more.items()):
            wanted.update(more)
    result, _ = without(tree, {path: how for path, how in owned.items() if path not in wanted})
    now_owned = {path: how for path, how in owned.items() if path in wanted}
    for path, value in wanted.items():
        if path not in owned:
            _refuse_conflict(result, path, value)
            now_owned[path] = _how(result, before, path)
        now_owned[path] = {**now_owned[path], "set": value}
    for path, value in wanted.items():
        _set(result, path, value)
    paths = {*leaves(before), *leaves(result)}
    changed = sorted(path for path in paths if not same(lookup(before, path), lookup(result, path)))
    return Merged(result, changed, now_owned)


def _free(
    tree: Any, wanted: Mapping[KeyPath, Any], owned: Mapping[KeyPath, Mapping[str, Any]], path: KeyPath, value: Any
) -> bool:
    """Whether a default may be set: nobody has the key, or it is ours, or it says the same."""
    if path in wanted:
        return same(wanted[path], value)
    if any(path[: len(other)] == other or other[: len(path)] == path for other in wanted):
        return False
    if path in owned:
        return True
    try:
        _refuse_conflict(tree, path, value)
    except ConflictError:
        return False
    return True


def _refuse_conflict(tree: Any, path: KeyPath, value: Any) -> None:
    for depth in range(1, len(path)):
        above = lookup(tree, path[:depth])
        if above is not MISSING and not isinstance(above, dict):
            raise ConflictError(path[:depth], above, _nested(path[depth:], value))
    now = lookup(tree, path)
    if now is MISSING or same(now, value) or (value == {} and isinstance(now, dict)):
        return
    raise ConflictError(path, now, value)


def _nested(path: KeyPath, value: Any) -> Any:
    for key in reversed(path):
        value = {key: value}
    return value


def _how(tree: Mapping[str, Any], before: Mapping[str, Any], path: KeyPath) -> Dict[str, Any]:
    """How the key was: its value, or that it was absent, and how many of the objects above it were there."""
    now = lookup(tree, path)
    if now is not MISSING:
        return {"value": now}
    there = [depth for depth in range(len(path)) if isinstance(lookup(before, path[:depth]), dict)]
    return {"absent": True, "there": max(there)}


def _set(tree: Dict[str, Any], path: KeyPath, value: Any) -> None:
    for key in path[:-1]:
        below = tree.get(key)
        if not isinstance(below, dict):
            below = tree[key] = {}
        tree = below
    if not (value == {} and isinstance(tree.get(path[-1]), dict)):
        tree[path[-1]] = value


def without(
    tree: Mapping[str, Any], owned: Mapping[KeyPath, Mapping[str, Any]]
) -> Tuple[Dict[str, Any], List[KeyPath]]:
    """The object with these keys as they were before us, and those that changed.

    All other keys stay, and a key of ours that somebody has given another value since is theirs by now.
    """
    result: Dict[str, Any] = copy.deepcopy(dict(tree))
    changed = []
    for path, how in owned.items():
        now = lookup(result, path)
        if "set" in how and now is not MISSING and not same(now, how["set"]):
            continue
        if "value" in how:
            if not same(now, how["value"]):
                changed.append(path)
                _set(result, path, how["value"])
        elif now is not MISSING:
            changed.append(path)
            above = lookup(result, path[:-1])
            del above[path[-1]]
    for path, how in owned.items():
        for depth in _made(path, how):
            if lookup(result, path[:depth]) == {}:
                del lookup(result, path[: depth - 1])[path[depth - 1]]
    return result, changed


def _made(path: KeyPath, how: Mapping[str, Any]) -> Iterator[int]:
    """Depths of the objects above the key that came with it, the innermost first."""
    if how.get("absent"):
        yield from range(len(path) - 1, int(how.get("there", 0)), -1)
