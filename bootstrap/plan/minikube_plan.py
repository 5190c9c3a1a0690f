"""What belongs on the host of a minikube cluster, and what its roles are told about it."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any

from bootstrap.checks.docker import AT_LEAST, UNIT, engine, has_engine, major
from bootstrap.errors import Problem, settings_error
from bootstrap.inventory.model import MINIKUBE, SERVICE_GROUPS, Host, Inventory
from bootstrap.inventory.schema import Component
from bootstrap.plan.addons import SETTING, known_addons
from bootstrap.plan.cluster_view import recorded_argument
from bootstrap.probe.facts import HostFacts

# Of the components that nodes have, those that this host has as well; the GPU's only where there is one.
_SHARED = frozenset({"kube_host"})
_SHARED_GPU = frozenset({"nvidia_driver", "nvidia_container_toolkit"})
# What is put into the profile. Its network and device plugin are minikube's own.
_IN_PROFILE = frozenset({"nfs_volumes", "csi_driver_nfs", "launch_agent"})


def belongs_on_minikube(component: Component, host: Host, values: Mapping[str, Any]) -> bool:
    """Whether a component belongs on the host, or would if it were the minikube host."""
    if not host.is_minikube:
        return False
    if component.scope == "cluster":
        return component.name in _IN_PROFILE
    if component.hosts in SERVICE_GROUPS:
        return component.hosts in host.groups
    return (
        component.hosts == MINIKUBE
        or component.name in _SHARED
        or (component.name in _SHARED_GPU and bool(values["cluster_gpu_host"]))
    )


def minikube_arguments(host: Host, values: Mapping[str, Any], facts: HostFacts) -> dict[str, Any]:
    """Derived arguments of the roles for one host, as a minikube host or as none."""
    found: dict[str, Any] = {
        "kube_host_minimal": host.is_minikube,
        "kube_host_bpf_jit_for_gpus": host.is_minikube and bool(values["cluster_gpu_host"]),
        "nvidia_container_toolkit_engine": "docker" if host.is_minikube else "containerd",
        "docker_adopt": adopts_docker(facts),
        "minikube_adopt": "minikube_version" not in host.explicit,
    }
    if host.is_minikube:
        # The cluster has an endpoint of its own; an address that a lease may change must not make a receipt differ.
        found["cluster_endpoint_address"] = ""
        found["kube_host_time_service"] = False
    return found


def needs_profile(component: Component) -> bool:
    """Whether the component's step has to wait until minikube's node runs: it is put into it, or serves it."""
    return component.scope == "cluster" or component.hosts in SERVICE_GROUPS


def restarts_docker(component: Component, values: Mapping[str, Any], facts: HostFacts) -> bool:
    """Whether installing the component restarts a Docker that runs already, with containers of others perhaps."""
    concerned = component.name in {"docker", "nvidia_container_toolkit"}
    on_docker = values["nvidia_container_toolkit_engine"] == "docker"
    return concerned and on_docker and facts.units.get(UNIT, "").startswith("active")


def adopts_docker(facts: HostFacts) -> bool:
    """Whether a Docker that gpuctl did not install stays: packages that are new enough, or a unit without packages."""
    before = recorded_argument(facts, "docker", "docker_adopt")
    if before is False or not has_engine(facts):  # one that was kept, and that its owner has removed since
        return False
    name, version = engine(facts)
    return bool(before) or not name or major(version) >= AT_LEAST


def refuse_minikube(inventory: Inventory, command: str) -> None:
    """Raise GpuctlError (settings, exit 3) for an inventory whose cluster minikube makes."""
    if host := inventory.minikube:
        words = (
            f"`gpuctl {command}` is about clusters of nodes, and {inventory.path} holds the minikube host {host.name}"
        )
        fix = f"run `gpuctl minikube up --inventory {shlex.quote(str(inventory.path))}`"
        raise settings_error(Problem("minikube-inventory", words, fix))


def require_minikube(inventory: Inventory) -> None:
    """Raise GpuctlError (settings, exit 3) for an inventory without a minikube host."""
    if inventory.minikube is None:
        words = f"{inventory.path} has no host in the group minikube"
        raise settings_error(Problem("minikube-inventory", words, "list the machine under [minikube]"))
    for addon in known_addons():
        if addon.name in inventory.minikube.settings[SETTING] and addon.component.name not in _IN_PROFILE:
            words = f"{addon.name} is an addon of clusters of nodes, and no minikube profile gets it"
            raise settings_error(Problem("variable-invalid", words, f"take it out of {SETTING}"))
