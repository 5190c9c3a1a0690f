from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bootstrap.content import ansible_config
from bootstrap.errors import Problem
from bootstrap.inventory.validate import problems_of

# Many inventories in one process: importing Ansible takes longer than reading a hundred of them.
_MANY = """
import json, sys
from pathlib import Path
from bootstrap.inventory.resolve_child import Resolver
json.dump([Resolver(Path(path)).answer() for path in json.load(sys.stdin)], sys.stdout)
"""

Case = dict[str, str]


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
