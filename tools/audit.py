#!/usr/bin/env python3
"""Ask pip-audit about requirements.lock, and say plainly when it had no data to answer with.

pip-audit itself ends with 0 when it could look up nothing. Exit status: 0 all looked up, nothing found; 1 a package has
a known weakness; 3 some or all could not be looked up.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

LOCK = Path(__file__).resolve().parents[1] / "requirements.lock"
FOUND, UNKNOWN = 1, 3
_TIMEOUT_S = 600


def main(program: str) -> int:
    """Run it and print what came out."""
    argv = [program, "--disable-pip", "--require-hashes", "--requirement", str(LOCK)]
    argv += ["--format", "json", "--progress-spinner", "off"]
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        sys.stdout.write(f"audit: nothing was looked up: {error}\n")
        return UNKNOWN
    status, lines = verdict(done.stdout, done.stderr)
    sys.stdout.write("\n".join(lines) + "\n")
    return status


def verdict(out: str, err: str) -> tuple[int, list[str]]:
    """Exit status and lines for what pip-audit wrote to its standard output and standard error."""
    try:
        packages: list[Mapping[str, Any]] = json.loads(out)["dependencies"]
    except (ValueError, KeyError, TypeError):
        last = (err.strip().splitlines() or ["pip-audit said nothing"])[-1]
        return UNKNOWN, [f"audit: nothing was looked up: {last}"]
    weak = [package for package in packages if package.get("vulns")]
    skipped = [package for package in packages if "skip_reason" in package]
    lines = [
        f"{package['name']} {package['version']}: {weakness['id']}"
        + (f", mended in {', '.join(weakness['fix_versions'])}" if weakness.get("fix_versions") else "")
        for package in weak
        for weakness in package["vulns"]
    ]
    if skipped:
        lines.append(f"not looked up: {len(skipped)} of {len(packages)}; the first: {skipped[0]['skip_reason']}")
    looked_up = len(packages) - len(skipped)
    lines.append(f"audit: {looked_up} of {len(packages)} packages looked up, {len(weak)} with a known weakness")
    return (FOUND if weak else UNKNOWN if skipped or not packages else 0), lines


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
