"""Jobs are looked at without pauses here."""

from __future__ import annotations

import pytest

from bootstrap.jobs import making
from bootstrap.jobs import run as running


@pytest.fixture(autouse=True)
def _quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (running, making):
        monkeypatch.setattr(module, "PAUSE_S", 0.001)
    monkeypatch.setattr(making, "GONE_S", 3.0)
    monkeypatch.setattr(running, "_SILENCE_S", 0.05)
    monkeypatch.setattr(running, "_WORDS_S", 0.05)
