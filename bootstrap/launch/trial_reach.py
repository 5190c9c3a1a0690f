"""Whom a trial asks: the W&B server and the cluster, as the options and the inventory name them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bootstrap.access import Access
from bootstrap.errors import GpuctlError, Problem, usage_error
from bootstrap.exit_codes import ExitCode
from bootstrap.inventory.load import load_inventory
from bootstrap.inventory.model import LAUNCH_AGENT, Inventory
from bootstrap.inventory.schema import variables
from bootstrap.inventory.secret import Secret
from bootstrap.kube.client import ApiError, Cluster, cluster_api, kubeconfig_api
from bootstrap.launch.agent_key import key_for
from bootstrap.launch.trial_model import Asked
from bootstrap.plan.launch_arguments import API_KEY_VARIABLE, launch_arguments, read_launch_files

DEFAULT_PROJECT = "gpuctl-test"
_BASE_URL = "launch_agent_base_url"
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
    """The request with all blanks filled; `ca_file` is empty where the system's own authorities hold."""

    asked: Asked
    base_url: str
    api_key: Secret
    ca_file: str
    inventory: Inventory | None


def resolve(request: TrialRequest) -> Target:
    """Fill the blanks from the inventory.

    Raises:
        GpuctlError: no entity is named (exit 2), there is no key, or the inventory or a file that it names is wrong
            (exit 3).
    """
    inventory = load_inventory(request.inventory) if request.inventory is not None else None
    of_agent = _of_agent(inventory)
    entity = request.entity or str(of_agent.get("launch_agent_entity") or "")
    if not entity:
        raise usage_error("no W&B entity is named", "give --entity, or set WANDB_ENTITY")
    image = inventory.hosts[0].settings[_IMAGE] if inventory else variables()[_IMAGE].default
    asked = Asked(
        entity=entity,
        queue=request.queue,
        project=request.project or DEFAULT_PROJECT,
        image=request.image or str(image),
        gpus=request.gpus,
        timeout_s=request.timeout_s,
    )
    base_url = request.base_url or str(of_agent.get(_BASE_URL) or variables()[_BASE_URL].default)
    key = request.api_key or Secret(of_agent.get("launch_agent_api_key") or os.environ.get(API_KEY_VARIABLE, ""))
    return Target(
        asked=asked,
        base_url=base_url,
        api_key=key_for(base_url, key),
        ca_file=_ca_file(inventory) if inventory else "",
        inventory=inventory,
    )


def _of_agent(inventory: Inventory | None) -> Mapping[str, Any]:
    """The agent's settings, where the inventory has an agent: its server, entity and key are those to use."""
    agents = inventory.group(LAUNCH_AGENT) if inventory else ()
    if inventory is None or not agents:
        return {}
    return launch_arguments(agents[0], None, inventory, read_launch_files(inventory))


def _ca_file(inventory: Inventory) -> str:
    """The site's CA, which the server's certificate may be made with; empty for none."""
    named = Path(str(inventory.hosts[0].settings.get("cluster_ca_file") or "")).expanduser()
    if named == Path():
        return ""
    return str(named if named.is_absolute() else inventory.path.parent / named)


@contextmanager
def reach_cluster(target: Target, request: TrialRequest) -> Iterator[Cluster]:
    """The API of the cluster, which has answered once.

    Raises:
        GpuctlError: the kubeconfig cannot be used (exit 3), the API or its hosts do not answer (exit 4), or there is
            no cluster (exit 6).
    """
    with ExitStack() as stack:
        yield _first_that_answers(target, request, stack)


def _first_that_answers(target: Target, request: TrialRequest, stack: ExitStack) -> Cluster:
    if target.inventory is None:
        cluster = stack.enter_context(kubeconfig_api(request.kubeconfig, request.context))
        if (problem := _silence(cluster)) is not None:
            raise GpuctlError(ExitCode.PREFLIGHT, problem)
        return cluster
    errors: list[GpuctlError] = []
    for plane in target.inventory.control_plane:
        with ExitStack() as own:
            try:
                cluster = own.enter_context(cluster_api(plane, request.access))
            except GpuctlError as error:
                errors.append(error)
                continue
            if (problem := _silence(cluster, plane.name)) is None:
                stack.push(own.pop_all())
                return cluster
            errors.append(GpuctlError(ExitCode.PREFLIGHT, problem))
    raise errors[0]


def _silence(cluster: Cluster, host: str | None = None) -> Problem | None:
    """Why the API does not answer; None when it does."""
    try:
        cluster.get("/version")
    except ApiError as error:
        if error.status:
            return None  # it answered
        return Problem("launch-cluster-unreachable", error.message, "look at the network and the control plane", host)
    return None
