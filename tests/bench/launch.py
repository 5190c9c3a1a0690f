"""A queue's job from its submission to its pod, and gpuctl again with the Launch agent and volumes on.

The server is the double in tests/doubles/wandb_api: what is measured is the agent and the cluster.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bootstrap.testvm import firewall, state
from bootstrap.testvm.names import LabPaths
from tests.bench.measure import GPUCTL, Figure, timed
from tests.doubles import wandb_api

_NAME, _ENTITY, _QUEUE, _TIMES = "benchla", "bench", "gpus", 3
_STAGES_TO_POD = ("agent", "job", "pod")


def figures() -> Iterator[Figure]:
    with _lab() as (inventory, options):
        preset = ("--preset", "job", "--gpus", "1,1,8", "--namespace", "jobs")
        _gpuctl(inventory, "launch", "queue", "apply", _QUEUE, *preset, *options)
        seconds = _gpuctl(inventory, "bootstrap", *_named(inventory))
        yield Figure("2 hosts to a polling agent by gpuctl bootstrap", seconds)
        again = statistics.median(_gpuctl(inventory, "bootstrap", *_named(inventory)) for _ in range(_TIMES))
        yield Figure("gpuctl bootstrap again, agent and volumes on", again, 3.0, note=f"median of {_TIMES}")
        trials = [_to_pod(inventory) for _ in range(_TIMES + 1)][1:]  # the first one pulls the image
        yield Figure("a job from the queue to its running pod", max(trials), 15.0, note=f"slowest of {_TIMES}")


@contextmanager
def _lab() -> Iterator[tuple[Path, tuple[str, ...]]]:
    """The inventory of two hosts whose agent has a server, and the options that name that server."""
    down = [GPUCTL, "testvm", "down", "--name", _NAME]
    with tempfile.TemporaryDirectory() as folder:
        inventory = Path(folder) / f"{_NAME}.ini"
        up = [GPUCTL, "testvm", "up", "--name", _NAME, "--hosts", "2", "--gpus", "8", "--inventory", str(inventory)]
        try:
            timed(down, 300)
            timed(up, 900, Path(folder))
            record = state.load(LabPaths.of(_NAME))
            if record is None:
                raise RuntimeError(f"lab {_NAME} has no record")
            gateway = str(record.subnet.gateway)
            with wandb_api.running(address=(gateway, 0), teams=[_ENTITY]) as server:
                firewall.open_ports(_NAME, [server.port])
                key = Path(folder) / "wandb.key"
                key.write_text(server.api_key)
                key.chmod(0o600)
                inventory.write_text(inventory.read_text() + _settings(server.url, gateway))
                yield inventory, ("-e", _ENTITY, "--base-url", server.url, "--api-key-file", str(key))
        finally:
            timed(down, 300)


def _settings(url: str, gateway: str) -> str:
    return f"""
launch_agent_entity={_ENTITY}
launch_agent_queues=["{_QUEUE}"]
launch_agent_base_url={url}
launch_agent_api_key_file=wandb.key
launch_agent_target_namespaces=["default", "jobs"]
nfs_client_enabled=false
nfs_volumes_server={gateway}

[launch_agent]
cp1
"""


def _named(inventory: Path) -> tuple[str, ...]:
    return ("--inventory", str(inventory), "--kubeconfig", str(inventory.parent / "kubeconfig"))


def _gpuctl(inventory: Path, *arguments: str) -> float:
    return timed([GPUCTL, *arguments], 900, inventory.parent, _environment(inventory))


def _environment(inventory: Path) -> dict[str, str]:
    return {**os.environ, "XDG_STATE_HOME": str(inventory.parent / "state"), "NO_COLOR": "1"}


def _to_pod(inventory: Path) -> float:
    """Seconds from the item in the queue to the pod that runs, as `gpuctl launch test` saw them."""
    command = [GPUCTL, "launch", "test", "-q", _QUEUE, "--gpus", "2", "--inventory", str(inventory), "--output", "json"]
    done = subprocess.run(
        command, env=_environment(inventory), stdin=subprocess.DEVNULL, capture_output=True, text=True,
        timeout=300, check=False,
    )  # fmt: skip
    if done.returncode:
        raise subprocess.CalledProcessError(done.returncode, command, done.stdout, done.stderr)
    stages: list[dict[str, Any]] = json.loads(done.stdout)["data"]["stages"]
    return sum(float(stage["elapsed_s"]) for stage in stages if stage["stage"] in _STAGES_TO_POD)
