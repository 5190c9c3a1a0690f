"""What Docker gives a container: the program that is sent to the host, and what its answer says."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from bootstrap.access import Access
from bootstrap.probe.bundle import packed
from bootstrap.probe.session import Completed
from bootstrap.verify import container
from bootstrap.verify.container import WAYS, ContainerGpus, container_gpus
from tests.unit.factories import minikube_inventory
from tests.unit.minikube.machine import Machine

DOCKER = """#!/bin/sh
case "$*" in
  import*) cat >/dev/null; echo sha256:ours ;;
  image*|rm*) echo "$*" >> "${0%/*}/cleared" ;;
  *--device*) echo "unresolvable CDI devices nvidia.com/gpu=all" >&2; exit 125 ;;
  run*) printf 'null\\nnvidia0\\nnvidia1\\n' ;;
esac
"""


@pytest.fixture
def _on_this_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A docker of the test's own; what would run as root runs as we are."""
    (tmp_path / "docker").write_text(DOCKER, encoding="utf-8")
    (tmp_path / "docker").chmod(0o755)

    def run_python(_session: object, _host: object, program: str, **_: object) -> Completed:
        environment = {"PATH": f"{tmp_path}:/usr/bin:/bin"}
        done = subprocess.run(
            [sys.executable, "-I", "-"], input=program, capture_output=True, text=True, env=environment, check=True
        )
        return Completed(done.returncode, done.stdout, done.stderr)

    monkeypatch.setattr(container, "run_python", run_python)


def asked(gpus: str) -> ContainerGpus:
    return container_gpus(Machine(), minikube_inventory().hosts[0], Access(), gpus)


@pytest.mark.usefixtures("_on_this_machine")
def test_the_program_asks_docker_in_the_way_that_is_asked_for() -> None:
    given = asked("all")
    assert (given.way, given.got, given.rc, given.error) == (("--gpus", "all"), 2, 0, "")
    refused = asked("nvidia.com")
    assert (refused.rc, refused.fault) == (
        125,
        "docker run --device nvidia.com/gpu=all: unresolvable CDI devices nvidia.com/gpu=all",
    )


def test_a_machine_without_docker_cannot_be_asked() -> None:
    program = packed(("gpuctl_hostio", "gpuctl_dockergpus"), WAYS["all"])
    done = subprocess.run(
        [sys.executable, "-I", "-"], input=program, capture_output=True, text=True, env={"PATH": "/none"}, check=True
    )
    assert "docker" in json.loads(done.stdout)["error"]


@pytest.mark.parametrize(
    ("found", "tells", "fault"),
    [
        (ContainerGpus(have=2, got=2), True, ""),
        (ContainerGpus(have=2, got=1), True, "docker run --gpus all: the container sees 1 of 2 GPUs"),
        (ContainerGpus(have=2, rc=125), True, "docker run --gpus all: it said nothing"),
        (ContainerGpus(have=2, rc=127, said="exec: nvidia-container-runtime: not found"), True,
         "docker run --gpus all: exec: nvidia-container-runtime: not found"),
        (ContainerGpus(have=2, rc=127, said="/host/bin/ls: not found"), False, ""),
        (ContainerGpus(error="docker import failed"), False, ""),
    ],
)  # fmt: skip
def test_what_an_answer_says(found: ContainerGpus, tells: bool, fault: str) -> None:
    assert (found.tells, found.fault) == (tells, fault)
