"""The walk from the PCI bus to a pod, per node: the first layer that does not hold is named. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from bootstrap.errors import Problem
from bootstrap.plan.cluster_view import node_name
from bootstrap.probe.facts import HostFacts, NodeFacts
from bootstrap.verify.container import ContainerGpus
from bootstrap.verify.ended import Computed
from bootstrap.verify.results import ALL_LAYERS, CONTAINER_LAYERS, GpuResult, LayerResult, LayerState, NodeResult
from bootstrap.verify.runtime import RuntimeFacts


@dataclass(frozen=True, slots=True)
class Remedies:
    """What differs between kinds of clusters in what to do. `mended_by` makes the host what it should be."""

    mended_by: str = "gpuctl bootstrap"
    kubelet: str = "`journalctl -u kubelet` on the host"
    plugin: str = "is the node labelled nvidia.com/gpu.present=true?"
    plugin_log: str = "`kubectl -n kube-system logs -l app.kubernetes.io/name=nvidia-device-plugin`"
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
    where nothing can be said of them.
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


Judgement = tuple[LayerResult, Problem | None]


def judge(evidence: Evidence) -> tuple[NodeResult, tuple[Problem, ...]]:
    """All layers of one node, and the problems: the first broken layer, plus compute where it ran."""
    layers: dict[str, LayerResult] = {}
    problems: list[Problem] = []
    broken = False
    for layer in layers_of(evidence):
        # Node, plugin and compute speak for themselves also when a single GPU is short further down.
        if broken and layer in {"runtime", "cdi", *CONTAINER_LAYERS}:
            layers[layer] = LayerResult(LayerState.NOT_RUN)
            continue
        result, problem = _JUDGES[layer](evidence)
        layers[layer] = result
        if result.state is LayerState.FAILED and problem is not None and (not broken or layer == "compute"):
            problems.append(problem)
        broken = broken or result.state is LayerState.FAILED
    simulated = evidence.facts.driver.simulated
    return NodeResult(evidence.facts.host, simulated, layers, _gpus(evidence)), tuple(problems)


def of_subjects(problems: Sequence[Problem], of_cluster: frozenset[str]) -> tuple[Problem, ...]:
    """One problem where several nodes have met the same cause, which is the cluster's: `of_cluster` are such words."""
    found: dict[tuple[str, ...], Problem] = {}
    for problem in problems:
        shared = problem.message in of_cluster
        key = (problem.code, problem.message, *([] if shared else [str(problem.host)]))
        found.setdefault(key, replace(problem, host=None) if shared else problem)
    return tuple(found.values())


def layers_of(evidence: Evidence) -> tuple[str, ...]:
    """The layers that there are to judge, from the bus up."""
    there = {"docker": evidence.docker, "container": evidence.container}
    return tuple(layer for layer in ALL_LAYERS if there.get(layer, True))


def _gpus(evidence: Evidence) -> tuple[GpuResult, ...]:
    """One result per GPU that should be there."""
    listed = {gpu.pci: gpu for gpu in evidence.facts.driver.gpus}
    on_bus = {gpu.address for gpu in evidence.facts.gpus}
    reports = {str(d.get("uuid")): d for d in evidence.computed.devices} if evidence.computed else {}
    allocatable = evidence.node.allocatable_gpus if evidence.node else 0
    results = []
    for number, pci in enumerate(sorted(evidence.expected | on_bus)):
        gpu = listed.get(pci)
        report = reports.get(gpu.uuid) if gpu else None
        computed = bool(report and report.get("ok"))
        offered = gpu is not None and number < allocatable + len(evidence.expected - set(listed))
        passed = pci in on_bus and gpu is not None and offered and computed
        detail = "" if passed else _gpu_detail(pci in on_bus, gpu is not None, report)
        name = gpu.name if gpu else ""
        results.append(
            GpuResult(
                pci, gpu.uuid if gpu else None, gpu.index if gpu else None, name, offered, computed, passed, detail
            )
        )
    return tuple(results)


def _gpu_detail(on_bus: bool, in_nvml: bool, report: Mapping[str, object] | None) -> str:
    if not on_bus:
        return "not on the PCI bus"
    if not in_nvml:
        return "on the bus but not in NVML"
    return str(report.get("error") or "wrong result") if report else "no pod computed on it"


def _pci(evidence: Evidence) -> Judgement:
    on_bus = {gpu.address for gpu in evidence.facts.gpus}
    missing = sorted(evidence.expected - on_bus)
    if not missing:
        return LayerResult(LayerState.OK, len(on_bus)), None
    words = f"{len(on_bus)} of {len(evidence.expected)} GPUs on the PCI bus; missing: {', '.join(missing)}"
    fix = "power-cycle the host (a reboot is often not enough); if it stays away, reseat or replace the card"
    return _failed(evidence, "gpu-missing", words, fix, len(on_bus))


