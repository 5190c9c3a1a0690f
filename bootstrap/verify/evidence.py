"""What is known about one GPU host, and the form of a layer's judgement. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from bootstrap.errors import Problem
from bootstrap.probe.facts import HostFacts, NodeFacts
from bootstrap.verify.container import ContainerGpus
from bootstrap.verify.ended import Computed
from bootstrap.verify.nodes import NodeSeen
from bootstrap.verify.plugins import PluginView
from bootstrap.verify.pods import GPU_RESOURCE
from bootstrap.verify.results import LayerResult, LayerState
from bootstrap.verify.runtime import RuntimeFacts


@dataclass(frozen=True, slots=True)
class Remedies:
    """What differs between kinds of clusters in what to do. `mended_by` makes the host what it should be."""

    mended_by: str = "gpuctl bootstrap"
    kubelet: str = "`journalctl -u kubelet` on the host"
    plugin: str = "is the node labelled nvidia.com/gpu.present=true?"
    plugin_log: str = "`kubectl -n kube-system logs -l app.kubernetes.io/name=nvidia-device-plugin`"
    plugin_renewed: str = (
        "look for Xid errors of it in `dmesg`; if it is well again, run `gpuctl bootstrap`: a plugin that has called a "
        "GPU unhealthy has to be renewed"
    )
    remade_by: str = ""  # makes a node with GPUs of one that was made without
    restarted_by: str = ""  # makes a node see devices that came after it


@dataclass(frozen=True, slots=True)
class NodeContainer:
    """A node that is a container. `devices` counts the /dev/nvidia<N> in it; `gpus`: it was made to have them."""

    devices: int
    gpus: bool


@dataclass(frozen=True, slots=True)
class Evidence:
    """All that is known about one GPU host. `expected` are PCI addresses that it should offer.

    `docker` and `container` are of a minikube host: what Docker gives a container, and the one that is the node; None
    where nothing can be said of them. `resource` is what pods ask for there. `seen` and `plugins` are what the API says
    beyond the probe, None where it was not asked (minikube has `plugin_pod`). `plugin_cdi`: the plugin writes a CDI
    specification of its own. With `require_all` a GPU that another pod holds is a failure.
    """

    facts: HostFacts
    expected: frozenset[str]
    runtime: RuntimeFacts
    node: NodeFacts | None
    api_error: str
    plugin_pod: str  # phase of the device plugin's pod on the node: Running, a reason, or empty for none
    computed: Computed | None
    runtime_class: str
    cluster: Remedies = Remedies()
    docker: ContainerGpus | None = None
    container: NodeContainer | None = None
    resource: str = GPU_RESOURCE
    seen: NodeSeen | None = None
    plugins: PluginView | None = None
    plugin_cdi: bool = False
    require_all: bool = False


Judgement = tuple[LayerResult, Problem | None]


def failed(evidence: Evidence, code: str, words: str, fix: str, count: int | None = None) -> Judgement:
    """The layer is broken; `count` GPUs hold there."""
    return LayerResult(LayerState.FAILED, count, words), Problem(code, words, fix, evidence.facts.host)
