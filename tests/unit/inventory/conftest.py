from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bootstrap.content import ansible_config
from bootstrap.errors import Problem
from bootstrap.inventory.load import child_environment
from bootstrap.inventory.validate import problems_of

# Many inventories in one process: importing Ansible takes longer than reading a hundred of them.
_MANY = """
import json, sys
from pathlib import Path
from bootstrap.inventory.resolve_child import Resolver
json.dump([Resolver(Path(path)).answer() for path in json.load(sys.stdin)], sys.stdout)
"""

Case = dict[str, str]

# One process that has Ansible loaded, and forks for each question: as load_inventory does it, but for the time.
_FORKING = """
import json, os, sys
from pathlib import Path
from bootstrap.inventory.lookups import Gate
from bootstrap.inventory.resolve_child import resolve
from bootstrap.inventory.schema import variables
variables()
for line in sys.stdin:
    asked = json.loads(line)
    if not (child := os.fork()):
        os.chdir(asked["folder"])
        os.environ.update(asked["environment"])
        told = resolve(Path(asked["path"]), Gate(asked["allowed"], asked["environment"]), asked["vault"])
        sys.stdout.buffer.write(told.encode("utf-8", "replace") + bytes([10]))
        sys.stdout.flush()
        os._exit(0)
    if os.waitpid(child, 0)[1]:
        print("{}", flush=True)
"""


@pytest.fixture(scope="session")
def forking_child() -> Iterator[Callable[[str, Path], str]]:
    """What takes the place of `load._ask_child`."""
    process = subprocess.Popen(
        [sys.executable, "-c", _FORKING],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        env=child_environment(),
    )
    assert process.stdin is not None
    assert process.stdout is not None
    into, out = process.stdin, process.stdout

    def ask(asked: str, _path: Path) -> str:
        into.write(json.dumps({**json.loads(asked), "folder": str(Path.cwd())}) + chr(10))
        into.flush()
        return out.readline()

    yield ask
    into.close()
    process.wait(30)


@pytest.fixture
def quick(forking_child: Callable[[str, Path], str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Read inventories without starting Ansible for each of them."""
    monkeypatch.setattr("bootstrap.inventory.load._ask_child", forking_child)


@pytest.fixture(scope="session")
def resolve_many(tmp_path_factory: pytest.TempPathFactory) -> Callable[[dict[str, Case]], dict[str, Any]]:
    """Case name → its files → Ansible's answer; the inventory is the case's folder or its only file."""

    def run(cases: dict[str, Case]) -> dict[str, tuple[Path, Any]]:
        root = tmp_path_factory.mktemp("inventories")
        paths = []
        for name, files in cases.items():
            for file, text in files.items():
                path = root / name / file
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text)
            paths.append(root / name / next(iter(files)))
        done = subprocess.run(
            [sys.executable, "-c", _MANY],
            input=json.dumps([str(path) for path in paths]),
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
            env={**os.environ, "ANSIBLE_CONFIG": str(ansible_config()), "PYTHONPATH": os.pathsep.join(sys.path)},
        )
        assert done.returncode == 0, done.stderr
        return dict(zip(cases, zip(paths, json.loads(done.stdout), strict=True), strict=True))

    return run


def problems(path: Path, answer: Any) -> list[Problem]:
    return problems_of(answer, path)
