"""Columns, durations, sizes; and that nothing a host says can write to the terminal."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootstrap.ui.layout import ago, ascii_only, brief, clip, clock, columns, count, size, width


@pytest.mark.parametrize(
    ("given_value", "said"), [(0, "0:00"), (41.9, "0:41"), (93, "1:33"), (3723, "1:02:03"), (-1, "0:00")]
)
def test_clock(given_value: float, said: str) -> None:
    assert clock(given_value) == said


@pytest.mark.parametrize(("seconds", "said"), [(0.42, "0.4 s"), (9.94, "9.9 s"), (11.2, "11 s"), (93.4, "1:33")])
def test_brief(seconds: float, said: str) -> None:
    assert brief(seconds) == said


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(5, "just now"), (250, "4 min ago"), (7300, "2 h ago"), (86400, "1 day ago"), (400000, "4 days ago")],
)
def test_ago(seconds: float, said: str) -> None:
    assert ago(seconds) == said


@pytest.mark.parametrize(
    ("number", "said"),
    [(512, "512 B"), (1536, "1.5 KiB"), (24 * 1024**3, "24 GiB"), (212 * 1024**2, "212 MiB"), (3 * 1024**4, "3 TiB")],
)
def test_size(number: int, said: str) -> None:
    assert size(number) == said


def test_count() -> None:
    assert [count(n, "host") for n in (0, 1, 2)] == ["0 hosts", "1 host", "2 hosts"]


def test_columns_align_wide_and_combining_signs() -> None:
    assert columns([("日本", "x"), ("e\u0301", "y"), ("abc",)]) == ["  日本   x", "  e\u0301      y", "  abc"]


@given(st.text(), st.integers(min_value=0, max_value=40))
def test_clip_keeps_to_its_room(text: str, room: int) -> None:
    assert width(clip(text, room)) <= max(room, 0)


@given(st.text(alphabet="✓✗·▸×→…abc", max_size=20))
def test_ascii_form_takes_the_same_room(text: str) -> None:
    assert ascii_only(text).isascii()
    assert len(ascii_only(text)) == len(text)
