"""The layers of the cluster: node, device plugin, what pods may ask for, and what computed. Pure."""

from __future__ import annotations

from bootstrap.plan.cluster_view import node_name
from bootstrap.verify.ended import Computed
from bootstrap.verify.evidence import Evidence, Judgement, failed
from bootstrap.verify.gpus import offered, taken
from bootstrap.verify.results import LayerResult, LayerState


def node(evidence: Evidence) -> Judgement:
    """Whether the host is a node of the cluster, and Ready."""
    if evidence.node is None:
        words = evidence.api_error or f"{node_name(evidence.facts)} is not a node of the cluster"
        return failed(evidence, "node-not-ready", words, f"run `{evidence.cluster.mended_by}`")
    if not evidence.node.ready:
        words = f"node is not Ready: {evidence.node.reason}"
        return failed(evidence, "node-not-ready", words, evidence.cluster.kubelet)
    return LayerResult(LayerState.OK), None


def plugin(evidence: Evidence) -> Judgement:
    """Whether the device plugin runs there."""
    if evidence.plugin_pod == "Running":
        return LayerResult(LayerState.OK), None
    if not evidence.plugin_pod:
        words = "no device plugin pod on the node"
        return failed(
            evidence,
            "plugin-absent",
            words,
            f"run `{evidence.cluster.mended_by}`; {evidence.cluster.plugin}",
        )
    code = "image-pull-failed" if "Pull" in evidence.plugin_pod else "plugin-crashing"
    words = f"the device plugin is not running: {evidence.plugin_pod}"
    return failed(evidence, code, words, evidence.cluster.plugin_log)


def allocatable(evidence: Evidence) -> Judgement:
    """Whether pods can ask for every GPU; those that they cannot are named where the kubelet says which they are."""
    count = evidence.node.allocatable_gpus if evidence.node else 0
    if count == len(evidence.expected) and count:
        return LayerResult(LayerState.OK, count), None
    words = f"{count} of {len(evidence.expected)} GPUs allocatable"
    can = offered(evidence)
    lacking = [gpu.uuid for gpu in evidence.facts.driver.gpus if can is not None and gpu.uuid not in can]
    if not count or not lacking:
        fix = "see the layer named above; the device plugin's log names GPUs that it calls unhealthy"
        return failed(evidence, "allocatable-short", words, fix, count)
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
