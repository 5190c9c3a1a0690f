"""The table of GPU generations."""

from __future__ import annotations

from itertools import pairwise

import pytest

from bootstrap.checks.gpu import _table, architecture_of


@pytest.mark.parametrize(
    ("device_id", "name"),
    [
        ("102d", "Kepler"),  # K80
        ("13f2", "Maxwell"),  # M60
        ("15f8", "Pascal"),  # P100
        ("1b38", "Pascal"),  # P40
        ("1db6", "Volta"),  # V100
        ("1eb8", "Turing"),  # T4
        ("20b0", "Ampere"),  # A100
        ("2235", "Ampere"),  # A40
        ("2330", "Hopper"),  # H100
        ("2335", "Hopper"),  # H200
        ("26b9", "Ada"),  # L40S
        ("27b8", "Ada"),  # L4
        ("2901", "Blackwell"),  # B200
        ("2b85", "Blackwell"),  # RTX 5090
        ("3182", "Blackwell"),  # B300
    ],
)
def test_products_are_of_their_generation(device_id: str, name: str) -> None:
    found = architecture_of(device_id)

    assert found is not None
    assert found.name == name


def test_ranges_do_not_overlap() -> None:
    ranges = sorted((first, last) for first, last, _ in _table())

    assert all(first <= last for first, last in ranges)
    assert all(one[1] < other[0] for one, other in pairwise(ranges))


@pytest.mark.parametrize("device_id", ["0000", "ffff", "", "xyz"])
def test_unknown_cards_are_unknown(device_id: str) -> None:
    assert architecture_of(device_id) is None
