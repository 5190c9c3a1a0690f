"""Text of others before it is shown or written."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootstrap.printable import LONGEST_LINE, one_line, printable


@given(st.text())
def test_nothing_that_steers_a_terminal_is_left(text: str) -> None:
    kept = printable(text)
    assert all(c in "\n\t" or unicodedata.category(c) not in {"Cc", "Cf", "Cs", "Cn"} for c in kept)
    assert printable(kept) == kept
    kept.encode("utf-8")


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x1b]0;title\x07after", "after"),
        ("\x1b]8;;http://x/\x1b\\link", "link"),
        ("\x9b2Jx", "x"),
        ("a\r\nb\rc\u2028d", "a\nb\nc\nd"),
        ("\u202eabc", "abc"),
        ("\ud800x", "x"),
        ("✓ 日本 é", "✓ 日本 é"),
    ],
)
def test_sequences_go_as_a_whole(text: str, kept: str) -> None:
    assert printable(text) == kept


def test_a_line_has_an_end() -> None:
    text = printable("a\n" + "b" * (LONGEST_LINE + 5) + "\nc")
    assert text.splitlines()[1] == "b" * LONGEST_LINE + "… (5 more characters)"
    assert one_line("a\n\n  b", 10) == "a b"
    assert one_line("abcdef", 4) == "abc…"
