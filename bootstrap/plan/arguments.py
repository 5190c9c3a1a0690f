"""From settings and facts to the arguments of every role on every host.

Roles read nothing but their arguments, so whatever depends on other hosts or on what a host is gets decided here.
Called by the planner and, under plain ansible-playbook, by the gpuctl_arguments action plugin.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bootstrap.errors import Problem, settings_error
from bootstrap.hostside.gpuctl_receipts import known_arguments
from bootstrap.inventory.model import MINIKUBE, SERVICE_GROUPS, Host, Inventory
from bootstrap.inventory.schema import Component, components
from bootstrap.plan.absence import absent_hosts
from bootstrap.plan.addon_arguments import addon_arguments
from bootstrap.plan.addresses import node_address
from bootstrap.plan.cluster_view import ClusterView, recorded_argument
from bootstrap.plan.containerd_arguments import containerd_arguments
from bootstrap.plan.driver_arguments import driver_arguments
from bootstrap.plan.images import by_digest_alone, pinned_images
from bootstrap.plan.kubeadm_arguments import kubeadm_arguments
from bootstrap.plan.launch_arguments import LaunchFiles, launch_arguments
from bootstrap.plan.minikube_plan import belongs_on_minikube, minikube_arguments
from bootstrap.plan.model import Update, upgrade_command
from bootstrap.plan.nfs_arguments import nfs_arguments
from bootstrap.plan.renewals import renewals
from bootstrap.probe.facts import HostFacts


@dataclass(frozen=True, slots=True)
class Arguments:
    """`by_host[host][variable]` for all public variables; `updates` are newer defaults that pins hold back."""

    by_host: Mapping[str, Mapping[str, Any]]
    updates: tuple[Update, ...]


def resolve_arguments(
    inventory: Inventory, facts: Mapping[str, HostFacts], view: ClusterView, launch: LaunchFiles | None = None
) -> Arguments:
    """Arguments of every probed host: inventory, then pins of receipts, then what facts and files decide.

    Without `launch`, what the Launch agent's files hold is left empty: enough to undo things.
    """
    by_host: dict[str, dict[str, Any]] = {}
    renewed = renewals(facts, view)
    updates: dict[tuple[str, str], Update] = {}
    ca_text = _read_ca(inventory)
    for host in inventory.hosts:
        if host.name not in facts:
            continue
        values = dict(host.settings)
        for update in _apply_pins(values, host, facts, view):
            updates.setdefault((update.component, update.variable), update)
        values.update(pinned_images(host, values, facts, view))
        values.update(_derived(host, values, facts, view, inventory))
        values.update(renewed)
        values.update(nfs_arguments(host, values, facts, view, inventory))
        values.update(addon_arguments(values))
        values.update(minikube_arguments(host, values, facts[host.name]))
        values.update(launch_arguments(host, facts[host.name], inventory, launch or LaunchFiles()))
        values.update(pinned_images(host, values, facts, view))  # what those files name, such as the agent's image
        values["cluster_ca_certificate"] = ca_text
        by_host[host.name] = values
    return Arguments(by_host, tuple(updates.values()))


def components_for(host: Host, values: Mapping[str, Any], view: ClusterView) -> tuple[Component, ...]:
    """The components that belong on the host, in order; the cluster's own are on the seed."""
    return tuple(
        component
        for component in components()
        if (not component.wanted or values[component.wanted]) and _belongs(component, host, values, view)
    )


def _belongs(component: Component, host: Host, values: Mapping[str, Any], view: ClusterView) -> bool:
    if host.is_minikube or component.hosts == MINIKUBE:
        return belongs_on_minikube(component, host, values)
    if component.scope == "cluster":
        return host.name == view.seed and (component.hosts != "gpu" or bool(values["cluster_has_gpus"]))
    if component.hosts in SERVICE_GROUPS:
        return component.hosts in host.groups
    if component.hosts == "gpu":
        return bool(values["cluster_gpu_host"])
    if component.hosts == "control_plane":
        return host.is_control_plane
    return host.is_node


