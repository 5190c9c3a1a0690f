"""The screen of verify-gpus: nodes by layers, then the GPUs that did not pass."""

from __future__ import annotations

from collections.abc import Sequence

from bootstrap.ui.layout import brief, columns, count
from bootstrap.verify.collective import Collective
from bootstrap.verify.results import ALL_LAYERS, LAYERS, GpuResult, LayerResult, LayerState, NodeResult, VerifyResult

_SIGNS = {
    LayerState.OK: "✓",
    LayerState.FAILED: "✗",
    LayerState.NOT_RUN: "·",
    LayerState.UNKNOWN: "?",
    LayerState.TAKEN: "○",
}
_LARGE = 1e10  # bytes per second, from which on they are told in GB


def verify_screen(result: VerifyResult) -> list[str]:
    """One row per node and one column per layer; cells of layers that count GPUs say how many."""
    layers = [name for name in ALL_LAYERS if name in LAYERS or any(name in node.layers for node in result.nodes)]
    rows: list[Sequence[str]] = [("", *layers)]
    rows += [(node.host, *(_cell(node.layers.get(layer)) for layer in layers)) for node in result.nodes]
    lines = columns(rows, gap=2, right=range(1, len(layers) + 1))
    lines += [line for node in result.nodes for line in _shortcomings(node)]
    return [*lines, *_collective(result), summary(result)]


def _cell(layer: LayerResult | None) -> str:
    if layer is None:
        return _SIGNS[LayerState.NOT_RUN]
    number = "" if layer.count is None or layer.state is LayerState.NOT_RUN else f"{layer.count} "
    return number + _SIGNS[layer.state]


def _shortcomings(node: NodeResult) -> list[str]:
    details = [f"{node.host}: {name}: {layer.detail}" for name, layer in _failing(node) if layer.detail]
    details += [f"{node.host}: note: {note}" for note in node.notes]
    bad = [gpu for gpu in node.gpus if not (gpu.passed or gpu.taken_by)]
    if len(bad) == len(node.gpus) > 1 and len({gpu.detail for gpu in bad}) == 1 and _failing(node):
        return details  # what the layer says holds for all
    return details + [f"{node.host}: {_gpu(gpu)}" for gpu in bad]


def _gpu(gpu: GpuResult) -> str:
    number = "?" if gpu.index is None else gpu.index
    return f"GPU {number} ({gpu.pci}) {gpu.name}: {gpu.detail or 'did not pass'}"


def _failing(node: NodeResult) -> list[tuple[str, LayerResult]]:
    bad = (LayerState.FAILED, LayerState.UNKNOWN, LayerState.TAKEN)
    return [(name, node.layers[name]) for name in ALL_LAYERS if name in node.layers and node.layers[name].state in bad]


def summary(result: VerifyResult) -> str:
    """The last line: how many GPUs passed, how long it took, and whether they are simulated."""
    of = (
        f"all {result.total}"
        if result.passed == result.total and result.total
        else f"{result.passed} of {result.total}"
    )
    noun = count(result.total, "GPU").split()[1]
    others = f", {result.taken} held by other pods," if result.taken else ""
    away = ", ".join(node.host for node in result.nodes if not node.reached)
    unreached = f"; not reached: {away}" if away else ""
    return f"{of} {noun}{_simulated(result)} passed{others} in {brief(result.elapsed_s)}{unreached}"


def _collective(result: VerifyResult) -> list[str]:
    found = result.collective
    if found is None:
        return []
    over = f"all-reduce over {count(len(found.nodes), 'node')}"
    if found.code:
        return [f"{over}: {_SIGNS[LayerState.FAILED]} {found.error}"]
    return [f"{over}: {_SIGNS[LayerState.OK]} right sum{_rate(found)}"]


def _rate(found: Collective) -> str:
    """What was measured: by TCP each link, by PyTorch the whole."""
    if not found.slowest:
        return ""
    large = found.slowest >= _LARGE
    speed = f"{found.slowest / 1e9:.1f} GB/s" if large else f"{found.slowest / 1e6:.0f} MB/s"
    what = f"slowest link {speed} each way" if found.transport == "tcp" else f"bus bandwidth {speed}"
    return f", {what} ({found.transport})"


def _simulated(result: VerifyResult) -> str:
    kinds = {node.simulated for node in result.nodes if node.gpus}
    if True not in kinds:
        return ""
    return " (some simulated)" if False in kinds else " (simulated)"
