"""What Ansible's errors say, and where. Imported by resolve_child only (it loads Ansible)."""

from __future__ import annotations

import re
import traceback
from collections.abc import Collection, Iterator

from ansible._internal._datatag._tags import Origin

# What Python calls a value's type, as some of Ansible's sentences have it.
_CLASS = re.compile(r"[\"']?<class '(?:[\w.]*\.)?_?(?:AnsibleTagged|AnsibleLazyTemplate|Ansible)?(\w+)'>[\"']?")
_KINDS = {
    "list": "a list",
    "dict": "a mapping",
    "mapping": "a mapping",
    "str": "text",
    "unicode": "text",
    "int": "a number",
    "float": "a number",
    "bool": "true or false",
    "nonetype": "nothing",
}
_MOST_WORDS = 400  # characters of a sentence: a template's error repeats the template


def origin_of(error: BaseException | None) -> str | None:
    """The most exact place that an error or one of its causes names."""
    found = None
    for cause in causes(error):
        where = getattr(cause, "obj", None)
        origin = where if isinstance(where, Origin) else Origin.get_tag(where) if where is not None else None
        if origin is not None and origin.path:
            found = f"{origin.path}:{origin.line_num}" if origin.line_num else found or origin.path
    return found


def ini_line(error: BaseException) -> int | None:
    """The line that Ansible's INI parser stopped at: its error has lost it, but its stack frame has not."""
    for cause in causes(error):
        for frame, _ in traceback.walk_tb(cause.__traceback__):
            lines, line, pending = (frame.f_locals.get(name) for name in ("lines", "line", "decl"))
            if frame.f_code.co_name != "_parse" or not isinstance(lines, list):
                continue
            if isinstance(pending, dict):
                return int(pending["line"])
            return next((number for number, text in enumerate(lines, start=1) if text.strip() == line), None)
    return None


def causes(error: BaseException | None) -> Iterator[BaseException]:
    """The error, and what it was raised from."""
    while error is not None:
        yield error
        error = error.__cause__


def words(error: BaseException) -> str:
    """What the innermost cause says, in one line."""
    last = [*causes(error)][-1]
    text = str(getattr(last, "_original_message", None) or getattr(last, "message", None) or last)
    text = _CLASS.sub(lambda found: _KINDS.get(found[1].lower(), "something else"), " ".join(text.split()))
    return text if len(text) <= _MOST_WORDS else text[: _MOST_WORDS - 3] + "..."


def of_the_right_parser(failures: list[BaseException], yaml_files: Collection[str]) -> list[BaseException]:
    """Each file is tried as YAML and then as INI: keep what the parser for its form says."""
    kept: dict[str, BaseException] = {}
    for failure in failures:
        place = (origin_of(failure) or "").rsplit(":", 1)[0]
        if place in yaml_files:
            kept.setdefault(place, failure)
        else:
            kept[place] = failure
    return list(kept.values())
