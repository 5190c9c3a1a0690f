"""The corpora themselves: the same on every run, and of every kind."""

from __future__ import annotations

import copy

from tests.fuzz.mutate import document_mutations, text_mutations

DOCUMENT = {"a": {"b": [1, "two", None]}, "c": True}


def test_the_same_seed_gives_the_same_cases() -> None:
    first, second = (list(map(str, document_mutations(DOCUMENT, 7, 200))) for _ in range(2))
    assert first == second
    assert len(set(first)) > 100
    assert list(text_mutations("a: b\n", 7, 50)) == list(text_mutations("a: b\n", 7, 50))


def test_the_document_itself_stays() -> None:
    before = copy.deepcopy(DOCUMENT)
    assert any(changed != before for _, changed in document_mutations(DOCUMENT, 1, 50))
    assert before == DOCUMENT
