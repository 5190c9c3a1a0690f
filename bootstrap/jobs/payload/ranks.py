"""Who a pod is among the pods of its job, from what its launcher put into the environment.

Standard library only, Python 3.8 and later: shipped into pods beside collective.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

DEFAULT_PORT = 29500


class Place(NamedTuple):
    """Rank of this pod, how many pods there are, and where rank 0 listens; `said_by` names the variables."""

    rank: int
    pods: int
    address: str
    port: int
    said_by: str


def place_of(environment: Mapping[str, str]) -> Place:
    """The place that the launcher gave this pod.

    PET_* are torchrun's own and count nodes: the plain Job, the JobSet and the training operator have them. Without
    them RANK and WORLD_SIZE count pods, as Volcano's pytorch plugin has it; the training operator's WORLD_SIZE counts
    processes, so that PET_* go first. Without any the pod is alone.

    Raises:
        ValueError: a variable is missing beside the others, or is no number.
    """
    if "PET_NNODES" in environment:
        names = ("PET_NODE_RANK", "PET_NNODES", "PET_MASTER_ADDR", "PET_MASTER_PORT")
    elif "WORLD_SIZE" in environment:
        names = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
    else:
        return Place(0, 1, "127.0.0.1", DEFAULT_PORT, "")
    rank_name, pods_name, address_name, port_name = names
    missing = [name for name in (rank_name, address_name) if not environment.get(name)]
    if missing:
        raise ValueError(f"the environment has {pods_name} and lacks {', '.join(missing)}")
    rank = _number(environment, rank_name)
    pods = _number(environment, pods_name)
    port = _number(environment, port_name) if environment.get(port_name) else DEFAULT_PORT
    if not 0 <= rank < pods:
        raise ValueError(f"{rank_name}={rank} is not below {pods_name}={pods}")
    return Place(rank, pods, environment[address_name], port, "PET_*" if rank_name[0] == "P" else "RANK, WORLD_SIZE")


def _number(environment: Mapping[str, str], name: str) -> int:
    text = environment[name]
    if not text.isascii() or not text.isdecimal():
        raise ValueError(f"{name}={text!r} is no number")
    return int(text)