def expected_gpus(facts: HostFacts) -> frozenset[str]:
    """PCI addresses of the GPUs that the host should offer: on the bus now, or known to the driver's receipt."""
    known = frozenset(str(address) for address in facts.receipts.get("nvidia_driver", {}).get("gpus") or ())
    out = frozenset(gpu.address for gpu in facts.left_out_gpus)
    return (frozenset(gpu.address for gpu in facts.counted_gpus) | known) - out


def is_gpu_host(facts: HostFacts) -> bool:
    """Whether it should offer any: a card that vanished does not make a CPU node."""
    return bool(expected_gpus(facts))


def _apply_pins(values: dict[str, Any], host: Host, facts: Mapping[str, HostFacts], view: ClusterView) -> list[Update]:
    """Replace unset versions by those that the receipts name; report the newer default."""
    updates = []
    for component in components():
        for variable in component.pinned:
            if variable in host.explicit:
                continue
            installed = _recorded(component, variable, host.name, facts, view)
            default = values.get(variable)
            if installed is None or installed == default:
                continue
            values[variable] = installed
            values.update(_following(component, variable, host, values))
            if not default or not isinstance(default, str) or variable in component.assumed:
                continue  # whatever there is: nothing newer is known, or it is a choice and no version
            updates.append(
                Update(
                    component.name, variable, str(installed), str(default), upgrade_command(component.name, variable)
                )
            )
    return updates


def _following(component: Component, pinned: str, host: Host, values: Mapping[str, Any]) -> dict[str, Any]:
    """Defaults that are made of a pinned version, such as an image's name: made of the one that is installed."""
    from jinja2.sandbox import SandboxedEnvironment

    use = re.compile(r"\{\{.*\b" + re.escape(pinned) + r"\b.*\}\}")
    plain = SandboxedEnvironment(autoescape=False)  # no HTML; what is rendered is the role's own text

    def made(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: made(item) for key, item in value.items()}
        return plain.from_string(value).render(values) if isinstance(value, str) else value

    free = [v for v in component.variables if v.name not in host.explicit and v.name != pinned]
    return {v.name: made(v.default) for v in free if isinstance(v.default, str | dict) and use.search(str(v.default))}


def _recorded(component: Component, variable: str, host: str, facts: Mapping[str, HostFacts], view: ClusterView) -> Any:
    """The value in the host's receipt, else in the seed's (a joining node takes the cluster's versions)."""
    places: list[Mapping[str, Any]] = []
    if component.scope == "cluster":
        places.append((view.kube.receipts if view.kube else {}).get(component.name, {}))
    else:
        places.append(facts[host].receipts.get(component.name, {}))
        if component.name == "kubeadm" and view.seed in facts:
            places.append(facts[view.seed].receipts.get(component.name, {}))
    for receipt in places:
        known = known_arguments(receipt)
        entry = known.get(variable)
        if entry and "value" in entry:
            return entry["value"]
        if known and not entry and variable in component.assumed:
            return component.assumed[variable]
    return None


def _derived(
    host: Host, values: Mapping[str, Any], facts: Mapping[str, HostFacts], view: ClusterView, inventory: Inventory
) -> dict[str, Any]:
    mine = facts[host.name]
    seed_values = inventory.host(view.seed).settings
    gpu_mode = values["cluster_gpu"]
    gpu_host = (host.is_node or host.is_minikube) and gpu_mode != "none" and is_gpu_host(mine)
    nodes = [facts[h.name] for h in inventory.hosts if (h.is_node or h.is_minikube) and h.name in facts]
    return {
        "cluster_os": _system(mine),
        "cluster_gpu_host": gpu_host,
        "cluster_has_gpus": gpu_mode != "none"
        and (any(map(is_gpu_host, nodes)) or _gpus_are_absent(facts, view, inventory)),
        "cluster_endpoint_address": _endpoint_address(facts, view, inventory),
        "kube_host_time_service": mine.time_synchronised is False or _time_service_is_ours(mine),
        **driver_arguments(host, values, mine),
        "nvidia_driver_reboot_ok": values["nvidia_driver_reboot_ok"] and not host.connection.local,
        "nvidia_container_toolkit_architecture": "arm64" if mine.os.arch == "aarch64" else "amd64",
        "nvidia_container_toolkit_envvar": values["nvidia_device_plugin_device_list_strategy"] == "envvar",
        **containerd_arguments(host, values, mine),
        "containerd_prefetch_images": prefetch_images(host, {**seed_values, **values}, gpu_host),
        **kubeadm_arguments(host, values, facts, view, inventory, gpu_host),
    }


