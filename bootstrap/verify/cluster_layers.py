"""The layers of the cluster: node, device plugin, what pods may ask for, and what computed. Pure."""

from __future__ import annotations

from bootstrap.plan.cluster_view import node_name
from bootstrap.verify.ended import Computed
from bootstrap.verify.evidence import Evidence, Judgement, failed
from bootstrap.verify.gpus import is_partitioned, offered, taken
from bootstrap.verify.plugins import crashing
from bootstrap.verify.pods import GPU_RESOURCE
from bootstrap.verify.results import LayerResult, LayerState

PLUGIN_CDI = "k8s.device-plugin.nvidia.com/"
_RUNS = frozenset({"", "active", "activating", "reloading"})  # empty: nobody knows


def node(evidence: Evidence) -> Judgement:
    """Whether the host is a node of the cluster, its kubelet runs, and it is Ready."""
    if evidence.node is None:
        words = evidence.api_error or f"{node_name(evidence.facts)} is not a node of the cluster"
        return failed(evidence, "node-not-ready", words, f"run `{evidence.cluster.mended_by}`")
    if evidence.runtime.kubelet not in _RUNS:
        words = f"the kubelet does not run: systemd calls it {evidence.runtime.kubelet}"
        fix = f"run `{evidence.cluster.mended_by}`; if it ends again, `journalctl -u kubelet` on the host says why"
        return failed(evidence, "kubelet-down", words, fix)
    if not evidence.node.ready:
        return _not_ready(evidence, evidence.node.name, evidence.node.reason)
    return LayerResult(LayerState.OK), None


def _not_ready(evidence: Evidence, name: str, reason: str) -> Judgement:
    """Of a node that is not Ready: what the kubelet says names the cause."""
    words = f"node is not Ready: {reason}"
    if "NetworkPluginNotReady" in reason or "cni plugin not initialized" in reason:
        fix = f"`kubectl -n kube-flannel delete pod --field-selector spec.nodeName={name}`: the new one writes it again"
        return failed(evidence, "cni-missing", f"{words}: /etc/cni/net.d has no network", fix)
    if "certificate" in reason and "expired" in reason:
        fix = f"`gpuctl reset --limit {evidence.facts.host}`, then `gpuctl bootstrap`: it joins anew"
        return failed(evidence, "kubelet-cert-expired", words, fix)
    return failed(evidence, "node-not-ready", words, evidence.cluster.kubelet)


def plugin(evidence: Evidence) -> Judgement:
    """Whether one device plugin runs there, and the kubelet knows it."""
    if evidence.plugins is None:
        return _plugin_by_state(evidence)
    if why := evidence.plugins.obstacle:
        return failed(evidence, why.code, why.words, why.fix)
    pods = evidence.plugins.pods
    owners = sorted({pod.owner for pod in pods})
    if len(owners) > 1:
        words = f"{len(owners)} device plugins on the node take its GPUs from one another: {', '.join(owners)}"
        other = next((s for s in evidence.plugins.sets if not s.ours and str(s) in owners), evidence.plugins.sets[-1])
        fix = f"`kubectl -n {other.namespace} delete daemonset {other.name}`, then run `{evidence.cluster.mended_by}`"
        return failed(evidence, "plugin-duplicate", words, fix)
    if idle := next((pod for pod in pods if pod.state != "Running"), None):
        why = crashing(idle)
        return failed(evidence, why.code, why.words, why.fix)
    if pods and evidence.seen and not any(evidence.seen.allocatable.values()):
        words = f"{pods[0].namespace}/{pods[0].name} runs, and the kubelet knows of no device plugin"
        return failed(evidence, "plugin-not-registered", words, f"{pods[0].delete}: the new one registers")
    if pods and evidence.plugin_cdi and not any(k.startswith(PLUGIN_CDI) for k in evidence.runtime.cdi_files.values()):
        words = f"the CDI specification {PLUGIN_CDI}gpu, which {pods[0].namespace}/{pods[0].name} wrote, is gone"
        return failed(evidence, "plugin-cdi-missing", words, f"{pods[0].delete}: the new one writes it")
    return LayerResult(LayerState.OK), None


def _plugin_by_state(evidence: Evidence) -> Judgement:
    """Of a minikube profile, whose plugin is an addon."""
    if evidence.plugin_pod == "Running":
        return LayerResult(LayerState.OK), None
    if not evidence.plugin_pod:
        fix = f"run `{evidence.cluster.mended_by}`; {evidence.cluster.plugin}"
        return failed(evidence, "plugin-absent", "no device plugin pod on the node", fix)
    code = "image-pull-failed" if "Pull" in evidence.plugin_pod else "plugin-crashing"
    words = f"the device plugin is not running: {evidence.plugin_pod}"
    return failed(evidence, code, words, evidence.cluster.plugin_log)


