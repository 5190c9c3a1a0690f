"""The table of GPU generations."""

from __future__ import annotations

from itertools import pairwise

import pytest

from bootstrap.probe.cards import architecture_of, flavour_for, is_driven, table
from tests.unit.checks.pci_ids import generations


@pytest.mark.parametrize(
    ("device_id", "name"),
    [
        ("039a", "older than Fermi"),  # Quadro NVS 300M
        ("10d8", "older than Fermi"),  # NVS 300
        ("06c0", "Fermi"),  # GTX 480
        ("1091", "Fermi"),  # M2090
        ("1096", "Fermi"),  # C2075
        ("104d", "Fermi"),  # a GT 710 of 2014
        ("128b", "Kepler"),  # GT 710
        ("174d", "Maxwell"),  # MX130
        ("174e", "Maxwell"),  # MX110
        ("1436", "Maxwell"),  # M2200
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
    ranges = sorted((first, last) for first, last, _ in table())

    assert all(first <= last for first, last in ranges)
    assert all(one[1] < other[0] for one, other in pairwise(ranges))


@pytest.mark.parametrize("device_id", ["0000", "ffff", "", "xyz"])
def test_unknown_cards_are_unknown(device_id: str) -> None:
    assert architecture_of(device_id) is None


def test_every_card_of_the_public_list_is_of_the_generation_of_its_chip() -> None:
    """pci.ids where it is installed, else an extract of its display chips."""
    wrong = [
        (device_id, chip, found.name if found else None)
        for device_id, chip, name in generations()
        if (found := architecture_of(device_id)) is None or found.name != name
    ]

    assert len(generations()) > 900
    assert wrong == []


@pytest.mark.parametrize(
    ("device_id", "branches", "counts"),
    [
        ("2684", (), True),  # RTX 4090
        ("1b06", (), True),  # GTX 1080 Ti
        ("128b", (), False),  # GT 710
        ("102d", (), False),  # K80
        ("102d", (470,), True),  # its own driver is loaded
        ("102d", (580,), False),
        ("10d8", (470,), False),
        ("10d8", (340,), True),
        ("ffff", (), True),  # newer than the table
        ("", (), True),
    ],
)
def test_a_card_counts_if_a_driver_for_it_can_be_had_or_is_there(
    device_id: str, branches: tuple[int, ...], counts: bool
) -> None:
    assert is_driven(device_id, branches) is counts


@pytest.mark.parametrize(
    ("ids", "flavour"),
    [(("2b85",), "open"), (("1db6",), "closed"), (("1db6", "1eb8"), "closed"), (("ffff",), "open"), ((), "open")],
)
def test_the_module_is_the_open_one_unless_a_card_wants_the_other(ids: tuple[str, ...], flavour: str) -> None:
    assert flavour_for(ids) == flavour
