"""Probes the hosts that standard input lists, and prints what became of each, the time and the memory that it took."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from bootstrap.inventory.model import Connection, Host
from bootstrap.probe.facts import Unreachable
from bootstrap.probe.run import probe_all


def main() -> None:
    """One JSON object."""
    asked = json.load(sys.stdin)
    hosts = [
        Host(name, frozenset(), Connection(python=python, **asked["connection"]), {}, connection_vars={})
        for name, python in asked["hosts"].items()
    ]
    began = time.monotonic()
    found = probe_all(hosts)
    seconds = time.monotonic() - began
    said = {name: each.code if isinstance(each, Unreachable) else "facts" for name, each in found.items()}
    # Not getrusage: that starts from what the process had before it became this program, which is the test's own size.
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    peak = int(status.partition("VmHWM:")[2].split()[0]) / 1024
    sys.stdout.write(json.dumps({"hosts": said, "seconds": seconds, "peak_mib": peak}))


if __name__ == "__main__":
    main()