def notes(evidence: Evidence) -> tuple[str, ...]:
    """What is not wrong, and somebody should know."""
    if evidence.seen is None:
        return ()
    found = []
    if evidence.seen.cordoned:
        found.append(f"cordoned{evidence.seen.cordoned.rstrip()}: `kubectl uncordon {evidence.seen.name}` lets pods in")
    count = evidence.seen.allocatable.get(evidence.resource, 0)
    if evidence.resource != GPU_RESOURCE or count > len(evidence.expected):
        found.append(f"pods ask for {evidence.resource}, of which there are {count}: the device plugin shares GPUs")
    return (*found, *evidence.seen.conditions, *evidence.runtime.xids[-1:])


def allocatable(evidence: Evidence) -> Judgement:
    """Whether pods can ask for every GPU; those that they cannot are named where the kubelet says which they are."""
    count = evidence.node.allocatable_gpus if evidence.node else 0
    if is_partitioned(evidence):
        words = f"{count} MIG instances ({evidence.resource}), which are not tried one by one"
        fix = "run a job on each instance; `nvidia-smi -mig 0` on the host switches MIG off"
        return failed(evidence, "gpu-partitioned", words, fix, count)
    if count == len(evidence.expected) and count:
        return LayerResult(LayerState.OK, count), None
    if count > len(evidence.expected):
        words = f"{count} × {evidence.resource}: each GPU is shared"
        return LayerResult(LayerState.OK, len(evidence.expected), words), None
    words = f"{count} of {len(evidence.expected)} GPUs allocatable"
    can = offered(evidence)
    lacking = [gpu.uuid for gpu in evidence.facts.driver.gpus if can is not None and gpu.uuid not in can]
    if not count or not lacking:
        return failed(evidence, "allocatable-short", words, evidence.cluster.plugin_renewed, count)
    words += f"; the device plugin calls {', '.join(lacking)} unhealthy"
    return failed(evidence, "gpu-unhealthy", words, evidence.cluster.plugin_renewed, count)


def compute(evidence: Evidence) -> Judgement:
    """What pods computed. A GPU that another pod holds is that pod's, and no failure unless all are required."""
    computed = evidence.computed
    if computed is None:
        return LayerResult(LayerState.NOT_RUN), None
    good = {str(d.get("uuid")) for d in computed.devices if d.get("ok")}
    if computed.error and not computed.devices:
        return failed(evidence, computed.code, computed.error, _compute_fix(computed), 0)
    bad = [d for d in computed.devices if not d.get("ok")]
    if bad:
        code = str(bad[0].get("code") or "compute-failed")
        words = "; ".join(f"GPU {d.get('uuid')}: {d.get('error') or 'wrong result'}" for d in bad)
        return failed(evidence, code, words, "take this GPU out of use and run NVIDIA's field diagnostics", len(good))
    if computed.unasked:
        words = f"a container that asks for no GPU sees {computed.unasked} of them"
        fix = f"run `{evidence.cluster.mended_by}`: it has the nvidia runtime mind requests alone"
        return failed(evidence, "gpu-unasked", words, fix, len(good))
    return _complete(evidence, computed, good)


def _complete(evidence: Evidence, computed: Computed, good: set[str]) -> Judgement:
    """Of pods that computed right: whether they had all GPUs that there are to have."""
    known, holders = {gpu.uuid for gpu in evidence.facts.driver.gpus}, taken(evidence)
    short = sorted(known - good - set(holders))
    if short:
        words = f"computed on {len(good)} of {len(known)} GPUs; not on {', '.join(short)}"
        return failed(evidence, "allocatable-short", words, _compute_fix(computed), len(good))
    if not holders:
        return LayerResult(LayerState.OK, len(good)), None
    words = f"not tried, held by other pods: {', '.join(map(str, computed.held))}"
    if evidence.require_all:
        return failed(evidence, "gpu-taken", words, _compute_fix(computed), len(good))
    return LayerResult(LayerState.TAKEN, len(good), words), None


def _compute_fix(computed: Computed) -> str:
    if computed.fix:
        return computed.fix
    if computed.held:
        return f"wait for, or end: {', '.join(holder.name for holder in computed.held)}"
    return "see the layer named above, and the log"
