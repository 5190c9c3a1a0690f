"""What the roles of the Launch agent are told: its settings are the group's, its key and its chart values are files."""

from __future__ import annotations

import netrc
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from bootstrap.errors import GpuctlError, Problem, settings_error
from bootstrap.exit_codes import ExitCode
from bootstrap.hostside.gpuctl_wandb import key_complaint
from bootstrap.inventory.launch_values import parse_values, settings_of
from bootstrap.inventory.model import LAUNCH_AGENT, Host, Inventory
from bootstrap.inventory.schema import component_named
from bootstrap.inventory.secret import Secret
from bootstrap.probe.facts import HostFacts

HOST_MODE = "host"
API_KEY_VARIABLE = "WANDB_API_KEY"


@dataclass(frozen=True, slots=True)
class LaunchFiles:
    """What the agent's settings name on this machine: the key, empty where there is none, and the chart's values."""

    api_key: Secret = field(default_factory=Secret)
    values: Mapping[str, Any] = field(default_factory=dict)


def read_launch_files(inventory: Inventory) -> LaunchFiles:
    """The files that the first host of the group launch_agent names; nothing where the group is empty.

    Raises:
        GpuctlError: a file cannot be read, or the values are not the chart's (exit 3).
    """
    agents = inventory.group(LAUNCH_AGENT)
    if not agents:
        return LaunchFiles()
    if agents[0].settings["launch_agent_api_key_file"]:
        key = _read(inventory, agents[0], "launch_agent_api_key_file", private=True)
    else:
        key = os.environ.get(API_KEY_VARIABLE, "") or key_of_login(str(agents[0].settings["launch_agent_base_url"]))
    values: Mapping[str, Any] = {}
    if name := agents[0].settings["launch_agent_values_file"]:
        values, problems = parse_values(_read(inventory, agents[0], "launch_agent_values_file"), Path(name))
        if problems:
            raise GpuctlError(ExitCode.SETTINGS, *problems)
    return LaunchFiles(Secret(key.strip()), values)


def key_of_login(base_url: str) -> Secret:
    """What `wandb login` left in netrc for that server, of which the port counts; empty where it left nothing."""
    path = Path(os.environ.get("NETRC") or "~/.netrc").expanduser()
    try:
        found = netrc.netrc(str(path)).authenticators(urlsplit(base_url).netloc)
    except (OSError, netrc.NetrcParseError, UnicodeDecodeError):
        return Secret("")
    return Secret(found[2] or "") if found else Secret("")


def launch_arguments(host: Host, facts: HostFacts | None, inventory: Inventory, files: LaunchFiles) -> dict[str, Any]:
    """Arguments of launch_agent and launch_agent_host for one host; without facts, as for a host that has neither.

    The agent is one, wherever its settings stand: every host is given those of the group's first host. What the
    chart's values say holds where the inventory says nothing.
    """
    agents = inventory.group(LAUNCH_AGENT)
    first = (agents or (host,))[0]
    charts = {name: value for name, value in settings_of(files.values).items() if name not in first.explicit}
    role = component_named("launch_agent")
    kept = frozenset(role.pinned) - first.explicit  # as they were installed, which the caller knows
    own = {v.name: first.settings[v.name] for v in role.variables if not v.derived and v.name not in kept}
    on_hosts = bool(agents) and first.settings["launch_agent_mode"] == HOST_MODE
    receipts = facts.receipts if facts else {}
    return {
        **own,
        **charts,
        "launch_agent_wanted": bool(agents),
        "launch_agent_api_key": files.api_key or Secret(charts.get("launch_agent_api_key", "")),
        "launch_agent_values": files.values,
        # After a change to mode cluster the service has to be stopped where it is.
        "launch_agent_host_wanted": host in agents and (on_hosts or "launch_agent_host" in receipts),
        "launch_agent_host_running": on_hosts,
        "launch_agent_renews_itself": on_hosts and not all(map(_has_admin_rights, agents)),
        "launch_agent_host_renewed_by_root": _has_admin_rights(host),
    }


def _has_admin_rights(host: Host) -> bool:
    """Whether root of the host may administer the cluster, and so make tokens of the agent's account."""
    return host.is_control_plane or host.is_minikube


def check_launch_settings(inventory: Inventory) -> None:
    """See, before any host is asked, whether the agent's settings and files are what they should be.

    Raises:
        GpuctlError: they are not (exit 3).
    """
    if problems := tuple(launch_problems(inventory, read_launch_files(inventory))):
        raise GpuctlError(ExitCode.SETTINGS, *problems)


def launch_problems(inventory: Inventory, files: LaunchFiles) -> Iterator[Problem]:
    """What keeps an agent from working that can be told before any change."""
    agents = inventory.group(LAUNCH_AGENT)
    if not agents:
        return
    at = (agents[0].origins or {}).get("launch_agent_api_key_file")
    values = launch_arguments(agents[0], None, inventory, files)
    for name in ("launch_agent_entity", "launch_agent_queues"):
        if not values[name]:
            words = f"the Launch agent needs `{name}`"
            yield Problem("variable-invalid", words, f"set {name} for the group launch_agent")
    given = values["launch_agent_api_key"] or files.values.get("agent", {}).get("useExternalWandbSecret")
    if files.api_key and (words := key_complaint(files.api_key)):
        yield Problem("launch-key-invalid", words, "copy the key anew from your W&B settings page", at=at)
    elif not given:
        fix = f"name a file with it in launch_agent_api_key_file, set {API_KEY_VARIABLE}, or run `wandb login`"
        yield Problem("launch-key-missing", "there is no W&B API key for the Launch agent", fix, at=at)


def _read(inventory: Inventory, host: Host, variable: str, *, private: bool = False) -> str:
    path = Path(str(host.settings[variable])).expanduser()
    path = path if path.is_absolute() else inventory.path.parent / path
    origin = (host.origins or {}).get(variable)
    try:
        if private and path.stat().st_mode & 0o077:
            words = f"{variable}: {path} can be read by others than its owner"
            raise settings_error(Problem("launch-key-exposed", words, f"chmod 600 {path}", at=origin))
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        words = f"{variable}: {path}: {getattr(error, 'strerror', None) or error}"
        raise settings_error(Problem("variable-invalid", words, "name a file that can be read", at=origin)) from error
