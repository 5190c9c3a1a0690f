"""One machine: `gpuctl minikube up` beside bare `minikube start` with the same options, on a host that has all else.

The node image is a stand-in and the GPUs are simulated, for both alike; the bare one finds the same files in its cache.
"""

from __future__ import annotations

import json
import shlex
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from bootstrap.inventory.load import load_inventory
from bootstrap.minikube.command import start_command, start_environment
from bootstrap.minikube.look import BUNDLE
from bootstrap.minikube.options import ProfileOptions, parse_bundle, with_bundle, with_defaults
from tests.bench.measure import GPUCTL, Figure, timed
from tests.e2e.researcher import Researcher
from tests.e2e.tool import Lab

_NAME, _PROFILE, _GPUS, _TIMES = "benchmk", "bench", 8, 3
_NAMED = ("--profile", _PROFILE)
_SIZE = ("--cpus", "2", "--memory", "4g")
# Without internet access a plugin's image has to be brought, or no GPU is ever allocatable.
_LOAD = f"for image in {BUNDLE}/addons/*.tar; do minikube --profile {_PROFILE} image load $image || exit 1; done"
_MEDIAN = f"median of {_TIMES}"


def figures() -> Iterator[Figure]:
    with _lab() as lab:
        yield Figure("a host without Docker to 8 GPUs by minikube up", _up(lab))
        start = _bare_command(lab)
        _down(lab)
        bare = _on_host(lab, f"{start} && {_LOAD}")
        waited = _until_gpus(lab)
        note = f"and images loaded; {waited:.1f} s more until its GPUs were allocatable"
        yield Figure("bare minikube start, host ready", bare, note=note)
        yield Figure("bare minikube start again", _on_host(lab, start))
        _down(lab)
        up = _up(lab)
        yield Figure("gpuctl minikube up, host ready, to 8 GPUs", up)
        yield Figure("that, less the same wait, to bare", (up - waited) / bare, 1.1, "x")
        yield Figure("gpuctl minikube up again, over ssh", _median(lambda: _up(lab)), 3.0, note=_MEDIAN)
        seconds = _median(lambda: lab.gpuctl("minikube", "status", *_NAMED, *lab.named).elapsed_s)
        yield Figure("gpuctl minikube status, over ssh", seconds, note=_MEDIAN)
        Researcher(lab, "mk1")
        here = _median(lambda: _on_host(lab, shlex.join(["gpuctl", "minikube", "status", *_NAMED])))
        yield Figure("gpuctl minikube status, on the machine", here, 1.5, note=_MEDIAN)
        bare = _median(lambda: _on_host(lab, shlex.join(["minikube", "status", *_NAMED])))
        yield Figure("bare minikube status, on the machine", bare, note=_MEDIAN)


@contextmanager
def _lab() -> Iterator[Lab]:
    down = [GPUCTL, "testvm", "down", "--name", _NAME]
    with tempfile.TemporaryDirectory() as folder:
        try:
            timed(down, 300)
            timed([GPUCTL, "testvm", "up", "--name", _NAME, "--lane", "minikube"], 900, Path(folder))
            yield Lab(_NAME, Path(folder))
        finally:
            timed(down, 300)


def _up(lab: Lab) -> float:
    return lab.gpuctl("minikube", "up", *_NAMED, *_SIZE, *lab.named).elapsed_s


def _down(lab: Lab) -> None:
    lab.gpuctl("minikube", "down", "--yes", *_NAMED, *lab.named)


def _median(measure: Callable[[], float]) -> float:
    return statistics.median(measure() for _ in range(_TIMES))


def _bare_command(lab: Lab) -> str:
    """What gpuctl calls minikube with, for people to type; the bundle's files are in its cache already."""
    bundle = parse_bundle(BUNDLE, lab.ssh("mk1", "cat", f"{BUNDLE}/bundle.json"))
    extra = tuple(str(item) for item in load_inventory(lab.inventory).hosts[0].settings["minikube_extra_config"])
    asked = ProfileOptions(profile=_PROFILE, cpus="2", memory="4g", extra_config=extra)
    options = with_defaults(with_bundle(asked, bundle), gpus=True)
    environment = [f"{name}={value}" for name, value in start_environment(bundle).items()]
    return shlex.join(["env", *environment, *start_command(options, bundle, root=True)])


def _on_host(lab: Lab, command: str) -> float:
    """Seconds that a command takes there, as the host's own clock has it."""
    script = f"({command}) >/tmp/said 2>&1 || {{ cat /tmp/said >&2; exit 1; }}"
    script = f"export PATH=/usr/local/bin:$PATH; a=$(date +%s%N); {script}; echo $(($(date +%s%N) - a))"
    return int(lab.ssh("mk1", "sh", "-c", script, deadline_s=600)) / 1e9


def _until_gpus(lab: Lab) -> float:
    """Seconds from now until the node offers all of them."""
    begun = time.monotonic()
    while True:
        status = lab.json("minikube", "status", *_NAMED, *lab.named, expect=None)
        if (status.get("data") or {}).get("gpus") == _GPUS:
            return time.monotonic() - begun
        if time.monotonic() - begun > 120:
            raise RuntimeError(f"no {_GPUS} GPUs after bare minikube start: {json.dumps(status)[-500:]}")
        time.sleep(0.5)
