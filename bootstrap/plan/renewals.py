"""Pods of gpuctl's own DaemonSets that have to be made anew on some nodes, and labels of nodes that are not as set.

Neither shows in an object that gpuctl applied: the DaemonSet is as it was, and the node is the kubelet's.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bootstrap.plan.cluster_view import ClusterView, node_name
from bootstrap.probe.facts import HostFacts, NodeFacts

PLUGIN = "nvidia_device_plugin_renewed_on"
FLANNEL = "flannel_renewed_on"
# A plugin registers within seconds of its start; one that was renewed and still offers fewer GPUs is not renewed again.
_SETTLED_S = 60
_NO_NETWORK = ("NetworkPluginNotReady", "cni plugin not initialized")


def renewals(facts: Mapping[str, HostFacts], view: ClusterView) -> dict[str, list[str]]:
    """The nodes on which pods of the device plugin and of flannel are to be made anew, as those roles' arguments."""
    plugin, network = [], []
    for mine in facts.values():
        node = view.nodes.get(node_name(mine))
        if node is None:
            continue
        if _offers_too_few(mine, node):
            plugin.append(node.name)
        if not node.ready and any(word in node.reason for word in _NO_NETWORK) and "flannel" in _receipts(view):
            network.append(node.name)
    return {PLUGIN: sorted(plugin), FLANNEL: sorted(network)}


def _receipts(view: ClusterView) -> Mapping[str, Any]:
    return view.kube.receipts if view.kube else {}


def _offers_too_few(facts: HostFacts, node: NodeFacts) -> bool:
    """Whether the driver has GPUs that the kubelet does not offer, though the device plugin had time to register."""
    driver = facts.driver
    sound = [gpu for gpu in driver.gpus if not (gpu.remap_failed or gpu.ecc_uncorrected)]
    settled = node.plugin_age_s is not None and node.plugin_age_s >= _SETTLED_S
    return node.ready and settled and not driver.nvml_error and node.allocatable_gpus < len(sound) and not _shared(node)


def _shared(node: NodeFacts) -> bool:
    """Whether the GPUs go by other names there: shared, or as MIG instances."""
    return node.other_gpus > 0


def renewal_reasons(component: str, values: Mapping[str, Any]) -> tuple[str, ...]:
    """Why a component has a step on account of its pods."""
    if component == "nvidia_device_plugin":
        words = "offers fewer GPUs than its driver has: the device plugin's pod there is made anew"
        return tuple(f"{name} {words}" for name in values.get(PLUGIN) or ())
    if component == "flannel":
        words = "has no pod network configuration: flannel's pod there is made anew"
        return tuple(f"{name} {words}" for name in values.get(FLANNEL) or ())
    return ()


def label_drift(facts: HostFacts, view: ClusterView, values: Mapping[str, Any]) -> tuple[str, ...]:
    """Labels that kubeadm's role set on the host's node and that are not there any more, one sentence each."""
    node = view.nodes.get(node_name(facts))
    if node is None:
        return ()
    wanted: Mapping[str, str] = values.get("kubeadm_node_labels") or {}
    return tuple(
        f"label {key}={value} of node {node.name} was "
        + (f"changed to {node.labels[key]}" if key in node.labels else "removed")
        for key, value in sorted(wanted.items())
        if node.labels.get(key) != value
    )