def _gpus_are_absent(facts: Mapping[str, HostFacts], view: ClusterView, inventory: Inventory) -> bool:
    """Whether hosts that could not be probed may be those with the GPUs: the cluster has a device plugin."""
    if not any(host.is_node for host in absent_hosts(inventory, facts)):
        return False
    return view.kube is not None and "nvidia_device_plugin" in view.kube.receipts


def _system(facts: HostFacts) -> str:
    """Such as debian-12: it names files of the roles here, so what a host says is none unless it looks like that."""
    name = f"{facts.os.id}-{facts.os.version_id}"
    return name if re.fullmatch(r"[a-z0-9]+-[0-9]+(\.[0-9]+)*", name) else "unknown"


def _endpoint_address(facts: Mapping[str, HostFacts], view: ClusterView, inventory: Inventory) -> str:
    """The control plane that the endpoint's name resolves to: as recorded while that host still is one of the cluster.

    One that was reset, or has yet to join, answers nobody.
    """
    planes = [h for h in inventory.control_plane if h.name in facts]
    serving = [h for h in planes if facts[h.name].cluster.admin_conf or facts[h.name].cluster.etcd_data]
    theirs = [node_address(h, facts[h.name]) for h in (serving if view.exists and serving else planes)]
    if view.seed not in facts:
        return theirs[0] if theirs else ""
    recorded = recorded_argument(facts[view.seed], "kube_host", "cluster_endpoint_address")
    planes_absent = any(host.is_control_plane for host in absent_hosts(inventory, facts))
    return (
        str(recorded)
        if recorded in theirs or (recorded and planes_absent)
        else node_address(inventory.host(view.seed), facts[view.seed])
    )


def _time_service_is_ours(facts: HostFacts) -> bool:
    """Once installed by us the argument stays true, or the second run would see a change."""
    return bool(recorded_argument(facts, "kube_host", "kube_host_time_service"))


def prefetch_images(host: Host, values: Mapping[str, Any], gpu_host: bool) -> list[str]:
    """Images that later steps will ask for on this host, in the order in which they are needed."""
    registry = values["kubeadm_image_repository"]
    version = f"v{values['kubeadm_kubernetes_version']}"
    images = [values["containerd_sandbox_image"], f"{registry}/kube-proxy:{version}"]
    if host.is_control_plane:
        parts = ("kube-apiserver", "kube-controller-manager", "kube-scheduler")
        images[1:1] = [f"{registry}/{part}:{version}" for part in parts]
    images += [values["flannel_cni_plugin_image"], values["flannel_image"]]
    if gpu_host:
        images.append(values["nvidia_device_plugin_image"])
    return [by_digest_alone(str(image)) for image in images]


def _read_ca(inventory: Inventory) -> str:
    files: Sequence[str] = sorted({str(h.settings.get("cluster_ca_file") or "") for h in inventory.hosts})
    if files == [""]:
        return str(inventory.hosts[0].settings.get("cluster_ca_certificate") or "")  # where an earlier run's is kept
    path = Path(files[-1]).expanduser()
    if not path.is_absolute():
        path = inventory.path.parent / path
    try:
        return path.read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError) as error:
        origin = (inventory.hosts[0].origins or {}).get("cluster_ca_file")
        raise settings_error(
            Problem(
                "variable-invalid", f"cluster_ca_file: {path}: {error}", "name a PEM file that can be read", at=origin
            )
        ) from error
