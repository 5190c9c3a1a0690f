"""JSON of a stranger: bounded, without what JSON does not have, and without text that cannot be written again.

Standard library only, Python 3.8 and later: this code runs on the hosts, and on the controller.
"""

from __future__ import annotations

import json
import re
from typing import Any, Mapping, Tuple, Type, Union

_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")
Kinds = Mapping[str, Union[Type[Any], Tuple[Type[Any], ...]]]


def parse(text: str) -> Any:
    """What the text says. ValueError with the reason: no JSON, NaN or Infinity, nested too deeply, half characters."""
    try:
        found = json.loads(text, parse_constant=_no_number)
        if _SURROGATE.search(text):  # a pair is a character, one alone is none
            json.dumps(found, ensure_ascii=False).encode()
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    except UnicodeEncodeError:
        raise ValueError("it holds half of a character") from None
    return found


def parse_object(text: str) -> dict[str, Any]:
    """The object that the text is. ValueError: of `parse`, or it is none."""
    found = parse(text)
    if not isinstance(found, dict):
        raise ValueError("it is no JSON object")
    return found


def read_bounded(stream: Any, limit: int) -> bytes:
    """All that a stream has to say. ValueError: that is more than `limit` bytes."""
    data: bytes = stream.read(limit + 1)
    if len(data) > limit:
        raise ValueError("it is longer than %d MiB" % (limit >> 20))
    return data


def unlike(value: Any, kinds: Kinds, lists: Kinds) -> str:
    """Where a document is not of its shape, as "metadata.labels"; empty when it is.

    `kinds` has the type of what stands under a key, wherever that is; `lists` the type of the entries of a list there.
    None stands for a value that is not there.
    """
    todo = [(value, "")]
    while todo:
        item, where = todo.pop()
        if isinstance(item, dict):
            for key, inner in item.items():
                place = "%s.%s" % (where, key) if where else str(key)
                if inner is not None and key in kinds and not _is(inner, kinds[key]):
                    return place[-200:]
                if isinstance(inner, list) and key in lists and not all(_is(one, lists[key]) for one in inner):
                    return place[-200:]
                todo.append((inner, place[-200:]))
        elif isinstance(item, list):
            todo += [(inner, where) for inner in item]
    return ""


def _is(value: Any, kind: Any) -> bool:
    kinds = kind if isinstance(kind, tuple) else (kind,)
    return isinstance(value, kinds) and (not isinstance(value, bool) or bool in kinds)


def _no_number(word: str) -> None:
    raise ValueError("%s is no number" % word)
