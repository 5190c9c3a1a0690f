"""NVIDIA's display chips as the public PCI ID list names them, with the generation that each chip's name tells."""

from __future__ import annotations

import gzip
import re
from functools import cache
from pathlib import Path

INSTALLED = (Path("/usr/share/misc/pci.ids"), Path("/usr/share/misc/pci.ids.gz"))
EXTRACT = Path(__file__).parents[2] / "fixtures" / "pci-ids-nvidia.txt"
# Functions of a card, or of a chipset, that are no display.
_NO_DISPLAY = re.compile(
    r"audio|usb|bridge|ucsi|type-c|memory|ethernet|ide\b|sata|smbus|lpc|pci express|switch|controller|co-?processor"
    r"|modem|tegra|raid|system management|hypertransport|nforce|i2c|isa\b|ac97|firewire|xavier|acpi|nvlink|endpoint",
    re.IGNORECASE,
)
_CHIPS = (
    ("Fermi", r"GF1\d\d"),
    ("Kepler", r"GK[12]\d\d"),
    ("Maxwell", r"GM[12]\d\d"),
    ("Pascal", r"GP1\d\d"),
    ("Volta", r"GV100"),
    ("Turing", r"TU1\d\d"),
    ("Ampere", r"GA10\d|GN20"),
    ("Hopper", r"GH100"),
    ("Ada", r"AD10\d|GN21"),
    ("Blackwell", r"GB[12]\d\d"),
    ("older than Fermi", r"NV\d|NV1|G[78]\d|G9\d|GT2\d\d|C[5-8]\d|MCP\w+|Riva|Vanta"),
)


@cache
def generations() -> tuple[tuple[str, str, str], ...]:
    """(device id, chip, generation) of every display chip that the list names by a chip."""
    installed = next((path for path in INSTALLED if path.exists()), None)
    if installed is None:
        text = EXTRACT.read_text(encoding="utf-8")
    else:
        raw = installed.read_bytes()
        text = (gzip.decompress(raw) if installed.suffix == ".gz" else raw).decode("utf-8", "replace")
    found = []
    for line in _of_nvidia(text):
        device_id, name = line[1:5], line[7:]
        for generation, pattern in () if _NO_DISPLAY.search(name) else _CHIPS:
            if chip := re.match(rf"(?:{pattern})\w*", name):
                found.append((device_id, chip.group(0), generation))
                break
    return tuple(found)


def _of_nvidia(text: str) -> list[str]:
    """The devices of vendor 10de, a tab before each."""
    rows: list[str] = []
    inside = False
    for line in text.splitlines():
        if line[:1] not in ("\t", "#", ""):
            inside = line.startswith("10de ")
        elif inside and re.match(r"\t[0-9a-f]{4}  ", line):
            rows.append(line)
    return rows
