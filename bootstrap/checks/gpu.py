"""GPUs and their driver: does what is there, and what would be installed, fit the cards."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from bootstrap.checks.common import Say, begun, complete, wants_driver
from bootstrap.checks.finding import Finding

if TYPE_CHECKING:
    from bootstrap.inventory.model import Host
    from bootstrap.probe.facts import HostFacts

# Packages of what draws the login screen.
DISPLAY_MANAGERS = ("gdm3", "lightdm", "sddm")
DATA = Path(__file__).with_name("gpu_architectures.yml")


@dataclass(frozen=True, slots=True)
class Architecture:
    """One generation of GPUs: driver branches that drive it, and module flavours."""

    name: str
    first_branch: int
    last_branch: int | None
    flavours: tuple[str, ...]


@cache
def _table() -> tuple[tuple[int, int, Architecture], ...]:
    import yaml

    rows = []
    for name, entry in yaml.safe_load(DATA.read_text(encoding="utf-8"))["architectures"].items():
        known = Architecture(name, entry["first_branch"], entry.get("last_branch"), tuple(entry["modules"]))
        rows += [(first, last, known) for first, last in entry["device_ids"]]
    return tuple(rows)


def architecture_of(device_id: str) -> Architecture | None:
    """The generation of a PCI device id (hex, "20b0"); None when the table does not know it."""
    try:
        number = int(device_id, 16)
    except ValueError:
        return None
    return next((known for first, last, known in _table() if first <= number <= last), None)


def missing(host: Host, facts: HostFacts) -> Iterator[Finding]:
    """Cards that the receipt knows and the bus does not show; a worker without any where they are required."""
    say = Say(host.name, "gpu-missing")
    known = [str(a) for a in facts.receipts.get("nvidia_driver", {}).get("gpus") or ()]
    gone = sorted(set(known) - {gpu.address for gpu in facts.gpus})
    if gone:
        yield say.warn(
            f"{len(known) - len(gone)} of {len(known)} GPUs are on the bus; gone: {', '.join(gone)}",
            "look at the kernel log for Xid messages, reseat the card or power-cycle the host",
        )
    elif not facts.gpus and host.settings.get("cluster_gpu") == "required" and not host.is_control_plane:
        yield say.refuse(
            "it has no NVIDIA GPU, and cluster_gpu is required", "set cluster_gpu=auto, or leave the host out"
        )


def unsupported(host: Host, facts: HostFacts) -> Iterator[Finding]:
    """Cards that no module drives together, that the chosen branch does not know, or that the loaded module refuses."""
    say = Say(host.name, "driver-gpu-unsupported")
    cards = {known.name: known for gpu in facts.gpus if (known := architecture_of(gpu.device_id))}
    loaded = facts.driver.loaded_version
    if not wants_driver(host, facts):
        closed_out = [a.name for a in cards.values() if facts.driver.flavour and facts.driver.flavour not in a.flavours]
        if loaded and closed_out and host.settings.get("cluster_gpu") != "none":
            yield say.refuse(
                f"the {facts.driver.flavour} module {loaded} does not drive {', '.join(closed_out)}",
                "install the other flavour, or remove the driver and let gpuctl choose",
            )
        return
    if cards and not set.intersection(*(set(a.flavours) for a in cards.values())):
        yield say.refuse(f"no one driver drives {' and '.join(cards)} together", "put the cards into different hosts")
    text = str(host.settings.get("nvidia_driver_branch", ""))
    branch = int(text) if text.isdecimal() else None
    for known in cards.values() if branch else ():
        if branch and known.last_branch and branch > known.last_branch:
            fix = f"set nvidia_driver_branch={known.last_branch} for this host"
            yield say.refuse(f"driver branch {branch} no longer drives {known.name} (last: {known.last_branch})", fix)
        elif branch and branch < known.first_branch:
            fix = f"set nvidia_driver_branch={known.first_branch} or later"
            yield say.refuse(f"driver branch {branch} does not know {known.name} (first: {known.first_branch})", fix)


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
    if facts.driver.foreign and facts.gpus and host.settings.get("nvidia_driver_manage") != "never":
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


def secure_boot(host: Host, facts: HostFacts) -> Iterator[Finding]:
    """A module built on the host is not signed, so it would never load."""
    if facts.secure_boot and wants_driver(host, facts):
        yield Say(host.name, "secure-boot-unsigned").refuse(
            "Secure Boot is on: a driver that is built here would not load",
            "install the distribution's signed driver packages, enrol a key with mokutil, or switch Secure Boot off",
        )


def fabric(host: Host, facts: HostFacts) -> Iterator[Finding]:
    """NVSwitch systems need the fabric manager, or CUDA fails with error 802."""
    running = facts.units.get("nvidia-fabricmanager.service", "").startswith(("active", "unknown"))
    if not facts.nvswitches or not facts.gpus or running or host.settings.get("cluster_gpu") == "none":
        return
    say, message = Say(host.name, "fabric-missing"), f"{facts.nvswitches} NVSwitches, but no fabric manager runs"
    if complete(facts, "nvidia_driver") or host.settings.get("nvidia_driver_manage") == "never":
        yield say.warn(message, "run there: systemctl enable --now nvidia-fabricmanager")
    else:
        yield say.repair(message, "installed in the driver's version and started")


def unasked(host: Host, facts: HostFacts) -> Iterator[Finding]:
    """A device list strategy under which any image may give itself all GPUs of the node."""
    if facts.gpus and host.settings.get("nvidia_device_plugin_device_list_strategy") == "envvar":
        yield Say(host.name, "gpu-unasked").warn(
            "with nvidia_device_plugin_device_list_strategy=envvar a pod without a GPU request can see all GPUs",
            "set it to cdi-cri, unless a runtime of the site's own needs envvar",
        )
