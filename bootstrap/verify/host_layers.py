"""The layers of a host, from the PCI bus to CDI, and of a node that is a container. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from bootstrap.hostside.gpuctl_nvml import NO_ANSWER
from bootstrap.probe.cards import architectures
from bootstrap.verify.docker_words import docker_words
from bootstrap.verify.evidence import Evidence, Judgement, failed
from bootstrap.verify.results import LayerResult, LayerState

_POWER_CYCLE = (
    "drain and power-cycle the host (a reboot is often not enough); if it comes back at once, replace the card"
)
_VERSION_MISMATCH = 18  # NVML_ERROR_LIB_RM_VERSION_MISMATCH of nvml.h
_DOWN = {"containerd": "containerd-down", "docker": "docker-down"}
_CDI_KIND = "nvidia.com/gpu"
_OUR_CDI = "/var/run/cdi/nvidia.yaml"
_FABRIC_COMPLETED = 3  # NVML_GPU_FABRIC_STATE_COMPLETED


def pci(evidence: Evidence) -> Judgement:
    """Whether all GPUs that should be there are on the bus."""
    on_bus = {gpu.address for gpu in evidence.facts.counted_gpus}
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
    if len(nodes) >= len(evidence.facts.counted_gpus) and evidence.facts.counted_gpus:
        return LayerResult(LayerState.OK), None
    words = f"{len(nodes)} of {len(evidence.facts.counted_gpus)} device nodes /dev/nvidia<N>"
    return failed(
        evidence, "device-nodes-missing", words, "start nvidia-persistenced, or run `nvidia-modprobe` as root"
    )


def nvml(evidence: Evidence) -> Judgement:
    """Whether the driver knows every GPU that is on the bus, and calls none of them broken."""
    mine = evidence.facts.driver
    if mine.nvml_error:
        return _no_nvml(evidence, mine.nvml_error, mine.nvml_code)
    if mine.lost:
        named = (f"GPU {gpu.uuid or gpu.index} at {gpu.pci or 'an unknown address'}: {gpu.error}" for gpu in mine.lost)
        words = "; ".join(named)
        return failed(evidence, "gpu-lost", words, _POWER_CYCLE, len(mine.gpus))
    absent = sorted({gpu.address for gpu in evidence.facts.counted_gpus} - {gpu.pci for gpu in mine.gpus})
    if absent and (why := wrong_flavour(mine.flavour, _cards(evidence, absent))):
        fix = f"set `nvidia_driver_module` in the inventory to the other one, then run `{evidence.cluster.mended_by}`"
        return failed(evidence, "wrong-module-flavour", f"{why}: {', '.join(absent)}", fix, len(mine.gpus))
    if absent:
        words = f"GPU {', '.join(absent)} is on the bus but not in NVML"
        return failed(evidence, "gpu-fell-off-bus", words, _POWER_CYCLE, len(mine.gpus))
    return _health(evidence)


def _cards(evidence: Evidence, addresses: Sequence[str]) -> list[str]:
    """PCI device ids of the cards at these addresses."""
    return [gpu.device_id for gpu in evidence.facts.counted_gpus if gpu.address in addresses]


def wrong_flavour(loaded: str | None, device_ids: Sequence[str]) -> str:
    """Why a kernel module of that flavour (open, closed) drives none of these cards; empty where it may drive them."""
    for card in architectures(device_ids):
        if loaded in ("open", "closed") and loaded not in card.flavours:
            return f"the {loaded} kernel module is loaded, which does not drive {card.name}"
    return ""


def _no_nvml(evidence: Evidence, error: str, code: int | None) -> Judgement:
    """Of a library that gives no answer at all, or an error in place of one."""
    if code == NO_ANSWER:
        fix = "look for Xid errors in `dmesg`, drain and reboot the host; a card that hangs again has to be replaced"
        return failed(evidence, "nvml-hang", error, fix, 0)
    if code == _VERSION_MISMATCH:
        words = f"{error}: the libraries are not those of the loaded module"
        return failed(evidence, "driver-lib-mismatch", words, "reboot the host so that the installed module is loaded")
    return failed(evidence, "nvml-failed", error, "drain and reboot the host; see `dmesg` for Xid errors", 0)


def _health(evidence: Evidence) -> Judgement:
    """Memory and fabric of GPUs that all answer."""
    gpus = evidence.facts.driver.gpus
    if bad := [gpu.uuid for gpu in gpus if gpu.remap_failed]:
        words = f"GPU {', '.join(bad)} has no spare memory rows left"
        return failed(evidence, "row-remap-failed", words, "take it out of use and replace it", len(gpus) - len(bad))
    if errors := {gpu.uuid: gpu.ecc_uncorrected for gpu in gpus if gpu.ecc_uncorrected}:
        words = ", ".join(f"GPU {uuid} counted {count}" for uuid, count in errors.items())
        words += " uncorrectable memory errors since the driver was loaded"
        fix = f"drain the host, then `nvidia-smi --gpu-reset -i {next(iter(errors))}` there; replace it if they return"
        return failed(evidence, "ecc-uncorrectable", words, fix, len(gpus) - len(errors))
    waiting = [gpu.uuid for gpu in gpus if gpu.fabric_state not in (None, 0, _FABRIC_COMPLETED)]
    if waiting and evidence.facts.nvswitches:
        words = f"the NVSwitch fabric of {len(waiting)} GPUs is not ready"
        fix = "`systemctl restart nvidia-fabricmanager` on the host; it has to be of the driver's version"
        return failed(evidence, "fabric-not-ready", words, fix, len(gpus) - len(waiting))
    return LayerResult(LayerState.OK, len(gpus)), None


def runtime(evidence: Evidence) -> Judgement:
    """Whether the engine answers, and has the NVIDIA runtime with its program."""
    engine, mend = evidence.runtime, f"run `{evidence.cluster.mended_by}`"
    if engine.error:
        fix = f"`systemctl restart {engine.engine}` on the host; if it is no better: `journalctl -u {engine.engine}`"
        return failed(evidence, _DOWN[engine.engine], engine.error, fix)
    if engine.cri_disabled:
        return failed(evidence, "cri-disabled", "containerd's CRI plugin is disabled", mend)
    if evidence.runtime_class not in engine.handlers:
        words = f"{engine.engine} has no runtime `{evidence.runtime_class}` (it has: {', '.join(engine.handlers)})"
        return failed(evidence, "nvidia-runtime-missing", words, mend)
    if engine.missing:
        words = f"{engine.missing[0]} is not there, which a runtime of containerd is"
        fix = f"`apt-get install --reinstall $(dpkg -S {engine.missing[0]} | cut -d: -f1)` on the host"
        return failed(evidence, "runtime-binary-missing", words, fix)
    if engine.systemd_cgroup is False:
        words = "containerd's runtime does not use the systemd cgroup driver that the kubelet uses"
        if engine.cgroupfs:
            words += f": {', '.join(engine.cgroupfs)}"
        return failed(evidence, "cgroup-driver-mismatch", words, mend)
    return LayerResult(LayerState.OK), None


def cdi(evidence: Evidence) -> Judgement:
    """Whether one CDI specification names every GPU."""
    fix = "`systemctl restart nvidia-cdi-refresh.service` on the host"
    engine = evidence.runtime
    named = set(engine.cdi_devices)
    missing = [
        gpu.uuid
        for gpu in evidence.facts.driver.gpus
        if f"nvidia.com/gpu={gpu.index}" not in named and f"nvidia.com/gpu={gpu.uuid}" not in named
    ]
    files = [path for path, kind in engine.cdi_files.items() if kind == _CDI_KIND]
    if missing and len(files) > 1:
        others = [path for path in files if path != _OUR_CDI]
        words = f"{len(files)} CDI specifications name the same GPUs, so that none counts: {', '.join(files)}"
        return failed(evidence, "cdi-conflict", words, f"`rm {' '.join(others)}` on the host, then {fix}")
    if engine.cdi_error or not any(name.startswith(f"{_CDI_KIND}=") for name in named):
        words = engine.cdi_error or "no CDI specification names a GPU"
        return failed(evidence, "cdi-missing", words, fix)
    if missing:
        return failed(evidence, "cdi-stale", f"the CDI specification lacks {', '.join(missing)}", fix)
    return LayerResult(LayerState.OK), None


def docker(evidence: Evidence) -> Judgement:
    """Whether Docker gives a container the GPUs."""
    found = evidence.docker
    if found is None or not found.fault:
        return LayerResult(LayerState.OK, found.got if found else None), None
    if known := docker_words(found.said):
        return failed(evidence, known.code, f"{known.words} ({found.fault})", known.fix, found.got)
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
    if found.devices < len(evidence.facts.counted_gpus):
        have = len(evidence.facts.counted_gpus)
        words = f"the node's container has {found.devices} of {have} device nodes /dev/nvidia<N>"
        fix = f"{evidence.cluster.restarted_by}: what runs in it begins anew"
        return failed(evidence, "minikube-gpus-missing", words, fix, found.devices)
    return LayerResult(LayerState.OK, found.devices), None
