"""GPUs and their driver: does what is there, and what would be installed, fit the cards."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from bootstrap.checks.common import Say, begun, complete, wants_driver
from bootstrap.checks.finding import Finding
from bootstrap.probe.cards import Architecture, architecture_of, architectures, branch_of

if TYPE_CHECKING:
    from bootstrap.inventory.model import Host
    from bootstrap.probe.facts import HostFacts

# Packages of what draws the login screen.
DISPLAY_MANAGERS = ("gdm3", "lightdm", "sddm")


def missing(host: Host, facts: HostFacts) -> Iterator[Finding]:
    """Cards that the receipt knows and the bus does not show; a worker without any where they are required."""
    say = Say(host.name, "gpu-missing")
    known = [str(a) for a in facts.receipts.get("nvidia_driver", {}).get("gpus") or ()]
    known = [address for address in known if address not in {gpu.address for gpu in facts.left_out_gpus}]
    gone = sorted(set(known) - {gpu.address for gpu in facts.gpus})
    if gone:
        yield say.warn(
            f"{len(known) - len(gone)} of {len(known)} GPUs are on the bus; gone: {', '.join(gone)}",
            "look at the kernel log for Xid messages, reseat the card or power-cycle the host",
        )
    elif not facts.counted_gpus and host.settings.get("cluster_gpu") == "required" and not host.is_control_plane:
        yield say.refuse(
            f"it has no NVIDIA GPU{' that counts' if facts.gpus else ''}, and cluster_gpu is required",
            "set cluster_gpu=auto, or leave the host out",
        )


def left_out(host: Host, facts: HostFacts) -> Iterator[Finding]:
    """Cards that no driver drives which can be had: they are no GPUs of the cluster, and decide nothing."""
    if host.settings.get("cluster_gpu") == "none":
        return
    for card in facts.left_out_gpus:
        known = architecture_of(card.device_id)
        last = (
            f"its last driver branch is {known.last_branch}" if known and known.last_branch else "its board has its own"
        )
        dark = card.driver == "nouveau" and wants_driver(host, facts)
        picture = "no picture from it any more, since nouveau is kept from loading" if dark else "nothing to do"
        yield Say(host.name, "driver-gpu-unsupported").warn(
            f"the card at {card.address} ({known.name if known else 'unknown'}) does not count as a GPU: {last}",
            f"if it is for a display: {picture}; a driver that you install and load for it yourself is kept",
        )


def unsupported(host: Host, facts: HostFacts) -> Iterator[Finding]:
    """Cards that no module drives together, that the chosen branch does not know, or that the loaded module refuses."""
    say = Say(host.name, "driver-gpu-unsupported")
    cards = {known.name: known for known in architectures(gpu.device_id for gpu in facts.counted_gpus)}
    loaded = facts.driver.loaded_version
    if not wants_driver(host, facts):
        closed_out = [known.name for known in cards.values() if not _drives(facts, known)]
        if loaded and closed_out and host.settings.get("cluster_gpu") != "none":
            yield say.refuse(
                f"the {facts.driver.flavour} module {loaded} does not drive {', '.join(closed_out)}",
                "install the other flavour, or remove the driver and let gpuctl choose",
            )
        return
    if cards and not set.intersection(*(set(a.flavours) for a in cards.values())):
        yield say.refuse(
            f"no one driver drives {' and '.join(cards)} together",
            "put the cards into different hosts, or bind those that the cluster does not need to vfio-pci",
        )
        return
    branch = branch_of(str(host.settings.get("nvidia_driver_branch", "")))
    alone = ", and leave nvidia_driver_version out" if "nvidia_driver_version" in host.explicit else ""
    for known in cards.values() if branch else ():
        if branch and known.last_branch and branch > known.last_branch:
            fix = f"set nvidia_driver_branch={known.last_branch} for this host{alone}"
            yield say.refuse(f"driver branch {branch} no longer drives {known.name} (last: {known.last_branch})", fix)
        elif branch and branch < known.first_branch:
            fix = f"set nvidia_driver_branch={known.first_branch} or later{alone}"
            yield say.refuse(f"driver branch {branch} does not know {known.name} (first: {known.first_branch})", fix)


def _drives(facts: HostFacts, known: Architecture) -> bool:
    """Whether the loaded module is one for the card; what is not known of it is taken for granted."""
    branch, flavour = branch_of(facts.driver.loaded_version), facts.driver.flavour
    return (not flavour or flavour in known.flavours) and (branch is None or known.driven_by(branch))


def nouveau(host: Host, facts: HostFacts) -> Iterator[Finding]:
    """The free driver holds the cards."""
    if facts.driver.nouveau and wants_driver(host, facts):
        way_on = "reboot it then, and run the same command again" if host.is_minikube else "--reboot"
        yield Say(host.name, "nouveau-loaded").repair(
            "nouveau holds the GPUs", f"kept from loading; the host has to be rebooted once ({way_on})"
        )


def display(host: Host, facts: HostFacts) -> Iterator[Finding]:
    """A desktop that nouveau draws: with the driver that gpuctl installs it would be dark from the next boot on."""
    managers = [name for name in DISPLAY_MANAGERS if name in facts.packages]
    if facts.units.get("display-manager.service", "").startswith("active"):
        managers.append("a display manager")
    wanted = wants_driver(host, facts) and not begun(facts, "nvidia_driver")
    if not managers or not wanted or not facts.driver.nouveau_draws or host.settings["nvidia_driver_headless_ok"]:
        return
    ubuntu = facts.os.id == "ubuntu"
    install = "run there: ubuntu-drivers install" if ubuntu else "with Debian's non-free: apt-get install nvidia-driver"
    yield Say(host.name, "driver-without-display").refuse(
        f"nouveau drives its display ({managers[0]} is there), and the driver that gpuctl installs would not",
        f"{install}, and reboot: that driver is kept; or set nvidia_driver_headless_ok=true",
    )


def foreign(host: Host, facts: HostFacts) -> Iterator[Finding]:
    """Driver files that no package owns."""
    if facts.driver.foreign and facts.counted_gpus and host.settings.get("nvidia_driver_manage") != "never":
        yield Say(host.name, "driver-foreign").refuse(
            "its NVIDIA driver was installed without a package",
            "run there: nvidia-uninstall; or set nvidia_driver_manage=never to keep it",
        )


def mismatch(host: Host, facts: HostFacts) -> Iterator[Finding]:
    """A library of another version than the loaded module: an upgrade without a reboot."""
    loaded, library = facts.driver.loaded_version, facts.driver.library_version
    unfinished = begun(facts, "nvidia_driver") and not complete(facts, "nvidia_driver")
    if loaded and library and loaded != library and not unfinished:
        yield Say(host.name, "driver-lib-mismatch").refuse(
            f"module {loaded} is loaded, but the library is {library}", "reboot the host"
        )


def fabric(host: Host, facts: HostFacts) -> Iterator[Finding]:
    """NVSwitch systems need the fabric manager, or CUDA fails with error 802."""
    running = facts.units.get("nvidia-fabricmanager.service", "").startswith(("active", "unknown"))
    there = facts.nvswitches or facts.nvlink_managers
    if not there or not facts.counted_gpus or running or host.settings.get("cluster_gpu") == "none":
        return
    needed = "fabric manager" if facts.nvswitches else "fabric manager with nvlsm"
    what = f"{facts.nvswitches} NVSwitches" if facts.nvswitches else "NVSwitches behind ConnectX bridges"
    say, message = Say(host.name, "fabric-missing"), f"{what}, but no {needed} runs"
    if complete(facts, "nvidia_driver") and (facts.nvswitches or _has_nvlsm(facts)):
        yield say.warn(message, "run there: systemctl enable --now nvidia-fabricmanager")
    elif not wants_driver(host, facts) and not complete(facts, "nvidia_driver"):
        packages = "nvidia-fabricmanager" if facts.nvswitches else "nvidia-fabricmanager, nvlsm"
        version = facts.driver.loaded_version or "the driver's version"
        yield say.warn(
            message, f"install {packages} (of {version}) there, then run: systemctl enable --now nvidia-fabricmanager"
        )
    else:
        yield say.repair(message, "installed in the driver's version and started")


def _has_nvlsm(facts: HostFacts) -> bool:
    recorded = facts.receipts["nvidia_driver"].get("arguments", {}).get("nvidia_driver_nvlsm", {})
    return recorded.get("value") is True


def unasked(host: Host, facts: HostFacts) -> Iterator[Finding]:
    """A device list strategy under which any image may give itself all GPUs of the node."""
    if facts.counted_gpus and host.settings.get("nvidia_device_plugin_device_list_strategy") == "envvar":
        yield Say(host.name, "gpu-unasked").warn(
            "with nvidia_device_plugin_device_list_strategy=envvar a pod without a GPU request can see all GPUs",
            "set it to cdi-cri, unless a runtime of the site's own needs envvar",
        )
