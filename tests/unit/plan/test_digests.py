"""Digests: one per meaning, none that changes with layout."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from bootstrap.plan.digests import canonical, plain, same, secret_digest, value_digest

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)


@given(JSON)
def test_a_digest_is_the_same_for_the_same_value(value: object) -> None:
    assert same(value_digest(value), plain(value))
    assert canonical(value) == canonical(plain(value))


@given(st.dictionaries(st.text(max_size=4), st.integers(), min_size=2, max_size=5))
def test_key_order_means_nothing(value: dict[str, int]) -> None:
    assert value_digest(value) == value_digest(dict(reversed(list(value.items()))))


@given(JSON, JSON)
def test_different_values_differ(one: object, other: object) -> None:
    assert (value_digest(one) == value_digest(other)) == (canonical(one) == canonical(other))


def test_secrets_are_salted_and_comparable() -> None:
    recorded = secret_digest("hunter2")
    assert "hunter2" not in recorded
    assert recorded != secret_digest("hunter2")
    assert same(recorded, "hunter2")
    assert not same(recorded, "hunter3")
