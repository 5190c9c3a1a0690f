"""The layers of a host, from the PCI bus to CDI, and of a node that is a container. Pure."""

from __future__ import annotations

from bootstrap.verify.evidence import Evidence, Judgement, failed
from bootstrap.verify.results import LayerResult, LayerState


def pci(evidence: Evidence) -> Judgement:
    """Whether all GPUs that should be there are on the bus."""
    on_bus = {gpu.address for gpu in evidence.facts.gpus}
    missing = sorted(evidence.expected - on_bus)
    if not missing:
        return LayerResult(LayerState.OK, len(on_bus)), None
    words = f"{len(on_bus)} of {len(evidence.expected)} GPUs on the PCI bus; missing: {', '.join(missing)}"
    fix = "power-cycle the host (a reboot is often not enough); if it stays away, reseat or replace the card"
    return failed(evidence, "gpu-missing", words, fix, len(on_bus))


def driver(evidence: Evidence) -> Judgement:
    """Whether the module is loaded, in the version of its libraries."""
    mine = evidence.facts.driver
    if mine.loaded_version is None:
        fix = f"run `{evidence.cluster.mended_by}`; if it has nothing to do, reboot the host and look at `dmesg`"
        return failed(evidence, "driver-not-loaded", "the NVIDIA kernel module is not loaded", fix)
    if mine.library_version and mine.library_version != mine.loaded_version:
        words = f"the loaded module is {mine.loaded_version}, the libraries are {mine.library_version}"
        return failed(evidence, "driver-lib-mismatch", words, "reboot the host so that the installed module is loaded")
    return LayerResult(LayerState.OK, detail=mine.loaded_version), None


def device(evidence: Evidence) -> Judgement:
    """Whether each GPU has its device node."""
    nodes = [n for n in evidence.facts.driver.device_nodes if n.removeprefix("/dev/nvidia").isdigit()]
    if len(nodes) >= len(evidence.facts.gpus) and evidence.facts.gpus:
        return LayerResult(LayerState.OK), None
    words = f"{len(nodes)} of {len(evidence.facts.gpus)} device nodes /dev/nvidia<N>"
    return failed(
        evidence, "device-nodes-missing", words, "start nvidia-persistenced, or run `nvidia-modprobe` as root"
    )


def nvml(evidence: Evidence) -> Judgement:
    """Whether the driver knows every GPU that is on the bus."""
    mine = evidence.facts.driver
    if mine.nvml_error:
        code = "nvml-hang" if "deadline" in mine.nvml_error or "hang" in mine.nvml_error else "nvml-failed"
        return failed(evidence, code, mine.nvml_error, "drain and reboot the host; see `dmesg` for Xid errors", 0)
    lost = sorted({gpu.address for gpu in evidence.facts.gpus} - {gpu.pci for gpu in mine.gpus})
    if lost:
        words = f"GPU {', '.join(lost)} is on the bus but not in NVML"
        fix = (
            "cordon and power-cycle the host (a reboot is often not enough); if it comes back at once, replace the card"
        )
        return failed(evidence, "gpu-fell-off-bus", words, fix, len(mine.gpus))
    return LayerResult(LayerState.OK, len(mine.gpus)), None


def runtime(evidence: Evidence) -> Judgement:
    """Whether the engine answers, and knows the NVIDIA runtime."""
    engine = evidence.runtime
    if engine.error:
        fix = f"`systemctl status {engine.engine}` on the host"
        return failed(evidence, f"{engine.engine}-down", engine.error, fix)
    if engine.cri_disabled:
        return failed(
            evidence, "cri-disabled", "containerd's CRI plugin is disabled", f"run `{evidence.cluster.mended_by}`"
        )
    if evidence.runtime_class not in engine.handlers:
        words = f"{engine.engine} has no runtime `{evidence.runtime_class}` (it has: {', '.join(engine.handlers)})"
        return failed(evidence, "nvidia-runtime-missing", words, f"run `{evidence.cluster.mended_by}`")
    if engine.systemd_cgroup is False:
        words = "containerd's runtime does not use the systemd cgroup driver that the kubelet uses"
        return failed(evidence, "cgroup-driver-mismatch", words, f"run `{evidence.cluster.mended_by}`")
    return LayerResult(LayerState.OK), None


def cdi(evidence: Evidence) -> Judgement:
    """Whether CDI specifications name every GPU."""
    fix = "`systemctl restart nvidia-cdi-refresh.service` on the host"
    if evidence.runtime.cdi_error:
        return failed(evidence, "cdi-missing", evidence.runtime.cdi_error, fix)
    named = set(evidence.runtime.cdi_devices)
    missing = [
        g.uuid
        for g in evidence.facts.driver.gpus
        if f"nvidia.com/gpu={g.index}" not in named and f"nvidia.com/gpu={g.uuid}" not in named
    ]
    if not named:
        return failed(evidence, "cdi-missing", "no CDI specification names a GPU", fix)
    if missing:
        return failed(evidence, "cdi-stale", f"the CDI specification lacks {', '.join(missing)}", fix)
    return LayerResult(LayerState.OK), None


def docker(evidence: Evidence) -> Judgement:
    """Whether Docker gives a container the GPUs."""
    found = evidence.docker
    if found is None or not found.fault:
        return LayerResult(LayerState.OK, found.got if found else None), None
    fix = f"run `{evidence.cluster.mended_by}`; if it has nothing to do: `journalctl -u docker` on the host"
    return failed(evidence, "docker-gpus-missing", found.fault, fix, found.got)


def container(evidence: Evidence) -> Judgement:
    """Whether the container that is the node has the GPUs."""
    found = evidence.container
    if found is None:
        return LayerResult(LayerState.NOT_RUN), None
    if not found.gpus:
        words, fix = "the node was made without GPUs", f"{evidence.cluster.remade_by}: what runs in it goes with it"
        return failed(evidence, "minikube-gpus-missing", words, fix, 0)
    if found.devices < len(evidence.facts.gpus):
        words = f"the node's container has {found.devices} of {len(evidence.facts.gpus)} device nodes /dev/nvidia<N>"
        fix = f"{evidence.cluster.restarted_by}: what runs in it begins anew"
        return failed(evidence, "minikube-gpus-missing", words, fix, found.devices)
    return LayerResult(LayerState.OK, found.devices), None
