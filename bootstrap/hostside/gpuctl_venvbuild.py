"""Builds a Python environment from a locked list of packages: the program that a host runs in a unit of its own.

It imports nothing of ours, so that it can be started as a file. Standard library only, Python 3.8 and later.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from typing import Any, Dict, List, Mapping

MARKER = ".complete"


def pip_arguments(python: str, spec: Mapping[str, Any]) -> List[str]:
    """The command line of pip: exactly what is listed, each file by its hash, nothing compiled that is never loaded."""
    argv = [python, "-I", "-m", "pip", "install", "--require-hashes", "--no-deps", "--only-binary", ":all:"]
    argv += ["--no-compile", "--no-cache-dir", "--no-input", "--disable-pip-version-check", "--progress-bar", "off"]
    argv += ["--no-index"] if spec["wheels_url"] else []
    argv += ["--cert", spec["ca_path"]] if spec["ca_path"] else []
    return [*argv, "--requirement", spec["requirements"]]


def pip_environment(spec: Mapping[str, Any]) -> Dict[str, str]:
    """The mirror's address goes by the environment: it may hold a password, which argv would show to every user."""
    mirror = {"PIP_FIND_LINKS": spec["wheels_url"]} if spec["wheels_url"] else {}
    return {**os.environ, "TMPDIR": os.path.join(spec["folder"], "tmp"), **mirror}


def _say(what: str, began: float) -> None:
    """A line in the unit's log."""
    sys.stdout.write(f"gpuctl: {what} after {time.monotonic() - began:.1f} s\n")
    sys.stdout.flush()


def build(spec: Mapping[str, Any]) -> int:
    """Make the environment in `folder`, its marker last; the exit status. What is left of an earlier try is removed."""
    folder = spec["folder"]
    shutil.rmtree(folder, ignore_errors=True)
    os.makedirs(os.path.join(folder, "tmp"), mode=0o755)
    python = os.path.join(folder, "bin", "python")
    imports = "import " + ", ".join(spec["imports"]) if spec["imports"] else ""
    steps = [
        ("an empty environment", [spec["python"], "-I", "-m", "venv", folder], None),
        ("its packages", pip_arguments(python, spec), pip_environment(spec)),
        # Writes the bytecode of what is loaded at each start, since those who run it later may not write here.
        ("bytecode", [python, "-W", "ignore", "-c", imports], {**os.environ, "HOME": os.path.join(folder, "tmp")}),
    ]
    for name, argv, environment in steps:
        began = time.monotonic()
        status = subprocess.call(argv, stdin=subprocess.DEVNULL, env=environment, cwd=folder)
        _say(f"{name}: status {status}", began)
        if status != 0:
            return status
    shutil.rmtree(os.path.join(folder, "tmp"))
    began = time.monotonic()
    os.sync()  # a marker that survives a power cut must not be alone
    _say("written to disk", began)
    with open(os.path.join(folder, MARKER), "w", encoding="ascii") as stream:
        stream.write(spec["digest"] + "\n")
        stream.flush()
        os.fsync(stream.fileno())
    return 0


def main(path: str) -> int:
    """Build what the JSON file at `path` describes, behind whatever else the host has to do."""
    with open(path, encoding="utf-8") as stream:
        spec = json.load(stream)
    os.umask(0o022)
    os.nice(5)
    return build(spec)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
