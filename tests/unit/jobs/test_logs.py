"""What is shown of a pod's log: each line once, whatever a program writes into it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootstrap.jobs.logs import PodLog

T = "2026-11-23T10:00:0"


class Kubelet:
    """It has so many of the lines by now, and gives those of a second and later ones."""

    def __init__(self, lines: list[str]) -> None:
        self.lines, self.there = lines, 0
        self.asked: list[str] = []

    def get(self, path: str, query: Mapping[str, str] | None = None) -> dict[str, Any] | None:
        raise AssertionError(path, query)

    def text(self, path: str, query: Mapping[str, str] | None = None) -> str:
        del path
        since = (query or {}).get("sinceTime", "")
        self.asked.append(since)
        return "".join(f"{line}\n" for line in self.lines[: self.there] if line[:19] >= since[:19])


def shown(lines: list[str], *ends: int) -> list[str]:
    """What is shown of lines with their stamps, when so many of them are there at each look."""
    kubelet = Kubelet(lines)
    log = PodLog(kubelet, "default", "train-0")
    found: list[str] = []
    for kubelet.there in (*sorted(ends), len(lines)):
        found += log.new_lines()
    assert all(since[:19] in {line[:19] for line in lines} for since in kubelet.asked if since)
    return found


def test_a_progress_bar_is_shown_as_it_stands_and_what_follows_is_read() -> None:
    bar = f"{T}1.000000000Z step\r30/469 [==>]\r469/469 [====]\r"
    assert shown([bar, f"{T}2.000000000Z done"], 1) == ["469/469 [====]", "done"]


@pytest.mark.parametrize("sign", ["\x0b", "\x0c", "\x1c", "\x85", "\u2028", "\u2029"])
def test_other_ends_of_lines_are_none(sign: str) -> None:
    text = f"one{sign}9999 two"
    assert shown([f"{T}1.000000000Z {text}", f"{T}2.000000000Z three"], 1) == [text, "three"]


def test_lines_of_one_moment_are_all_shown() -> None:
    assert shown([f"{T}1.5Z one", f"{T}1.5Z two"]) == ["one", "two"]


def test_lines_that_are_not_in_order_are_shown_once() -> None:
    assert shown([f"{T}1.2Z one", f"{T}1.1Z two", f"{T}1.3Z three"], 2) == ["one", "two", "three"]


@pytest.mark.parametrize(
    "stamps",
    [
        (f"{T}1.1Z", f"{T}1.15Z", f"{T}1.2Z"),
        (f"{T}1Z", f"{T}1.5Z", f"{T}2Z"),
        ("2026-10-25T02:59:59.9+02:00", "2026-10-25T02:00:00.1+01:00", "2026-10-25T02:00:01+01:00"),
    ],
)
def test_stamps_are_compared_as_times(stamps: tuple[str, str, str]) -> None:
    kubelet = Kubelet([f"{stamp} {number}" for number, stamp in enumerate(stamps)])
    kubelet.text = lambda *_: "".join(f"{line}\n" for line in kubelet.lines[: kubelet.there])  # type: ignore[method-assign]
    log = PodLog(kubelet, "default", "train-0")
    found: list[str] = []
    for kubelet.there in range(4):
        found += log.new_lines()
    assert found == ["0", "1", "2"]


@pytest.mark.parametrize(
    "line", ["unable to retrieve container logs for containerd://0", "469/469 [=]", "2026-13-40T10:00:00Z x", "2026 x"]
)
def test_a_line_without_a_stamp_is_no_line_of_the_program(line: str) -> None:
    assert shown([f"{T}1Z one", line, f"{T}2Z two"], 2) == ["one", "two"]


WORDS = st.text(st.one_of(st.sampled_from("\r\x0b\x0c\x1c\x85\u2028\u2029 0Z"), st.characters(exclude_characters="\n")))


@given(st.lists(WORDS, max_size=8), st.lists(st.integers(0, 8), max_size=4))
def test_each_line_is_shown_once_whatever_is_in_it(texts: list[str], ends: list[int]) -> None:
    lines = [f"{T}{number // 3}.{number:09d}Z {text}" for number, text in enumerate(texts)]
    wanted = [next((piece for piece in reversed(text.split("\r")) if piece), "") for text in texts]
    assert shown(lines, *ends) == wanted


@given(st.text())
def test_no_answer_silences_a_rank(answer: str) -> None:
    kubelet = Kubelet([])
    kubelet.text = lambda *_: f"{answer}\n{T}9Z end\n"  # type: ignore[method-assign]
    assert [*PodLog(kubelet, "default", "train-0").new_lines()][-1:] == ["end"]
