"""Text into shape: columns, durations, sizes, and what a terminal without Unicode shows instead."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence

from bootstrap.printable import printable

# One sign for one sign, so that columns laid out before stay columns.
_ASCII = str.maketrans(
    {
        "✓": "+",
        "✗": "x",
        "·": "-",
        "▸": ">",
        "×": "x",
        "→": ">",
        "≤": "<",
        "≥": ">",
        "…": "~",
    }
)


def ascii_only(text: str) -> str:
    """The text in ASCII: our own signs by a likeness of the same width, anything else by "?"."""
    return text.translate(_ASCII).encode("ascii", "replace").decode("ascii")


def width(text: str) -> int:
    """Columns that the text takes on a terminal."""
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def columns(rows: Iterable[Sequence[str]], *, indent: int = 2, gap: int = 3, right: Sequence[int] = ()) -> list[str]:
    """Rows as lines with aligned columns, no trailing spaces; `right` numbers the columns that align to the right.

    Rows may differ in length: a short row simply ends early.
    """
    table = [[printable(cell).replace("\n", " ") for cell in row] for row in rows]
    widths = [0] * max((len(row) for row in table), default=0)
    for row in table:
        for number, cell in enumerate(row):
            widths[number] = max(widths[number], width(cell))
    return [_line(row, widths, indent, gap, right) for row in table]


def _line(row: Sequence[str], widths: Sequence[int], indent: int, gap: int, right: Sequence[int]) -> str:
    cells = []
    for number, cell in enumerate(row):
        pad = " " * (widths[number] - width(cell))
        cells.append(pad + cell if number in right else cell + pad)
    return (" " * indent + (" " * gap).join(cells)).rstrip()


def clip(text: str, room: int) -> str:
    """The text cut to `room` columns, with an ellipsis where something is missing."""
    if width(text) <= room:
        return text
    kept = ""
    for character in text:
        if width(kept + character) > room - 1:
            break
        kept += character
    return kept + "…" if room > 0 else ""


def count(number: int, noun: str, plural: str | None = None) -> str:
    """A number with its noun: 1 host, 3 hosts."""
    return f"{number} {noun if number == 1 else plural or noun + 's'}"


def clock(seconds: float) -> str:
    """Minutes and seconds as on a stop watch: 0:41, 12:03, 1:02:03."""
    whole = max(0, int(seconds))
    hours, minutes = divmod(whole // 60, 60)
    return f"{hours}:{minutes:02}:{whole % 60:02}" if hours else f"{minutes}:{whole % 60:02}"


def brief(seconds: float) -> str:
    """A duration for one glance: 0.4 s, 11 s, 1:33."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    return f"{seconds:.0f} s" if seconds < 60 else clock(seconds)


def ago(seconds: float) -> str:
    """How long ago, in the largest unit that gives at least one: just now, 4 min ago, 3 h ago, 2 days ago."""
    if seconds < 60:
        return "just now"
    if seconds < 3600:
        return f"{int(seconds // 60)} min ago"
    if seconds < 86400:
        return f"{int(seconds // 3600)} h ago"
    return f"{count(int(seconds // 86400), 'day')} ago"


def size(number: float) -> str:
    """Bytes in binary units, three digits at most: 24 GiB, 1.5 MiB, 512 B."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if number < 1023.5:
            return _digits(number, unit)
        number /= 1024
    return _digits(number, "TiB")


def _digits(number: float, unit: str) -> str:
    rounded = f"{number:.1f}" if number < 9.95 and unit != "B" else f"{number:.0f}"
    return f"{rounded.removesuffix('.0')} {unit}"
