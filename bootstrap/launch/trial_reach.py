"""Whom a trial asks: the W&B server and the cluster, as the options and the inventory name them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from bootstrap.access import Access
from bootstrap.inventory.load import load_inventory
from bootstrap.inventory.model import Inventory
from bootstrap.inventory.schema import variables
from bootstrap.inventory.secret import Secret
from bootstrap.kube.client import Cluster
from bootstrap.kube.reach import Whereabouts, answering_api
from bootstrap.launch.server_access import ServerAccess, ServerOptions, server_access
from bootstrap.launch.trial_model import Asked

DEFAULT_PROJECT = "gpuctl-test"
_IMAGE = "cluster_python_image"


@dataclass(frozen=True, slots=True)
class TrialRequest:
    """What `gpuctl launch test` was given; what is empty or None comes from the inventory, else from the defaults.

    `timeout_s` in seconds. Without an inventory the cluster is that of `context` in `kubeconfig`.
    """

    queue: str
    entity: str = ""
    project: str = ""
    gpus: int | None = None
    image: str = ""
    timeout_s: float = 300.0
    base_url: str = ""
    api_key: Secret = field(default_factory=Secret)
    inventory: Path | None = None
    kubeconfig: Path | None = None
    context: str = ""
    access: Access = field(default_factory=Access)


@dataclass(frozen=True, slots=True)
class Target:
    """The request with all blanks filled."""

    asked: Asked
    server: ServerAccess
    inventory: Inventory | None


def resolve(request: TrialRequest) -> Target:
    """Fill the blanks from the inventory.

    Raises:
        GpuctlError: no entity is named (exit 2), there is no key, or the inventory or a file that it names is wrong
            (exit 3).
    """
    inventory = load_inventory(request.inventory) if request.inventory is not None else None
    server = server_access(ServerOptions(request.entity, request.base_url, request.api_key), inventory)
    image = inventory.hosts[0].settings[_IMAGE] if inventory else variables()[_IMAGE].default
    asked = Asked(
        entity=server.entity,
        queue=request.queue,
        project=request.project or DEFAULT_PROJECT,
        image=request.image or str(image),
        gpus=request.gpus,
        timeout_s=request.timeout_s,
    )
    return Target(asked, server, inventory)


@contextmanager
def reach_cluster(target: Target, request: TrialRequest) -> Iterator[Cluster]:
    """The API of the cluster, which has answered once.

    Raises:
        GpuctlError: the kubeconfig cannot be used (exit 3), the API or its hosts do not answer (exit 4), or there is
            no cluster (exit 6).
    """
    where = Whereabouts(target.inventory, request.kubeconfig, request.context, request.access)
    with answering_api(where, "launch-cluster-unreachable") as cluster:
        yield cluster
