"""Queue files and chart values with something changed: taken, or refused with a place; no traceback, and an end."""

from __future__ import annotations

import signal
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import pytest

from bootstrap.errors import GpuctlError
from bootstrap.exit_codes import ExitCode
from tests.fuzz.launch_files import TAKE, mutations, queue_seeds
from tests.fuzz.share import cases

CASES = 5_000
LIMIT_S = 20  # for one file, on a busy machine; the median takes 0.01 s


class HangError(BaseException):
    """A file took longer than LIMIT_S. No Exception: what reads files would take it for one of theirs."""


@contextmanager
def limit() -> Iterator[None]:
    def stop(_number: int, _frame: FrameType | None) -> None:
        raise HangError

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(LIMIT_S)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def ended(take: Callable[[Path], str], path: Path) -> str:
    """What came of a file: a word for one that was taken, or the code of the first problem."""
    try:
        return take(path)
    except GpuctlError as error:
        placed = [p.message and p.fix and (p.at or str(path) in p.message) for p in error.problems]
        if error.exit_code is not ExitCode.SETTINGS or not all(placed):
            raise AssertionError(str(error)) from error
        return error.problems[0].code


@pytest.mark.parametrize("kind", sorted(TAKE))
def test_mutated_files_of_the_launch_agent_are_taken_or_refused(
    kind: str, tmp_path: Path, figure: Callable[[str], None]
) -> None:
    seeds, take = TAKE[kind]
    count = cases(CASES) // len(TAKE)
    seen: Counter[str] = Counter()
    broken: list[str] = []
    slowest = 0.0
    for number, (name, content) in enumerate(mutations(seeds(), 20261206, count)):
        path = tmp_path / "file.yaml"
        path.write_bytes(content)
        began = time.monotonic()
        try:
            with limit():
                seen[ended(take, path)] += 1
        except (Exception, HangError):  # noqa: BLE001 - each is counted, with its traceback
            broken.append(f"number {number}, of {name}: {content[:2000]!r}\n{traceback.format_exc()[-1500:]}")
        slowest = max(slowest, time.monotonic() - began)
    words = ", ".join(f"{number} {word}" for word, number in seen.most_common())
    figure(f"mutated {kind}: {count}: {words}; {len(broken)} tracebacks or hangs, slowest {slowest:.2f} s")
    assert not broken, f"{len(broken)} broken:\n" + "\n".join(broken[:10])
    assert len(seen) > 1, "the corpus has to hold files of both kinds"


def test_the_files_are_the_same_on_every_run() -> None:
    first, second = (list(mutations(queue_seeds(), 5, 60)) for _ in range(2))
    assert first == second