def _driver(evidence: Evidence) -> Judgement:
    driver = evidence.facts.driver
    if driver.loaded_version is None:
        fix = f"run `{evidence.cluster.mended_by}`; if it has nothing to do, reboot the host and look at `dmesg`"
        return _failed(evidence, "driver-not-loaded", "the NVIDIA kernel module is not loaded", fix)
    if driver.library_version and driver.library_version != driver.loaded_version:
        words = f"the loaded module is {driver.loaded_version}, the libraries are {driver.library_version}"
        return _failed(evidence, "driver-lib-mismatch", words, "reboot the host so that the installed module is loaded")
    return LayerResult(LayerState.OK, detail=driver.loaded_version), None


def _device(evidence: Evidence) -> Judgement:
    nodes = [n for n in evidence.facts.driver.device_nodes if n.removeprefix("/dev/nvidia").isdigit()]
    if len(nodes) >= len(evidence.facts.gpus) and evidence.facts.gpus:
        return LayerResult(LayerState.OK), None
    words = f"{len(nodes)} of {len(evidence.facts.gpus)} device nodes /dev/nvidia<N>"
    return _failed(
        evidence, "device-nodes-missing", words, "start nvidia-persistenced, or run `nvidia-modprobe` as root"
    )


def _nvml(evidence: Evidence) -> Judgement:
    driver = evidence.facts.driver
    if driver.nvml_error:
        code = "nvml-hang" if "deadline" in driver.nvml_error or "hang" in driver.nvml_error else "nvml-failed"
        return _failed(evidence, code, driver.nvml_error, "drain and reboot the host; see `dmesg` for Xid errors", 0)
    lost = sorted({gpu.address for gpu in evidence.facts.gpus} - {gpu.pci for gpu in driver.gpus})
    if lost:
        words = f"GPU {', '.join(lost)} is on the bus but not in NVML"
        fix = (
            "cordon and power-cycle the host (a reboot is often not enough); if it comes back at once, replace the card"
        )
        return _failed(evidence, "gpu-fell-off-bus", words, fix, len(driver.gpus))
    return LayerResult(LayerState.OK, len(driver.gpus)), None


def _runtime(evidence: Evidence) -> Judgement:
    runtime = evidence.runtime
    if runtime.error:
        fix = f"`systemctl status {runtime.engine}` on the host"
        return _failed(evidence, f"{runtime.engine}-down", runtime.error, fix)
    if runtime.cri_disabled:
        return _failed(
            evidence, "cri-disabled", "containerd's CRI plugin is disabled", f"run `{evidence.cluster.mended_by}`"
        )
    if evidence.runtime_class not in runtime.handlers:
        words = f"{runtime.engine} has no runtime `{evidence.runtime_class}` (it has: {', '.join(runtime.handlers)})"
        return _failed(evidence, "nvidia-runtime-missing", words, f"run `{evidence.cluster.mended_by}`")
    if runtime.systemd_cgroup is False:
        words = "containerd's runtime does not use the systemd cgroup driver that the kubelet uses"
        return _failed(evidence, "cgroup-driver-mismatch", words, f"run `{evidence.cluster.mended_by}`")
    return LayerResult(LayerState.OK), None


def _cdi(evidence: Evidence) -> Judgement:
    fix = "`systemctl restart nvidia-cdi-refresh.service` on the host"
    if evidence.runtime.cdi_error:
        return _failed(evidence, "cdi-missing", evidence.runtime.cdi_error, fix)
    named = set(evidence.runtime.cdi_devices)
    missing = [
        g.uuid
        for g in evidence.facts.driver.gpus
        if f"nvidia.com/gpu={g.index}" not in named and f"nvidia.com/gpu={g.uuid}" not in named
    ]
    if not named:
        return _failed(evidence, "cdi-missing", "no CDI specification names a GPU", fix)
    if missing:
        return _failed(evidence, "cdi-stale", f"the CDI specification lacks {', '.join(missing)}", fix)
    return LayerResult(LayerState.OK), None


def _docker(evidence: Evidence) -> Judgement:
    found = evidence.docker
    if found is None or not found.fault:
        return LayerResult(LayerState.OK, found.got if found else None), None
    fix = f"run `{evidence.cluster.mended_by}`; if it has nothing to do: `journalctl -u docker` on the host"
    return _failed(evidence, "docker-gpus-missing", found.fault, fix, found.got)


