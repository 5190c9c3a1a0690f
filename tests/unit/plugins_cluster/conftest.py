"""Lets the modules of playbooks/library be imported as on a host: their host-side files under Ansible's name."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable
from types import ModuleType

import pytest

from .rendering import ROOT


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], ModuleType]:
    for path in (ROOT / "bootstrap" / "hostside").glob("gpuctl_*.py"):
        module = importlib.import_module(f"bootstrap.hostside.{path.stem}")
        monkeypatch.setitem(sys.modules, f"ansible.module_utils.{path.stem}", module)
        monkeypatch.setattr(f"ansible.module_utils.{path.stem}", module, raising=False)

    def load(name: str) -> ModuleType:
        path = ROOT / "playbooks" / "library" / f"{name}.py"
        spec = importlib.util.spec_from_file_location(f"library_{name}", path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    return load
