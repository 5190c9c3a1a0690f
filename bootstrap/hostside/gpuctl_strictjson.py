"""JSON of a stranger: bounded, without what JSON does not have, and without text that cannot be written again.

Standard library only, Python 3.8 and later: this code runs on the hosts, and on the controller.
"""

from __future__ import annotations

import json
import re
import time
from typing import Any, Mapping

_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")
_PIECE = 1 << 16


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


def read_bounded(stream: Any, limit: int, seconds: float) -> bytes:
    """All that a server has to say. ValueError: it is longer than `limit` bytes, or takes longer than `seconds`."""
    end, data = time.monotonic() + seconds, bytearray()
    while True:
        piece = stream.read1(_PIECE)
        data += piece
        if not piece:
            return bytes(data)
        if len(data) > limit:
            raise ValueError("its answer is longer than %d MiB" % (limit >> 20))
        if time.monotonic() > end:
            raise ValueError("its answer takes longer than %d s" % seconds)


def misshapen(shape: Any, value: Any, where: str = "") -> str:
    """Where a document has not its shape, as "items.metadata.name"; empty when it has.

    A shape is a type, or several; a map of keys to shapes, with a `!` behind a key that must be there; a list with the
    shape of its entries; or a function that says whether a value fits. A null counts as not there, and is taken out.
    """
    if isinstance(shape, dict):
        return _misshapen_object(shape, value, where)
    if isinstance(shape, list):
        if not isinstance(value, list):
            return where
        return next(filter(None, (misshapen(shape[0], item, where) for item in value)), "")
    if isinstance(shape, (type, tuple)):
        kinds = shape if isinstance(shape, tuple) else (shape,)
        return "" if isinstance(value, kinds) and (not isinstance(value, bool) or bool in kinds) else where
    return "" if shape(value) else where


def _misshapen_object(shape: Mapping[str, Any], value: Any, where: str) -> str:
    if not isinstance(value, dict):
        return where or "all of it"
    for key, inner in shape.items():
        name = key.rstrip("!")
        place = "%s.%s" % (where, name) if where else name
        if value.get(name) is None:
            value.pop(name, None)
            if key != name:
                return place
        else:
            wrong = misshapen(inner, value[name], place)
            if wrong:
                return wrong
    return ""


def _no_number(word: str) -> None:
    raise ValueError("%s is no number" % word)
