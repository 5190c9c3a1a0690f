"""Distributed data parallel training that begins the same way under each launcher.

`python3 train.py` starts torchrun with what the launcher's variables say, and torchrun starts this file once per GPU.
`torchrun train.py` does the same where PET_* are complete. At the end all ranks compare their weights.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

SAMPLES, FEATURES, BATCH = 8192, 16, 64


def torchrun_options(environment: Mapping[str, str], gpus: int) -> list[str]:
    """What torchrun has to be told beside the PET_* that it reads by itself.

    Indexed Job, JobSet and PyTorchJob set PET_*. Under Volcano WORLD_SIZE and RANK count pods; torchrun gives them
    their other meaning, processes, to what it starts.
    """
    options = [] if environment.get("PET_NPROC_PER_NODE") else [f"--nproc_per_node={max(gpus, 1)}"]
    if environment.get("PET_NODE_RANK") or not environment.get("WORLD_SIZE"):
        return options
    named = {"nnodes": "WORLD_SIZE", "node_rank": "RANK", "master_addr": "MASTER_ADDR", "master_port": "MASTER_PORT"}
    missing = [variable for variable in named.values() if not environment.get(variable)]
    if missing:
        raise ValueError(f"the environment has WORLD_SIZE and lacks {', '.join(missing)}")
    return [*options, *(f"--{option}={environment[variable]}" for option, variable in named.items())]


def start_torchrun() -> None:
    """Become torchrun, which starts this file again."""
    import torch

    try:
        options = torchrun_options(os.environ, torch.cuda.device_count())
    except ValueError as error:
        raise SystemExit(str(error)) from error
    os.execv(sys.executable, [sys.executable, "-m", "torch.distributed.run", *options, *sys.argv])  # noqa: S606


def data() -> Any:
    """The same made-up data on each rank; a sampler gives each its share."""
    import torch

    fixed = torch.Generator().manual_seed(0)
    inputs = torch.randn(SAMPLES, FEATURES, generator=fixed)
    weights = torch.randn(FEATURES, 1, generator=fixed)
    return torch.utils.data.TensorDataset(inputs, torch.tanh(inputs @ weights))


def train(epochs: int, checkpoint: Path | None, timeout_s: float) -> None:
    """Train on this rank's device, together with all others."""
    import torch
    import torch.distributed as dist
    from torch import nn

    cuda = torch.cuda.is_available()
    device = torch.device("cuda", int(os.environ["LOCAL_RANK"])) if cuda else torch.device("cpu")
    if cuda:
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if cuda else "gloo", timeout=timedelta(seconds=timeout_s))
    rank, world = dist.get_rank(), dist.get_world_size()
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(FEATURES, 64), nn.ReLU(), nn.Linear(64, 1)).to(device)
    first = resume(model, checkpoint, rank, device)
    parallel = nn.parallel.DistributedDataParallel(model, device_ids=[device.index] if cuda else None)
    optimizer = torch.optim.SGD(parallel.parameters(), lr=0.05)
    samples = data()
    sampler: Any = torch.utils.data.DistributedSampler(samples, world, rank)
    loader = torch.utils.data.DataLoader(samples, BATCH, sampler=sampler)
    with run_of_wandb(rank) as run:
        for epoch in range(first, epochs):
            sampler.set_epoch(epoch)
            total = torch.zeros((), device=device)
            for inputs, wanted in loader:
                optimizer.zero_grad()
                loss = nn.functional.mse_loss(parallel(inputs.to(device)), wanted.to(device))
                loss.backward()
                optimizer.step()
                total += loss.detach()
            dist.all_reduce(total)
            mean = total.item() / len(loader) / world
            if rank == 0:
                print(f"epoch {epoch}: loss {mean:.5f}, {world} processes on {device.type}", flush=True)
                if run is not None:
                    run.log({"epoch": epoch, "loss": mean})
                save(model, checkpoint, epoch + 1)
    compare(model)
    print(f"rank {rank} of {world}: weights equal those of all ranks", flush=True)
    # Or DistributedDataParallel would be the last to hold the process group, and end gloo's threads with Python's lock
    # held, for which one of them may wait: https://github.com/pytorch/pytorch/issues/56297.
    del parallel
    dist.destroy_process_group()


def resume(model: Any, checkpoint: Path | None, rank: int, device: Any) -> int:
    """The first epoch. Rank 0 reads; DistributedDataParallel gives its weights to the others."""
    import torch
    import torch.distributed as dist

    first = torch.zeros(1, dtype=torch.int64, device=device)
    if rank == 0 and checkpoint is not None and checkpoint.exists():
        state = torch.load(checkpoint, map_location=device, weights_only=True)
        model.load_state_dict(state["model"])
        first += state["epoch"]
    dist.broadcast(first, src=0)
    return int(first.item())


def save(model: Any, checkpoint: Path | None, epoch: int) -> None:
    """Write the checkpoint beside, and put it in place: an interrupted write leaves the old one."""
    import torch

    if checkpoint is None:
        return
    checkpoint.parent.mkdir(parents=True, exist_ok=True)
    beside = checkpoint.with_name(f"{checkpoint.name}.new")
    torch.save({"model": model.state_dict(), "epoch": epoch}, beside)
    beside.replace(checkpoint)


def compare(model: Any) -> None:
    """Fail unless the largest and the smallest value of each weight over all ranks are the same."""
    import torch
    import torch.distributed as dist

    weights = torch.cat([parameter.detach().flatten() for parameter in model.parameters()])
    least, most = weights.clone(), weights.clone()
    dist.all_reduce(least, dist.ReduceOp.MIN)
    dist.all_reduce(most, dist.ReduceOp.MAX)
    if not torch.equal(least, most):
        raise SystemExit("the ranks have different weights: gradients were not added up")


def run_of_wandb(rank: int) -> Any:
    """The run of a Launch queue's job on rank 0, whose WANDB_* the agent set; without them, none."""
    if rank != 0 or "WANDB_RUN_ID" not in os.environ:
        return contextlib.nullcontext()
    import wandb

    return wandb.init()


def main() -> None:
    """Start torchrun, or be one of its processes."""
    parser = argparse.ArgumentParser(description="Train a small model on all ranks of a job.")
    parser.add_argument("--epochs", type=int, default=5, metavar="N")
    parser.add_argument("--checkpoint", type=Path, metavar="FILE", help="written after each epoch, read at the start")
    parser.add_argument("--timeout", type=float, default=600, metavar="SECONDS", help="for ranks that do not come")
    given = parser.parse_args()
    try:
        if "LOCAL_RANK" in os.environ:
            train(given.epochs, given.checkpoint, given.timeout)
        else:
            start_torchrun()
    except ModuleNotFoundError as error:
        raise SystemExit(f"this image has no {error.name}") from error


if __name__ == "__main__":
    main()
