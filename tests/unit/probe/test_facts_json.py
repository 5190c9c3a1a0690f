"""Facts survive JSON, and whatever is missing or odd reads as unknown."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootstrap.probe.facts import HostFacts
from bootstrap.probe.facts_json import from_json, to_json

FIXTURES = Path(__file__).parents[2] / "fixtures" / "facts"
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
NAMES = [f.name for f in fields(HostFacts)]


UNUSED = frozenset({"evidence_spec", "role_digest", "run"})  # of a receipt: for the host itself, and of old


def kept(text: dict[str, Any]) -> dict[str, Any]:
    """What the controller keeps of a host's document: in receipts, what it reads."""

    def receipts(found: dict[str, Any]) -> dict[str, Any]:
        return {n: {k: v for k, v in r.items() if k not in UNUSED and v is not None} for n, r in found.items()}

    kube = text["kube"] and {**text["kube"], "receipts": receipts(text["kube"]["receipts"])}
    return {**text, "receipts": receipts(text["receipts"]), "kube": kube, "malformed": []}


@pytest.mark.parametrize("path", sorted(FIXTURES.glob("*.json")), ids=lambda p: p.stem)
def test_recorded_facts_come_back_the_same(path: Path) -> None:
    text = json.loads(path.read_text(encoding="utf-8"))
    facts = from_json(text["host"], text)

    assert json.loads(json.dumps(to_json(facts), sort_keys=True)) == kept(text)
    assert from_json(facts.host, to_json(facts)) == facts


def test_nothing_is_unknown() -> None:
    facts = from_json("a", {})

    assert facts.machine_id is None
    assert facts.cgroup_version is None
    assert facts.secure_boot is None
    assert facts.root is False
    assert facts.kube is None
    assert facts.driver.loaded_version is None


@given(st.dictionaries(st.sampled_from(NAMES), JSON))
def test_any_document_can_be_read_and_written(document: dict[str, Any]) -> None:
    facts = from_json("a", document)

    assert from_json("a", json.loads(json.dumps(to_json(facts)))) == facts
