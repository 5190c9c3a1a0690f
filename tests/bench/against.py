"""An unchanged second run, and a probe, beside those of another checkout, which made a cluster of its own.

GPUCTL_BENCH_AGAINST names that checkout, in which `make setup` was run. Both clusters are up at once and are asked in
turn, so that what else the machine does hits both.
"""

from __future__ import annotations

import os
import statistics
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.bench.measure import Figure, Remark, timed

_TIMES = 9
_HERE = Path(__file__).resolve().parents[2]
_PROBE = """
import statistics, sys, time
from pathlib import Path
from bootstrap.access import Access
from bootstrap.inventory.load import load_inventory
from bootstrap.plan.survey import probe_hosts
inventory = load_inventory(Path(sys.argv[1]))
times = []
for _ in range(6):
    begun = time.monotonic()
    probe_hosts(inventory, Access())
    times.append(time.monotonic() - begun)
print(statistics.median(times[1:]))
"""


def figures() -> Iterator[Figure | Remark]:
    named = os.environ.get("GPUCTL_BENCH_AGAINST", "")
    if not named:
        yield Remark("against another checkout: left out; GPUCTL_BENCH_AGAINST=FOLDER names one")
        return
    labs = {"benchus": _HERE, "benchth": Path(named).resolve()}
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "KUBECONFIG": f"{folder}/kubeconfig"}
        try:
            for name, checkout in labs.items():
                gpuctl = str(checkout / ".venv/bin/gpuctl")
                timed([gpuctl, "testvm", "up", "--name", name, "--hosts", "3", "--gpus", "8"], 900, Path(folder))
                timed([gpuctl, "bootstrap", "--inventory", f"{name}.ini"], 1800, Path(folder), environment)
            again: dict[str, list[float]] = {name: [] for name in labs}
            probes: dict[str, list[float]] = {name: [] for name in labs}
            for _ in range(_TIMES):
                for name, checkout in labs.items():
                    words = [str(checkout / ".venv/bin/gpuctl"), "bootstrap", "--inventory", f"{name}.ini"]
                    again[name].append(timed(words, 120, Path(folder), environment))
                    probes[name].append(_probe(checkout, Path(folder) / f"{name}.ini"))
        finally:
            for name in labs:
                timed([str(_HERE / ".venv/bin/gpuctl"), "testvm", "down", "--name", name], 300)
    ours, theirs = (statistics.median(again[name]) for name in labs)
    yield Figure("unchanged bootstrap, this checkout", ours, note=f"median of {_TIMES}")
    yield Figure("unchanged bootstrap, the other one", theirs, note=f"median of {_TIMES}, in turn")
    yield Figure("unchanged bootstrap, more than the other", ours - theirs, 0.1)
    ours, theirs = (statistics.median(probes[name]) for name in labs)
    yield Figure("probe of 3 hosts, this checkout", ours)
    yield Figure("probe of 3 hosts, the other one", theirs)
    yield Figure("probe against the other one", ours / theirs, 1.05, "×")


def _probe(checkout: Path, inventory: Path) -> float:
    import subprocess

    argv = [str(checkout / ".venv/bin/python"), "-c", _PROBE, str(inventory)]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(argv, capture_output=True, text=True, check=True, timeout=120, cwd=checkout, env=environment)
    return float(done.stdout)
