"""Device plugins of a cluster, whoever installed them, and what keeps one from a node. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bootstrap.verify.nodes import NodeSeen, Taint
from bootstrap.verify.stuck import Stuck, start_failure

_NOT_PLUGINS = ("mps-control", "feature-discovery")  # of the same image
PRESENT = "nvidia.com/gpu.present"
_ENFORCE = "pod-security.kubernetes.io/enforce"


@dataclass(frozen=True, slots=True)
class PluginSet:
    """A DaemonSet that runs a device plugin of NVIDIA's. `tolerations` are as the API has them."""

    namespace: str
    name: str
    selector: Mapping[str, str]
    tolerations: tuple[Mapping[str, str], ...]
    ours: bool

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


@dataclass(frozen=True, slots=True)
class PluginPod:
    """A pod of such a DaemonSet on one node. `state` is Running, or a reason; `log` its last line where it crashes."""

    namespace: str
    name: str
    owner: str
    state: str
    log: str = ""

    @property
    def delete(self) -> str:
        """The command after which its DaemonSet makes another."""
        return f"`kubectl -n {self.namespace} delete pod {self.name}`"


@dataclass(frozen=True, slots=True)
class PluginView:
    """The plugins as one node sees them. `obstacle` is why there is no pod, where there is none."""

    sets: tuple[PluginSet, ...] = ()
    pods: tuple[PluginPod, ...] = ()
    obstacle: Stuck | None = None


def plugin_sets(daemonsets: Sequence[Mapping[str, Any]]) -> tuple[PluginSet, ...]:
    """The DaemonSets among these that run a device plugin."""
    return tuple(_set(item) for item in daemonsets if _is_plugin(item))


def _template(daemonset: Mapping[str, Any]) -> Mapping[str, Any]:
    found: Mapping[str, Any] = (daemonset.get("spec", {}).get("template") or {}).get("spec") or {}
    return found


def _is_plugin(daemonset: Mapping[str, Any]) -> bool:
    if any(word in daemonset["metadata"]["name"] for word in _NOT_PLUGINS):
        return False
    for container in _template(daemonset).get("containers") or []:
        words = f"{container.get('name')} {container.get('image')}"
        if "nvidia" in words and "device-plugin" in str(container.get("name")):
            return True
    return False


def _set(item: Mapping[str, Any]) -> PluginSet:
    meta, template = item["metadata"], _template(item)
    owners = [str(entry.get("manager")) for entry in meta.get("managedFields") or [] if isinstance(entry, Mapping)]
    return PluginSet(
        namespace=str(meta.get("namespace")),
        name=meta["name"],
        selector=template.get("nodeSelector") or {},
        tolerations=tuple(template.get("tolerations") or ()),
        ours="gpuctl" in owners,
    )


def plugin_pods(pods: Sequence[Mapping[str, Any]], sets: Sequence[PluginSet]) -> dict[str, list[PluginPod]]:
    """Node → pods of the plugins there, of all pods of the cluster."""
    known = {(s.namespace, s.name): str(s) for s in sets}
    found: dict[str, list[PluginPod]] = {}
    for pod in pods:
        meta, node = pod["metadata"], pod.get("spec", {}).get("nodeName")
        owner = next((o["name"] for o in meta.get("ownerReferences") or () if o["kind"] == "DaemonSet"), "")
        key = (str(meta.get("namespace")), owner)
        if node and key in known and not meta.get("deletionTimestamp"):
            found.setdefault(node, []).append(PluginPod(key[0], meta["name"], known[key], pod_state(pod)))
    return found


def pod_state(pod: Mapping[str, Any]) -> str:
    """Its phase in a word, or why its container waits or has ended."""
    status = pod.get("status", {})
    for container in status.get("containerStatuses") or []:
        for state in ("waiting", "terminated"):
            if detail := container.get("state", {}).get(state):
                return f"{detail.get('reason', state)}: {detail.get('message', '')}".rstrip(": ")
    return str(status.get("phase", "Unknown"))


def obstacle(
    node: NodeSeen, sets: Sequence[PluginSet], failures: Mapping[str, str], mended_by: str = "gpuctl bootstrap"
) -> Stuck:
    """Why no plugin's pod is on the node. `failures` are what the DaemonSet controller says, by "namespace/name"."""
    if not sets:
        return Stuck("plugin-absent", "no DaemonSet of the cluster runs a device plugin", f"run `{mended_by}`")
    ours = next((s for s in sets if s.ours), sets[0])
    for key, value in ours.selector.items():
        if node.labels.get(key) != value:
            words = f"node {node.name} lacks the label {key}={value}, by which DaemonSet {ours} chooses its nodes"
            by_hand = f"`kubectl label node {node.name} {key}={value}`"
            return Stuck("label-missing", words, f"run `{mended_by}`, or {by_hand}" if key == PRESENT else by_hand)
    for taint in node.taints:
        if taint.effect != "PreferNoSchedule" and not tolerated(taint, ours.tolerations):
            words = f"taint {taint} of node {node.name}{taint.origin} keeps DaemonSet {ours} away"
            if taint.effect == "NoExecute":
                words += ", and evicts its pod"
            return Stuck("plugin-evicted", words, f"`kubectl taint node {node.name} {taint.key}:{taint.effect}-`")
    if said := failures.get(str(ours)):
        return _forbidden(ours, said)
    return Stuck(
        "plugin-absent",
        "no device plugin pod on the node",
        f"`kubectl -n {ours.namespace} describe daemonset {ours.name}`",
    )


def _forbidden(plugin: PluginSet, said: str) -> Stuck:
    words = f"DaemonSet {plugin} cannot make its pods: {said}"
    if "PodSecurity" in said:
        fix = f"`kubectl label namespace {plugin.namespace} {_ENFORCE}=privileged --overwrite`"
    elif "quota" in said:
        fix = f"raise the quota: `kubectl -n {plugin.namespace} get resourcequota`"
    else:
        fix = "do what it says"
    return Stuck("plugin-forbidden", words, fix)


def tolerated(taint: Taint, tolerations: Sequence[Mapping[str, str]]) -> bool:
    """Whether a DaemonSet's pod with these tolerations stands the taint; the controller adds some of its own."""
    if taint.key.startswith("node.kubernetes.io/"):
        return True
    for one in tolerations:
        if one.get("effect") not in (None, "", taint.effect):
            continue
        if one.get("key") in (None, "") and one.get("operator") == "Exists":
            return True
        if one.get("key") == taint.key and (one.get("operator") == "Exists" or one.get("value", "") == taint.value):
            return True
    return False


def crashing(pod: PluginPod) -> Stuck:
    """Of a pod that is there and does not run."""
    words = f"the device plugin is not running: {pod.state}" + (f"; its log ends: {pod.log}" if pod.log else "")
    if "Pull" in pod.state or pod.state.startswith(("InvalidImageName", "ErrImage")):
        fix = "name an image and a registry that the host can pull from (nvidia_device_plugin_image), then run again"
        return Stuck("image-pull-failed", words, fix)
    if pod.state.startswith(("CreateContainer", "RunContainer", "StartError")):
        why = start_failure(pod.state)
        return Stuck(why.code if why.code != "pod-start-failed" else "plugin-crashing", words, why.fix)
    if pod.log:
        return Stuck("plugin-crashing", words, "do what its log says")
    return Stuck("plugin-crashing", words, f"`kubectl -n {pod.namespace} logs {pod.name} --previous`")
