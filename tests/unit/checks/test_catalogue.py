"""The catalogue of codes and the code agree."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from bootstrap.exit_codes import ExitCode

ROOT = Path(__file__).parents[3]
CATALOGUE: dict[str, dict[str, dict[str, Any]]] = yaml.safe_load(
    (ROOT / "bootstrap" / "error_catalogue.yml").read_text(encoding="utf-8")
)
CODES = {code: entry for group in CATALOGUE.values() for code, entry in group.items()}
MAKERS = {
    "Problem": 0,
    "Say": 1,
    "ConnectFailure": 0,
    "HostError": 0,
    "Unreachable": 1,
    "Computed": 9,
    "Refusal": 0,
    "Stuck": 0,
}  # position of the code
LAYERS = {"failed", "CudaError"}  # verify: the code stands among the first words
SOURCES = [*(ROOT / "bootstrap").rglob("*.py"), *(ROOT / "playbooks").rglob("*.py")]


def raised() -> Iterator[tuple[str, str]]:
    """(code, file) of every problem, finding and failure that is made with a literal code."""
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call):
                continue
            name = getattr(node.func, "id", getattr(node.func, "attr", ""))
            position = MAKERS.get(name)
            values = [k.value for k in node.keywords if k.arg == "code"] if position is not None else []
            if position is not None and len(node.args) > position:
                values.append(node.args[position])
            if name in LAYERS:
                values += [a for a in node.args[:3] if isinstance(a, ast.Constant) and "-" in str(a.value)]
            for value in values:
                if isinstance(value, ast.Constant) and isinstance(value.value, str):
                    yield value.value, str(path.relative_to(ROOT))


def test_every_code_that_is_reported_is_listed() -> None:
    found = dict(raised())

    assert len(found) > 80  # the search finds what it is to find
    assert {code: file for code, file in found.items() if code not in CODES} == {}


def test_every_code_that_is_listed_is_reported_somewhere() -> None:
    roles = [*(ROOT / "roles").rglob("*.yml"), *(ROOT / "playbooks").rglob("*.yml")]
    words: set[str] = set()
    for path in SOURCES:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        texts = [n.value for n in ast.walk(tree) if isinstance(n, ast.Constant) and isinstance(n.value, str)]
        words |= {text for text in texts if "\n" not in text}  # whole texts: in a docstring a code is only spoken of
    for path in roles:  # there it stands before the message
        words |= set(re.findall(r"\[([a-z0-9-]+)\] ", path.read_text(encoding="utf-8")))
    said = {word for text in words for word in re.findall(r"^\[?([a-z0-9-]+)\]?(?: |$)", text)}

    made = {"docker-config-conflict", "docker-config-invalid"} if "docker-config" in said else set()

    assert sorted(set(CODES) - said - made) == []


def test_the_page_of_errors_lists_the_same_codes() -> None:
    page = (ROOT / "docs" / "errors.md").read_text(encoding="utf-8")
    listed = re.findall(r"^## ([a-z0-9-]+)$", page, re.MULTILINE)

    assert sorted(listed) == sorted(CODES)


def test_no_code_is_listed_twice() -> None:
    assert sum(len(group) for group in CATALOGUE.values()) == len(CODES)


@pytest.mark.parametrize("code", sorted(CODES))
def test_each_entry_has_a_meaning_and_a_remedy_of_one_line(code: str) -> None:
    entry = CODES[code]

    assert set(entry) == {"meaning", "fix", "exit_code"}
    assert all(entry[key].endswith(".") and "\n" not in entry[key] for key in ("meaning", "fix"))
    assert entry["exit_code"] in {int(c) for c in ExitCode}
