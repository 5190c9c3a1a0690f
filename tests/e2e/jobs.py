"""Jobs over the nodes of a lab: run to their end, or watched while they run."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import bootstrap.jobs.payload as payload
from tests.e2e.tool import GPUCTL, Lab

IMAGE = "docker.io/library/python:3.11-slim-bookworm"
FILES = [str(Path(payload.__file__).with_name(name)) for name in ("collective.py", "ranks.py")]
ALL_REDUCE = ("python3", "/opt/gpuctl/collective.py", "--bytes", "4194304")
# It says a word, and stays until it is told to end; the number tells its processes from others.
_STAY = "import signal, sys, time; signal.signal(signal.SIGTERM, lambda *_: sys.exit(1)); print('here', flush=True); "
STAY = ("python3", "-c", _STAY + "time.sleep(31539)")
STAYING = "time.sleep.31539"
# By their full names: kubectl looks for these anew where it knows them not.
KINDS = (
    "jobs.batch.volcano.sh",
    "jobsets.jobset.x-k8s.io",
    "pytorchjobs.kubeflow.org",
    "podgroups.scheduling.volcano.sh",
)


def run_job(lab: Lab, *arguments: str, command: tuple[str, ...], expect: int = 0, image: str = IMAGE) -> dict[str, Any]:
    """`gpuctl job run` to its end: its JSON document."""
    words = ("job", "run", *lab.named, "--image", image, "--output", "json", *arguments, "--", *command)
    return lab.gpuctl(*words, expect=expect).document


def all_reduce(lab: Lab, *arguments: str) -> list[dict[str, Any]]:
    """The reports of the ranks of an all-reduce, in order."""
    words = [word for path in FILES for word in ("--file", path)]
    done = run_job(lab, *arguments, *words, command=ALL_REDUCE)["data"]
    assert [rank["exit_code"] for rank in done["ranks"]] == [0] * len(done["ranks"])
    return [json.loads(done["tails"][number][-1]) for number in sorted(done["tails"], key=int)]


@contextmanager
def staying(lab: Lab, *arguments: str) -> Iterator[tuple[subprocess.Popen[str], dict[int, str]]]:
    """A job of two ranks that both run: the process that follows it, and rank → node. Ended with the block."""
    words = [GPUCTL, "job", "run", *lab.named, "--image", IMAGE, "--nodes", "2", *arguments, "--", *STAY]
    process = subprocess.Popen(
        words, cwd=lab.folder, env=lab.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        nodes = {}
        while len(nodes) < 2:
            line = process.stdout.readline()
            assert line, process.communicate()[1]
            number, _, node = line[1:].partition("]")[0].partition(" ")
            nodes[int(number)] = node
        yield process, nodes
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
        process.communicate(timeout=120)


def left(lab: Lab) -> list[str]:
    """What there is of jobs in the default namespace, also of those that other launchers make."""
    return objects(lab, *KINDS)


def objects(lab: Lab, *more: str) -> list[str]:
    """What there is of jobs in the default namespace."""
    kinds = ",".join(("jobs.batch", "pods", "services", "configmaps", *more))
    found = lab.kubectl("get", kinds, "-l", "app.kubernetes.io/managed-by=gpuctl", "-o", "name", "-n", "default")
    return found.split()
