"""The script that is sent to hosts: one document, from the oldest Python that is promised on."""

from __future__ import annotations

import ast
import json
import shutil
import subprocess
import sys
import time
from dataclasses import fields
from pathlib import Path

import pytest

from bootstrap.probe.bundle import FILES, HOSTSIDE, OLDEST_PYTHON, script
from bootstrap.probe.facts import HostFacts

OF_THE_CONTROLLER = {"host", "clock_offset_s", "malformed", "way_notes"}


def run(python: str = sys.executable) -> subprocess.CompletedProcess[str]:
    return subprocess.run([python, "-I", "-"], input=script(), capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture(scope="module")
def document() -> dict[str, object]:
    done = run()
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert done.stdout.count("\n") == 1
    found: dict[str, object] = json.loads(done.stdout)
    return found


def test_it_prints_every_fact_in_one_line(document: dict[str, object]) -> None:
    assert {f.name for f in fields(HostFacts)} - OF_THE_CONTROLLER <= set(document)


def test_nothing_failed_on_this_machine(document: dict[str, object]) -> None:
    assert document["errors"] == {}


def test_it_is_quick(document: dict[str, object]) -> None:  # noqa: ARG001 - its files are cached now
    begun = time.monotonic()
    run()

    assert time.monotonic() - begun < 10  # under a second on an idle machine


@pytest.mark.parametrize("path", sorted(HOSTSIDE.glob("gpuctl_*.py")), ids=lambda p: p.stem)
def test_host_side_files_are_written_for_the_oldest_python(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"), feature_version=OLDEST_PYTHON)
    imported = {
        n.module.split(".")[0] for n in ast.walk(tree) if isinstance(n, ast.ImportFrom) and n.module and not n.level
    }
    imported |= {a.name.split(".")[0] for n in ast.walk(tree) if isinstance(n, ast.Import) for a in n.names}

    assert imported <= set(sys.stdlib_module_names) | {"ansible"}


def test_all_files_that_are_imported_are_sent() -> None:
    for name in FILES:
        tree = ast.parse((HOSTSIDE / f"{name}.py").read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and node.level:
                wanted = [node.module] if node.module else [a.name for a in node.names]
                assert set(wanted) <= set(FILES[: FILES.index(name)]), name


@pytest.mark.parametrize("version", ["3.8", "3.9"])
def test_it_runs_on_old_pythons(version: str) -> None:
    python = shutil.which(f"python{version}")
    if python is None or subprocess.run([python, "-c", "0"], capture_output=True, check=False).returncode:
        pytest.skip(f"no Python {version} here")
    done = run(python)

    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["errors"] == {}
