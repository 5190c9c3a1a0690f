"""Texts that a tutorial or a chart left to be replaced. Pure."""

from __future__ import annotations

import re

# <aws-region>, s3://<bucket>/path; not the <<< and <(…) of a shell, nor a comparison.
_ANGLED = re.compile(r"<[A-Za-z][A-Za-z0-9]*(?:[ _./-][A-Za-z0-9]+)*>")
_SHOUTED = re.compile(r"\b(?:YOUR|MY)[-_][A-Z][A-Z0-9_-]*\b")


def placeholder(text: str) -> str:
    """The placeholder in a text that names something (a region, an address, an image); empty where there is none."""
    if found := _ANGLED.search(text) or _SHOUTED.search(text):
        return found[0]
    plain = text.strip()
    whole = re.fullmatch(r"change[-_ ]?me|replace[-_ ]?(?:me|this)(?:[-_ ].*)?", plain, re.IGNORECASE)
    return plain if whole else ""