def _container(evidence: Evidence) -> Judgement:
    found = evidence.container
    if found is None:
        return LayerResult(LayerState.NOT_RUN), None
    if not found.gpus:
        words, fix = "the node was made without GPUs", f"{evidence.cluster.remade_by}: what runs in it goes with it"
        return _failed(evidence, "minikube-gpus-missing", words, fix, 0)
    if found.devices < len(evidence.facts.gpus):
        words = f"the node's container has {found.devices} of {len(evidence.facts.gpus)} device nodes /dev/nvidia<N>"
        fix = f"{evidence.cluster.restarted_by}: what runs in it begins anew"
        return _failed(evidence, "minikube-gpus-missing", words, fix, found.devices)
    return LayerResult(LayerState.OK, found.devices), None


def _node(evidence: Evidence) -> Judgement:
    if evidence.node is None:
        words = evidence.api_error or f"{node_name(evidence.facts)} is not a node of the cluster"
        return _failed(evidence, "node-not-ready", words, f"run `{evidence.cluster.mended_by}`")
    if not evidence.node.ready:
        words = f"node is not Ready: {evidence.node.reason}"
        return _failed(evidence, "node-not-ready", words, evidence.cluster.kubelet)
    return LayerResult(LayerState.OK), None


def _plugin(evidence: Evidence) -> Judgement:
    if evidence.plugin_pod == "Running":
        return LayerResult(LayerState.OK), None
    if not evidence.plugin_pod:
        words = "no device plugin pod on the node"
        return _failed(
            evidence,
            "plugin-absent",
            words,
            f"run `{evidence.cluster.mended_by}`; {evidence.cluster.plugin}",
        )
    code = "image-pull-failed" if "Pull" in evidence.plugin_pod else "plugin-crashing"
    words = f"the device plugin is not running: {evidence.plugin_pod}"
    return _failed(evidence, code, words, evidence.cluster.plugin_log)


def _allocatable(evidence: Evidence) -> Judgement:
    offered = evidence.node.allocatable_gpus if evidence.node else 0
    if offered == len(evidence.expected) and offered:
        return LayerResult(LayerState.OK, offered), None
    words = f"{offered} of {len(evidence.expected)} GPUs allocatable"
    fix = "see the layer named above; the device plugin's log names GPUs that it calls unhealthy"
    return _failed(evidence, "allocatable-short", words, fix, offered)


def _compute(evidence: Evidence) -> Judgement:
    computed = evidence.computed
    if computed is None:
        return LayerResult(LayerState.NOT_RUN), None
    good = {str(d.get("uuid")) for d in computed.devices if d.get("ok")}
    if computed.error and not computed.devices:
        return _failed(evidence, computed.code, computed.error, _compute_fix(computed), 0)
    bad = [d for d in computed.devices if not d.get("ok")]
    if bad:
        code = str(bad[0].get("code") or "compute-failed")
        words = "; ".join(f"GPU {d.get('uuid')}: {d.get('error') or 'wrong result'}" for d in bad)
        return _failed(evidence, code, words, "take this GPU out of use and run NVIDIA's field diagnostics", len(good))
    if computed.unasked:
        words = f"a container that asks for no GPU sees {computed.unasked} of them"
        fix = f"run `{evidence.cluster.mended_by}`: it has the nvidia runtime mind requests alone"
        return _failed(evidence, "gpu-unasked", words, fix, len(good))
    known = {gpu.uuid for gpu in evidence.facts.driver.gpus}
    if good != known:
        words = f"computed on {len(good)} of {len(known)} GPUs; not on {', '.join(sorted(known - good)) or 'others'}"
        return _failed(
            evidence, "gpu-taken" if computed.held else "allocatable-short", words, _compute_fix(computed), len(good)
        )
    return LayerResult(LayerState.OK, len(good)), None


def _compute_fix(computed: Computed) -> str:
    if computed.fix:
        return computed.fix
    if computed.held:
        return f"wait for, or end: {', '.join(computed.held)}"
    return "see the layer named above, and the log"


def _failed(evidence: Evidence, code: str, words: str, fix: str, count: int | None = None) -> Judgement:
    return LayerResult(LayerState.FAILED, count, words), Problem(code, words, fix, evidence.facts.host)


_JUDGES: Mapping[str, Callable[[Evidence], Judgement]] = {
    "pci": _pci,
    "driver": _driver,
    "device": _device,
    "nvml": _nvml,
    "runtime": _runtime,
    "cdi": _cdi,
    "docker": _docker,
    "container": _container,
    "node": _node,
    "plugin": _plugin,
    "allocatable": _allocatable,
    "compute": _compute,
}
