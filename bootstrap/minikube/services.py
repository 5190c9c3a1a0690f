"""What stands beside a profile on its host, by the options of `gpuctl minikube up`: a Launch agent, an NFS export."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bootstrap.errors import usage_error
from bootstrap.inventory.model import LAUNCH_AGENT, NFS_SERVER, Inventory
from bootstrap.inventory.overlay import with_settings


@dataclass(frozen=True, slots=True)
class Services:
    """What was given; what is empty or None is as the inventory has it. `nfs_export` is the path on the host."""

    launch_agent: bool = False
    queues: tuple[str, ...] = ()
    entity: str = ""
    max_jobs: int | None = None
    base_url: str = ""
    api_key_file: Path | None = None
    nfs_export: str = ""


def with_services(inventory: Inventory, given: Services) -> Inventory:
    """The inventory with its minikube host in the groups of these services, and their settings.

    Raises:
        GpuctlError: an agent without queue or entity, its options without an agent, or a value that cannot be (exit 2).
    """
    host = inventory.hosts[0]
    agent = given.launch_agent or LAUNCH_AGENT in host.groups
    if not agent and (given.queues or given.max_jobs is not None):
        raise usage_error("--queue and --max-jobs are about the Launch agent", "give --launch-agent, too")
    if given.launch_agent and not (given.queues or host.settings["launch_agent_queues"]):
        raise usage_error("--launch-agent needs a queue to take jobs from", "give --queue NAME")
    if given.launch_agent and not (given.entity or host.settings["launch_agent_entity"]):
        fix = "give --entity NAME, or set WANDB_ENTITY"
        raise usage_error("--launch-agent needs the user or team that has the queue", fix)
    groups = [LAUNCH_AGENT] * given.launch_agent + [NFS_SERVER] * bool(given.nfs_export)
    settings = dict(_settings(given, agent=agent))
    return with_settings(inventory, groups, settings) if groups or settings else inventory


def _settings(given: Services, *, agent: bool) -> Iterator[tuple[str, Any]]:
    if given.nfs_export:
        yield "nfs_server_path", given.nfs_export
    if not agent:
        return
    if given.queues:
        yield "launch_agent_queues", list(given.queues)
    if given.entity:
        yield "launch_agent_entity", given.entity
    if given.max_jobs is not None:
        yield "launch_agent_max_jobs", given.max_jobs
    if given.base_url:
        yield "launch_agent_base_url", given.base_url
    if given.api_key_file is not None:
        yield "launch_agent_api_key_file", str(given.api_key_file.expanduser().absolute())
