"""Modules that are built with files of ours in them, because what they lack was never published as a module.

A component's folder says so in patched.yml: module, version and sum, the folder that its go.mod has in place of it, and
the files to add. What of the module is taken is checked against that sum.
"""

from __future__ import annotations

import json
import shutil
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import yaml

from bootstrap.testvm.components import tools

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_RECIPE = "patched.yml"
_DEADLINE_S = 600


@contextmanager
def work_folder(folder: Path, go: str, env: dict[str, str], work: Path) -> Iterator[Path]:
    """The folder to build in: `folder`, or a copy of it at `work` with the patched module beside its go.mod.

    GpuctlError "component-build-failed".
    """
    recipe = folder / _RECIPE
    if not recipe.is_file():
        yield folder
        return
    known: dict[str, Any] = yaml.safe_load(recipe.read_text(encoding="utf-8"))
    shutil.copytree(folder, work)
    try:
        name = f"{known['module']}@{known['version']}"
        # Outside any module: go.mod has a folder in its place, which is only made here.
        said = tools.output([go, "mod", "download", "-json", name], timeout_s=_DEADLINE_S, cwd=work.parent, env=env)
        found = json.loads(said)
        if found["Sum"] != known["sum"]:
            raise tools.build_failed(name, f"has the sum {found['Sum']}, not {known['sum']}")
        target = work / known["folder"]
        shutil.copytree(found["Dir"], target)
        for path in (target, *target.rglob("*")):
            path.chmod(path.stat().st_mode | 0o200)  # Go's cache is read-only
        for place, source in known["add"].items():
            shutil.copy(folder / source, target / place)
        yield work
    finally:
        shutil.rmtree(work, ignore_errors=True)
