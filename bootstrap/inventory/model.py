"""What an inventory says, resolved: the frozen result that every later station reads."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bootstrap.errors import Problem

CONTROL_PLANE = "control_plane"
WORKERS = "workers"
# The one host of a cluster that minikube makes: it excludes the others.
MINIKUBE = "minikube"
NODE_GROUPS = frozenset({CONTROL_PLANE, WORKERS})
# Groups whose hosts serve the cluster; they may be nodes as well, or stand beside it.
NFS_SERVER = "nfs_server"
LAUNCH_AGENT = "launch_agent"
SERVICE_GROUPS = (NFS_SERVER, LAUNCH_AGENT)


@dataclass(frozen=True, slots=True)
class Connection:
    """How to reach one host: Ansible's connection variables, resolved.

    A `local` host is this machine: commands run here, and `address` says only by which address others reach it, where
    the inventory names one. `ssh_args` is ansible_ssh_args, `ssh_common_args` the common and the extra ones.
    """

    address: str
    port: int | None = None
    user: str | None = None
    key_file: str | None = None
    ssh_common_args: str = ""
    become: bool = False
    become_method: str = "sudo"
    python: str = "/usr/bin/python3"
    local: bool = False
    ssh_args: str = ""
    become_exe: str = "sudo"

    def ssh_words(self, *further: str) -> tuple[str, ...]:
        """The words that Ansible puts between `ssh` and the address, in its order: ssh keeps the first of each option.

        `further` are those of how it logs in: between the inventory's ansible_ssh_args and its other arguments.

        Raises:
            ValueError: a quotation mark is missing (refused by check_connection).
        """
        own = {"Port": self.port, "IdentityFile": self.key_file and f'"{self.key_file}"', "User": self.user}
        options = [word for name, value in own.items() if value for word in ("-o", f"{name}={value}")]
        return (*shlex.split(self.ssh_args), *options, *further, *shlex.split(self.ssh_common_args))

    @property
    def python_words(self) -> tuple[str, ...]:
        """The Python of the host as words of a command: `/usr/bin/env python3` is two."""
        return tuple(shlex.split(self.python))

    @property
    def become_words(self) -> tuple[str, ...]:
        """The sudo of the host as words of a command."""
        return tuple(shlex.split(self.become_exe))

    @property
    def from_here(self) -> str:
        """The address at which this machine reaches the host's ports."""
        return "127.0.0.1" if self.local else self.address


@dataclass(frozen=True, slots=True)
class Host:
    """One host of the inventory.

    `settings` holds every public variable of every role (plus cluster_*), coerced by the roles' specs, defaults
    filled in; `explicit` names those that the inventory sets itself; `origins` gives `file:line` for these;
    `connection_vars` are the ansible_* variables, for the inventory that Ansible is run with.
    """

    name: str
    groups: frozenset[str]
    connection: Connection
    settings: Mapping[str, Any]
    explicit: frozenset[str] = frozenset()
    origins: Mapping[str, str] | None = None
    connection_vars: Mapping[str, Any] | None = None

    @property
    def is_control_plane(self) -> bool:
        """Whether the host is in the group control_plane."""
        return CONTROL_PLANE in self.groups

    @property
    def is_node(self) -> bool:
        """Whether the host is a node of the cluster, or is to become one."""
        return bool(self.groups & NODE_GROUPS)

    @property
    def is_minikube(self) -> bool:
        """Whether the host is to hold a minikube cluster."""
        return MINIKUBE in self.groups


@dataclass(frozen=True, slots=True)
class Inventory:
    """All hosts, in the order of the file."""

    path: Path
    hosts: tuple[Host, ...]
    lab: bool = False  # written by `gpuctl testvm up`: its hosts, and the way to them, are inside this machine
    notes: tuple[Problem, ...] = ()  # what is to be said of it although it is good

    def host(self, name: str) -> Host:
        """The host of that name; KeyError when there is none."""
        for host in self.hosts:
            if host.name == name:
                return host
        raise KeyError(name)

    @property
    def control_plane(self) -> tuple[Host, ...]:
        """The hosts of the group control_plane."""
        return tuple(h for h in self.hosts if h.is_control_plane)

    @property
    def nodes(self) -> tuple[Host, ...]:
        """The hosts that are, or are to become, nodes: control planes and workers."""
        return tuple(h for h in self.hosts if h.is_node)

    @property
    def minikube(self) -> Host | None:
        """The host that minikube's cluster is on; None in an inventory of nodes."""
        return next((h for h in self.hosts if h.is_minikube), None)

    @property
    def api_hosts(self) -> tuple[Host, ...]:
        """The hosts on which the cluster's API is: control planes, or the minikube host."""
        return tuple(h for h in self.hosts if h.is_control_plane or h.is_minikube)

    def group(self, name: str) -> tuple[Host, ...]:
        """The hosts of a group; empty where the file has no such group."""
        return tuple(h for h in self.hosts if name in h.groups)

    @property
    def cluster_name(self) -> str:
        """The cluster's name: one for all hosts (validated)."""
        return str(self.hosts[0].settings["cluster_name"])
