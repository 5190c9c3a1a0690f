"""Probes the hosts that standard input lists, and prints what became of each, the time and the memory that it took."""

from __future__ import annotations

import json
import resource
import sys
import time

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
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    sys.stdout.write(json.dumps({"hosts": said, "seconds": seconds, "peak_mib": peak}))


if __name__ == "__main__":
    main()
