"""Lets the modules of playbooks/library be imported as on a host."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from types import ModuleType

import pytest

from .rendering import ROOT


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], ModuleType]:
    monkeypatch.syspath_prepend(ROOT / "playbooks")
    return lambda name: importlib.import_module(f"library.{name}")
