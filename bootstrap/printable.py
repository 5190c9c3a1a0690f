"""Text of others, as it may be shown and written: nothing in it steers a terminal, and its lines have an end."""

from __future__ import annotations

import re
import unicodedata

LONGEST_LINE = 4000  # characters; what a person reads is far below, and one line must not fill a disk

# What terminals take for commands: CSI, then OSC, DCS, SOS, PM and APC with their strings, then two characters.
_SEQUENCES = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]"
    r"|(?:\x1b[\]PX^_]|[\x90\x98\x9d-\x9f])[^\x07\x1b\x9c]{0,4096}(?:\x07|\x1b\\|\x9c)"
    r"|\x1b[ -/]{0,2}[0-~]"
)
_SEPARATORS = re.compile(r"\r\n?|[\v\f\x1c-\x1e\x85\u2028\u2029]")  # what some readers take for the end of a line
_OTHER = re.compile(r"[^\n\t -~]")
# Controls, formats (bidirectional overrides, characters without width), lone surrogates, no characters.
_UNSHOWN = frozenset({"Cc", "Cf", "Cs", "Cn"})


def printable(text: str) -> str:
    """The text without control sequences, control and format characters and surrogates; each line bounded.

    Line feeds and tabs stay; other ends of lines become line feeds.
    """
    if _OTHER.search(text):
        text = _OTHER.sub(_shown, _SEPARATORS.sub("\n", _SEQUENCES.sub("", text)))
    if len(text) <= LONGEST_LINE:
        return text
    return "\n".join(map(_bounded, text.split("\n")))


def one_line(text: str, longest: int = LONGEST_LINE) -> str:
    """The same as one line of at most `longest` characters."""
    text = " ".join(printable(text).split())
    return text if len(text) <= longest else f"{text[: longest - 1]}…"


def _shown(found: re.Match[str]) -> str:
    return "" if unicodedata.category(found[0]) in _UNSHOWN else found[0]


def _bounded(line: str) -> str:
    if len(line) <= LONGEST_LINE:
        return line
    return f"{line[:LONGEST_LINE]}… ({len(line) - LONGEST_LINE} more characters)"
