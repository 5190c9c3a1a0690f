"""examples/: manifests as the command renders them, and a script that knows each launcher's variables."""

from __future__ import annotations

import importlib.util
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bootstrap.cli.main import main
from bootstrap.jobs.render import render
from bootstrap.jobs.spec import JobSpec, Launcher

DDP = Path(__file__).parents[3] / "examples" / "ddp"
VOLCANO = {"WORLD_SIZE": "2", "RANK": "1", "MASTER_ADDR": "ddp-master-0.ddp", "MASTER_PORT": "23456"}
OF_VOLCANO = ["--nnodes=2", "--node_rank=1", "--master_addr=ddp-master-0.ddp", "--master_port=23456"]
# The training operator's: WORLD_SIZE counts processes here.
OPERATORS = {**VOLCANO, "WORLD_SIZE": "16", "PET_NNODES": "2", "PET_NODE_RANK": "1", "PET_NPROC_PER_NODE": "8"}


def readme_command() -> list[str]:
    text = (DDP / "README.md").read_text(encoding="utf-8").replace("\\\n", " ")
    (line,) = re.findall(r"^gpuctl job render .*$", text, re.MULTILINE)
    return shlex.split(line)[1:]


def options_of(environment: dict[str, str], gpus: int) -> list[str]:
    found = importlib.util.spec_from_file_location("ddp_train", DDP / "train.py")
    assert found is not None
    assert found.loader is not None
    module: Any = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    options: list[str] = module.torchrun_options(environment, gpus)
    return options


@pytest.mark.parametrize("launcher", list(Launcher))
def test_manifests_are_what_the_readme_renders(
    golden: Callable[[Path, str], None], capsys: pytest.CaptureFixture[str], launcher: Launcher
) -> None:
    words = [str(launcher) if word == "LAUNCHER" else word for word in readme_command()]
    assert main(words) == 0
    golden(DDP / "manifests" / f"{launcher}.yml", capsys.readouterr().out)


@pytest.mark.parametrize(
    ("environment", "gpus", "options"),
    [
        ({}, 0, ["--nproc_per_node=1"]),
        ({}, 8, ["--nproc_per_node=8"]),
        (VOLCANO, 8, ["--nproc_per_node=8", *OF_VOLCANO]),
        (OPERATORS, 8, []),
        # Rendered by gpuctl for Volcano: a shell has put RANK into PET_NODE_RANK.
        ({**VOLCANO, "PET_NNODES": "2", "PET_NODE_RANK": "1", "PET_NPROC_PER_NODE": "8"}, 8, []),
        ({"PET_NNODES": "2", "PET_NODE_RANK": "0"}, 0, ["--nproc_per_node=1"]),
    ],
)
def test_torchrun_is_told_what_it_cannot_read(environment: dict[str, str], gpus: int, options: list[str]) -> None:
    assert options_of(environment, gpus) == options


def test_a_variable_that_is_missing_is_named() -> None:
    with pytest.raises(ValueError, match="lacks RANK, MASTER_PORT"):
        options_of({"WORLD_SIZE": "2", "MASTER_ADDR": "a"}, 1)


@pytest.mark.parametrize("launcher", [Launcher.JOB, Launcher.JOBSET])
def test_variables_that_gpuctl_renders_suffice(launcher: Launcher) -> None:
    job = render(JobSpec(name="ddp", launcher=launcher, image="a", command=("a",), nodes=2, gpus=8))[-1]["spec"]
    pods = job if launcher is Launcher.JOB else job["replicatedJobs"][0]["template"]["spec"]
    names = {each["name"]: "1" for each in pods["template"]["spec"]["containers"][0]["env"]}
    assert options_of(names, 8) == []


@pytest.mark.skipif(importlib.util.find_spec("torch") is not None, reason="torch is installed")
def test_an_image_without_torch_is_told() -> None:
    command = [sys.executable, str(DDP / "train.py")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env={**os.environ})
    assert done.returncode == 1
    assert done.stderr == "this image has no torch\n"
