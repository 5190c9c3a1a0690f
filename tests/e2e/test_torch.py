"""The training of examples/ddp with PyTorch and gloo on two nodes, under each launcher. Optional: `make torch`.

PyTorch is Debian's, for processors: the GPUs of test hosts are simulated, and compute nothing.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from tests.e2e import jobs
from tests.e2e.conftest import made_lab
from tests.e2e.researcher import ROOT
from tests.e2e.test_addons import ADDONS, LAUNCHERS
from tests.e2e.tool import GPUCTL, Lab

pytestmark = pytest.mark.e2e
LANE_COST_S = 900  # two cores, everything built
IMAGE = "docker.io/local/torch:1.13.1"
TRAIN = ROOT / "examples" / "ddp" / "train.py"
# Without the first two torchrun 1.13 on Python 3.11 ends with an error, without the third it keeps what ranks say.
QUIRKS = ("--env", "PET_REDIRECTS=1", "--env", "PET_TEE=1", "--env", "PYTHONUNBUFFERED=1")


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A control plane, two workers, and the addons."""
    if not os.environ.get("GPUCTL_TEST_TORCH"):
        pytest.skip("SKIPPED PyTorch: optional, `make torch` trains with it")
    subprocess.run([GPUCTL, "testvm", "components", "build", "--with", "batch,torch"], check=True)
    with made_lab(tmp_path_factory.mktemp("lab"), "d", "--hosts", "3", "--gpus", "2") as made:
        made.inventory.write_text(made.inventory.read_text() + f"\ncluster_addons={list(ADDONS)}\n".replace("'", '"'))
        made.json("bootstrap", *made.named)
        yield made


@pytest.mark.parametrize("launcher", ["job", *LAUNCHERS])
def test_two_nodes_train_one_model(lab: Lab, launcher: str) -> None:
    begun = time.monotonic()
    words = ("--launcher", launcher, "--nodes", "2", "--gpus", "1", "--file", str(TRAIN), *QUIRKS)
    command = ("python3", "/opt/gpuctl/train.py", "--epochs", "2")
    done = jobs.run_job(lab, *words, "--start-timeout", "600", command=command, image=IMAGE)["data"]
    said = "\n".join(line for lines in done["tails"].values() for line in lines)
    sys.stderr.write(f"{launcher}: {time.monotonic() - begun:.0f} s\n{said}\n")
    assert "epoch 1: loss " in said
    assert ", 2 processes on cpu" in said
    for rank in (0, 1):
        assert f"rank {rank} of 2: weights equal those of all ranks" in said


def test_all_nodes_add_up_by_gloo(lab: Lab) -> None:
    """NCCL where there are GPUs: PyTorch sees none of the simulated ones."""
    found = lab.json("verify-gpus", *lab.named, "--collective-image", IMAGE)["data"]["collective"]
    sys.stderr.write(f"{found}\n")
    assert (found["transport"], found["error"]) == ("gloo", "")
    assert all(rank["sum_right"] and rank["bytes_per_s"] > 0 for rank in found["ranks"])
