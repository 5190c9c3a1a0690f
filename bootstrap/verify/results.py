"""What verification saw: per node and layer, and per GPU."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from bootstrap.errors import Problem
from bootstrap.exit_codes import ExitCode
from bootstrap.jsonform import plain
from bootstrap.verify.collective import Collective

# From the bus up; a layer is only judged while the ones below it hold (else NOT_RUN).
_HOST = ("pci", "driver", "device", "nvml", "runtime", "cdi")
# Of a node that is a container: what Docker gives a container, and what is in the node's.
CONTAINER_LAYERS = ("docker", "container")
_CLUSTER = ("node", "plugin", "allocatable", "compute")
LAYERS = (*_HOST, *_CLUSTER)
ALL_LAYERS = (*_HOST, *CONTAINER_LAYERS, *_CLUSTER)


class LayerState(StrEnum):
    """How one layer stands on one node."""

    OK = "ok"
    FAILED = "failed"
    NOT_RUN = "not-run"  # a layer below failed, or nothing there to judge
    UNKNOWN = "unknown"  # could not be read
    TAKEN = "taken"  # nothing is wrong, and what could not be tried is somebody's


HOLDS = frozenset({LayerState.OK, LayerState.TAKEN})


@dataclass(frozen=True, slots=True)
class LayerResult:
    """One cell. `count` is the number of GPUs seen there, for the layers that count them; `detail` one sentence."""

    state: LayerState
    count: int | None = None
    detail: str = ""


@dataclass(frozen=True, slots=True)
class GpuResult:
    """One GPU of one node. `uuid` and `index` are None for a GPU that NVML does not list.

    `taken_by` is the pod that holds it ("namespace/name"): it was not tried, and nothing says that it is broken.
    """

    pci: str  # 0000:01:00.0
    uuid: str | None
    index: int | None
    name: str
    allocatable: bool
    computed: bool
    passed: bool
    detail: str = ""
    taken_by: str = ""


@dataclass(frozen=True, slots=True)
class NodeResult:
    """One node with its layers (keys: LAYERS, all of them; CONTAINER_LAYERS as well in minikube) and its GPUs.

    `notes` are sentences on what is no fault. Of a host that was not `reached` nothing is known.
    """

    host: str
    simulated: bool
    layers: Mapping[str, LayerResult]
    gpus: tuple[GpuResult, ...] = ()
    notes: tuple[str, ...] = ()
    reached: bool = True

    @property
    def passed(self) -> bool:
        """Whether every layer holds, and every GPU that could be tried."""
        holds = all(layer.state in HOLDS for layer in self.layers.values())
        return holds and all(gpu.passed or gpu.taken_by for gpu in self.gpus)


@dataclass(frozen=True, slots=True)
class VerifyResult:
    """`gpuctl verify-gpus`: exit OK only when every GPU that is expected passed on every layer, or is somebody's.

    `collective` is None unless it was asked for.
    """

    exit_code: ExitCode
    cluster_name: str
    nodes: tuple[NodeResult, ...]
    elapsed_s: float
    problems: tuple[Problem, ...] = ()
    collective: Collective | None = None

    @property
    def total(self) -> int:
        """GPUs looked at."""
        return sum(len(node.gpus) for node in self.nodes)

    @property
    def passed(self) -> int:
        """GPUs that passed."""
        return sum(gpu.passed for node in self.nodes for gpu in node.gpus)

    @property
    def taken(self) -> int:
        """GPUs that were not tried, because other pods hold them."""
        return sum(bool(gpu.taken_by) for node in self.nodes for gpu in node.gpus)

    def as_dict(self) -> dict[str, Any]:
        """The `data` of the JSON document."""
        data: dict[str, Any] = plain(self)
        del data["exit_code"], data["problems"]
        return data | {"gpus_total": self.total, "gpus_passed": self.passed, "gpus_taken": self.taken}
