"""Seeded changes of documents and texts: the same seed gives the same cases on every machine and Python."""

from __future__ import annotations

import copy
import random
from collections.abc import Iterator
from typing import Any

# What a value may become: every JSON type, the edges of numbers, texts that other programs act upon.
HOSTILE: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2**31, 2**63, -(2**63), 10**400, 1.5, float("inf"), float("-inf"), float("nan"),
    "", " ", "0", "-1", "x" * 70_000, "\x00", "\x1b[2J\x1b]0;t\x07", "\u202e\ufeff", "\ud800", "a\nb\r\nc",
    "../../etc/passwd", "-oProxyCommand=true", "--help", "; true", "$(true)", "`true`", "%s%n", "{{ 7*7 }}",
    "{% raw %}", "#jinja2: variable_start_string:'[%', variable_end_string:'%]'\n[% 7*7 %]", "!unsafe x",
    "sha256:", "scrypt:", "scrypt:zz:00", "10.0.0.256", "::1%eth0", "fe80::/200", "999999999999", "0x1g",
    "1.2.3-rc1+x", "\uff12\uff10", "9" * 5000, "tru\u00e9",
    [], {}, [[]], [None], [{}], {"": ""}, {"a": {"b": [1]}}, [1, "a", None], {"digest": 5}, {"value": {}},
)  # fmt: skip


def document_mutations(document: Any, seed: int, count: int) -> Iterator[tuple[str, Any]]:
    """`count` copies of a JSON document, each with one place changed: a value, a key, or a whole branch.

    Yields where and how ("a.b.0 = ''"), and the copy.
    """
    chance = random.Random(seed)  # noqa: S311 - a corpus, not a secret
    places = list(_places(document))
    for _ in range(count):
        changed = copy.deepcopy(document)
        yield _change(changed, chance.choice(places), chance)


def text_mutations(text: str, seed: int, count: int) -> Iterator[str]:
    """`count` copies of a text, each with one to three edits: cut, doubled, reversed, or made hostile."""
    chance = random.Random(seed)  # noqa: S311 - a corpus, not a secret
    texts = [value for value in HOSTILE if isinstance(value, str) and len(value) < 200]
    pieces = [
        *texts,
        "\t",
        ":",
        "=",
        "[",
        "]",
        "{",
        "}",
        "- ",
        "'",
        '"',
        "\\",
        "#",
        "!vault",
        "&a",
        "*a",
        "<<: *a",
        "?",
        "|",
        ",",
    ]
    for _ in range(count):
        changed = text
        for _ in range(chance.randint(1, 3)):
            at, end = sorted((chance.randint(0, len(changed)), chance.randint(0, len(changed))))
            end = min(end, at + chance.choice((0, 1, 1, 4, 40)))
            middle = chance.choice(("", chance.choice(pieces), changed[at:end] * 2, changed[at:end][::-1]))
            changed = changed[:at] + middle + changed[end:]
        yield changed


def _places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if path:
        yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield from _places(item, (*path, key))


def _change(document: Any, path: tuple[Any, ...], chance: random.Random) -> tuple[str, Any]:
    parent = document
    for key in path[:-1]:
        parent = parent[key]
    last, words = path[-1], ".".join(map(str, path))
    kind = chance.random()
    if kind < 0.08:
        del parent[last]
        return f"{words} is gone", document
    if kind < 0.14 and isinstance(parent, dict):
        name = chance.choice([value for value in HOSTILE if isinstance(value, str)])
        parent[name] = parent.pop(last)
        return f"{words} is called {name[:40]!r}", document
    parent[last] = copy.deepcopy(chance.choice(HOSTILE))
    return f"{words} = {str(parent[last])[:40]!r}", document
