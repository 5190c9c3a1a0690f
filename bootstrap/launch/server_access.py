"""Which W&B server a command speaks to, for whom and with which key: its options, else the inventory's agent's."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bootstrap.errors import Problem, settings_error, usage_error
from bootstrap.hostside.gpuctl_wandb import Server
from bootstrap.inventory.model import LAUNCH_AGENT, Inventory
from bootstrap.inventory.plain_http import unencrypted
from bootstrap.inventory.schema import variables
from bootstrap.inventory.secret import Secret
from bootstrap.launch.agent_key import key_for
from bootstrap.plan.launch_arguments import API_KEY_VARIABLE, launch_arguments, read_launch_files

_BASE_URL = "launch_agent_base_url"


@dataclass(frozen=True, slots=True)
class ServerOptions:
    """What a command was given; what is empty comes from the inventory, else from the environment and the defaults."""

    entity: str = ""
    base_url: str = ""
    api_key: Secret = field(default_factory=Secret)


@dataclass(frozen=True, slots=True)
class ServerAccess:
    """All of it, resolved; `ca_text` is the PEM of the site's CA, empty where the system's own authorities hold."""

    entity: str
    base_url: str
    api_key: Secret
    ca_text: str = ""
    lab: bool = False

    @property
    def warning(self) -> str:
        """That the key goes unencrypted, where it does."""
        return unencrypted(self.base_url, lab=self.lab, from_here=True)

    @property
    def server(self) -> Server:
        """The server as this key sees it."""
        return Server(self.base_url, str(self.api_key), self.ca_text)


def server_access(given: ServerOptions, inventory: Inventory | None) -> ServerAccess:
    """Fill what was not given.

    Raises:
        GpuctlError: no entity is named (exit 2), there is no key, or a file that the inventory names cannot be used
            (exit 3).
    """
    of_agent = _of_agent(inventory)
    entity = given.entity or str(of_agent.get("launch_agent_entity") or "")
    if not entity:
        raise usage_error("no W&B entity is named", "give --entity, or set WANDB_ENTITY")
    base_url = given.base_url or str(of_agent.get(_BASE_URL) or variables()[_BASE_URL].default)
    key = given.api_key or Secret(of_agent.get("launch_agent_api_key") or os.environ.get(API_KEY_VARIABLE, ""))
    ca, lab = (ca_text(inventory), inventory.lab) if inventory else ("", False)
    return ServerAccess(entity, base_url, key_for(base_url, key), ca, lab)


def ca_text(inventory: Inventory) -> str:
    """The site's CA, which the server's certificate may be made with. Raises GpuctlError (exit 3): unreadable."""
    named = str(inventory.hosts[0].settings.get("cluster_ca_file") or "")
    if not named:
        return ""
    path = inventory.path.parent / Path(named).expanduser()
    try:
        return path.read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError) as error:
        words = f"cluster_ca_file: {path}: {getattr(error, 'strerror', None) or 'not a PEM file'}"
        raise settings_error(Problem("variable-invalid", words, "name a PEM file that can be read")) from error


def _of_agent(inventory: Inventory | None) -> Mapping[str, Any]:
    """The agent's settings, where the inventory has an agent: its server, entity and key are those to use."""
    agents = inventory.group(LAUNCH_AGENT) if inventory else ()
    if inventory is None or not agents:
        return {}
    return launch_arguments(agents[0], None, inventory, read_launch_files(inventory))
