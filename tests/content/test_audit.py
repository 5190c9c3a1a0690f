"""What `make audit` says of pip-audit's answers; above all when there was no answer."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tools.audit import FOUND, UNKNOWN, verdict

GOOD = {"name": "jinja2", "version": "3.1.6", "vulns": []}
WEAK = {"name": "paramiko", "version": "1.0", "vulns": [{"id": "PYSEC-2026-1", "fix_versions": ["1.1"]}]}
SKIPPED = {"name": "rich", "skip_reason": "Dependency not found on PyPI and could not be audited: rich (1.0)"}


@pytest.mark.parametrize(
    ("packages", "status", "last"),
    [
        ([GOOD], 0, "audit: 1 of 1 packages looked up, 0 with a known weakness"),
        ([GOOD, WEAK, SKIPPED], FOUND, "audit: 2 of 3 packages looked up, 1 with a known weakness"),
        ([GOOD, SKIPPED], UNKNOWN, "audit: 1 of 2 packages looked up, 0 with a known weakness"),
        ([SKIPPED], UNKNOWN, "audit: 0 of 1 packages looked up, 0 with a known weakness"),
        ([], UNKNOWN, "audit: 0 of 0 packages looked up, 0 with a known weakness"),
    ],
)
def test_nothing_is_called_good_that_was_not_looked_up(packages: list[Any], status: int, last: str) -> None:
    found = verdict(json.dumps({"dependencies": packages}), "")
    assert (found[0], found[1][-1]) == (status, last)


def test_a_weakness_is_named_with_what_mends_it() -> None:
    assert verdict(json.dumps({"dependencies": [WEAK]}), "")[1][0] == "paramiko 1.0: PYSEC-2026-1, mended in 1.1"


@pytest.mark.parametrize("out", ["", "[]", "{}", "no JSON", "null"])
def test_no_answer_is_said_with_its_reason(out: str) -> None:
    assert verdict(out, "Traceback\nConnectionError: no route\n") == (
        UNKNOWN,
        ["audit: nothing was looked up: ConnectionError: no route"],
    )
