"""A cluster on three fresh hosts, by plain shell and by gpuctl, one after the other; and gpuctl again.

GPUCTL_BENCH_PAIRS=3 does it three times and takes the median of the ratios: for a machine that does other things, too.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.bench.load import Usage, accounted
from tests.bench.measure import GPUCTL, Figure, timed
from tests.bench.shell_cluster import GPUS_PER_WORKER, SCRIPT, write_settings

_DEADLINE_S = 1800
_AGAIN = 3


def figures() -> Iterator[Figure]:
    ratios, efforts = [], []
    for _ in range(int(os.environ.get("GPUCTL_BENCH_PAIRS", "1"))):
        with _lab("benchsh") as lab:
            shell = _by_shell(lab)
        yield Figure("3 hosts to 16 GPUs by plain shell", shell.wall, note=shell.note())
        with _lab("benchgp") as lab:
            ours = _by_gpuctl(lab)
            yield Figure("3 hosts to 16 GPUs by gpuctl bootstrap", ours.wall, note=ours.note())
            yield Figure("gpuctl bootstrap again", _again(lab), 3.0, note=f"median of {_AGAIN}; no Ansible was started")
        ratios.append(ours.wall / shell.wall)
        efforts.append(ours.ours / shell.ours)
    note = f"{statistics.median(efforts):.2f} times the processor time"
    yield Figure("gpuctl against plain shell", statistics.median(ratios), 1.25, "×", note)


@contextmanager
def _lab(name: str) -> Iterator[Path]:
    """The inventory of fresh hosts, in a folder of its own; all is gone afterwards."""
    down = [GPUCTL, "testvm", "down", "--name", name]
    with tempfile.TemporaryDirectory() as folder:
        inventory = Path(folder) / f"{name}.ini"
        up = [GPUCTL, "testvm", "up", "--name", name, "--hosts", "3", "--gpus", str(GPUS_PER_WORKER)]
        try:
            timed(down, 300)  # what a killed run left would be no fresh hosts
            timed([*up, "--inventory", str(inventory)], 900, Path(folder))
            _warm(inventory)
            yield inventory
        finally:
            timed(down, 300)


def _warm(inventory: Path) -> None:
    """Read the mirror once: whoever comes first shall not pay for the disk."""
    from bootstrap.testvm.components import current

    mirror = current()
    for path in mirror.path.rglob("*") if mirror else ():
        if path.is_file():
            path.read_bytes()
    subprocess.run(["sync", "--file-system", str(inventory)], timeout=300, check=True)


def _by_shell(inventory: Path) -> Usage:
    folder = inventory.parent
    write_settings(inventory, folder)
    try:
        with accounted(inventory.stem) as usage:
            timed([str(SCRIPT), str(folder)], _DEADLINE_S)
    except subprocess.CalledProcessError as error:
        logs = (f"{path.name}:\n{path.read_text(errors='replace')[-1500:]}" for path in sorted(folder.glob("*.log")))
        raise subprocess.CalledProcessError(
            error.returncode, error.cmd, error.stdout, error.stderr + "\n".join(logs)
        ) from error
    return usage


def _by_gpuctl(inventory: Path) -> Usage:
    with accounted(inventory.stem) as usage:
        _bootstrap(inventory)
    return usage


def _again(inventory: Path) -> float:
    """Median seconds of a bootstrap that finds nothing to do; an error when one has started Ansible."""
    known = set(_runs_with_ansible(inventory))
    if not known:
        raise RuntimeError("the first bootstrap left no events of Ansible: their place has changed")
    seconds = statistics.median(_bootstrap(inventory) for _ in range(_AGAIN))
    for events in sorted(set(_runs_with_ansible(inventory)) - known):
        plan = events.with_name("plan.json").read_text(encoding="utf-8")
        raise RuntimeError(f"a bootstrap of what was complete had something to do: {' '.join(plan.split())}")
    return seconds


def _bootstrap(inventory: Path) -> float:
    """With a state directory and a kubeconfig of its own: the user's stay as they are."""
    environment = {**os.environ, "XDG_STATE_HOME": str(inventory.parent / "state"), "NO_COLOR": "1"}
    command = [GPUCTL, "bootstrap", "--inventory", str(inventory)]
    return timed([*command, "--kubeconfig", str(inventory.parent / "kubeconfig")], _DEADLINE_S, environment=environment)


def _runs_with_ansible(inventory: Path) -> Iterator[Path]:
    """Ansible's events are in the run's directory; without Ansible there is no such file."""
    return inventory.parent.glob("state/gpuctl/runs/*-bootstrap*/events.jsonl")
