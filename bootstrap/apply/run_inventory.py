"""The inventory that Ansible is run with: every argument resolved, private to one run."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from bootstrap.inventory.model import CONTROL_PLANE, MINIKUBE, SERVICE_GROUPS, WORKERS, Host, Inventory
from bootstrap.plan.digests import plain
from bootstrap.plan.model import CLUSTER, Step


class _Untrusted(dict[str, Any]):
    """Variables of which Ansible must take no text for a template, at any depth."""


class _Dumper(yaml.SafeDumper):
    """Writes `_Untrusted` with Ansible's own tag, and no aliases."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002 - the signature is yaml's
        """Repeat shared values: easier to read, and tags are kept."""
        return True


# On the mapping, not on its texts: Ansible resolves a tagged scalar anew, so that the text "true" would be a boolean.
_Dumper.add_representer(_Untrusted, lambda dumper, values: dumper.represent_mapping("!unsafe", values))


def write_run_inventory(
    path: Path,
    inventory: Inventory,
    arguments: Mapping[str, Mapping[str, Any]],
    steps: Iterable[Step],
    *,
    seed: str,
    run_id: str,
    stop_file: Path,
    extra: Mapping[str, Any],
    become_password: str | None = None,
) -> None:
    """Write the inventory (YAML, 0600): connection, arguments and steps of every probed host.

    `extra` are variables for all hosts. The file holds secrets: its directory goes when the run ends.
    """
    per_host = steps_per_host(steps, seed)
    becoming = _becoming(host for host in inventory.hosts if host.name in arguments)
    hosts: dict[str, Any] = {}
    for host in inventory.hosts:
        if host.name not in arguments:
            continue
        values = {**(host.connection_vars or {}), **becoming.get(host.name, {}), **arguments[host.name]}
        if host.connection.local:
            values["gpuctl_reboot_ok"] = False  # the run would end with the machine
        if become_password is not None:  # as with -K: a host's own password comes first
            values["ansible_become_password"] = values.get("ansible_become_password") or become_password
        hosts[host.name] = _Untrusted(plain({**values, "gpuctl_steps": per_host.get(host.name, [])}))
    shared = {"gpuctl_resolved": True, "gpuctl_seed": seed, "gpuctl_run": run_id, "gpuctl_stop_file": str(stop_file)}
    groups = {
        group: {"hosts": {h.name: None for h in inventory.group(group) if h.name in hosts}}
        for group in (CONTROL_PLANE, WORKERS, MINIKUBE, *SERVICE_GROUPS)
    }
    document = {"all": {"hosts": hosts, "children": groups, "vars": _Untrusted(plain({**shared, **extra}))}}
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as stream:
        yaml.dump(document, stream, Dumper=_Dumper, sort_keys=True)


def _becoming(hosts: Iterable[Host]) -> dict[str, dict[str, bool]]:
    """Where the inventory names no user, ssh's own configuration does: whoever is not root has to become it.

    Raises:
        ConnectFailure: ssh refuses its configuration.
    """
    from bootstrap.probe.ssh_config import Resolver

    ssh = Resolver()
    unnamed = [host for host in hosts if not host.connection.local and host.connection.user is None]
    return {host.name: {"ansible_become": ssh.target(host).user != "root"} for host in unnamed}


def steps_per_host(steps: Iterable[Step], seed: str) -> dict[str, list[str]]:
    """Component names per inventory host; the cluster's own run on the seed."""
    found: dict[str, list[str]] = {}
    for step in steps:
        found.setdefault(seed if step.host == CLUSTER else step.host, []).append(step.component)
    return found
