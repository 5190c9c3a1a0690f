"""The driver that would be installed: can it be had, built and loaded on this host; and is the one there whole."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from bootstrap.checks.common import Say, begun, complete, wants_driver
from bootstrap.checks.finding import Finding
from bootstrap.probe.cards import architectures, branch_of

if TYPE_CHECKING:
    from bootstrap.inventory.model import Host
    from bootstrap.probe.facts import HostFacts

PACKAGED = "x86_64"  # of the repositories in roles/nvidia_driver/vars


def versions(host: Host, facts: HostFacts) -> Iterator[Finding]:
    """A branch and a version that contradict each other."""
    if not wants_driver(host, facts):
        return
    branch, version = str(host.settings["nvidia_driver_branch"]), str(host.settings["nvidia_driver_version"] or "")
    say = Say(host.name, "driver-version-conflict")
    if "nvidia_driver_version" in host.explicit and version and not version.startswith(f"{branch}."):
        named = branch_of(version)
        cards = architectures(gpu.device_id for gpu in facts.counted_gpus)
        fits = named is not None and all(card.driven_by(named) for card in cards)
        yield say.refuse(
            f"nvidia_driver_version {version} is not of nvidia_driver_branch {branch}",
            f"set nvidia_driver_branch={named}" if fits else f"leave nvidia_driver_version out for branch {branch}",
        )


def sources(host: Host, facts: HostFacts) -> Iterator[Finding]:
    """A driver for the host's processor: NVIDIA's repositories that the role knows are for one kind only."""
    if facts.os.arch == "aarch64" and wants_driver(host, facts) and not host.settings.get("nvidia_driver_apt_source"):
        yield Say(host.name, "arch-unsupported").refuse(
            f"its processor is aarch64, and the driver's repositories that gpuctl knows are for {PACKAGED} only",
            "install its vendor's driver and load it: it is kept; or set nvidia_driver_apt_source to one for aarch64",
        )


def secure_boot(host: Host, facts: HostFacts) -> Iterator[Finding]:
    """A module that is built on the host loads only if the key that it is signed with is enrolled."""
    if not facts.secure_boot or facts.module_key == "enrolled" or not wants_driver(host, facts):
        return
    message = "Secure Boot is on, and the key that signs a driver that is built here is not enrolled"
    if facts.module_key == "not-enrolled":
        ubuntu = facts.os.id == "ubuntu"
        certificate = "/var/lib/shim-signed/mok/MOK.der" if ubuntu else "/var/lib/dkms/mok.pub"
        fix = f"run there: mokutil --import {certificate}; reboot and confirm it at the console, then run again"
    else:
        fix = _NEW_KEY["ubuntu" if facts.os.id == "ubuntu" else "debian"]
    yield Say(host.name, "secure-boot-unsigned").refuse(message, f"{fix}; or install the distribution's signed driver")


_DEBIAN_KEY = (
    "openssl req -new -x509 -nodes -days 36500 -subj /CN=DKMS -newkey rsa:2048 -keyout /var/lib/dkms/mok.key "
    "-outform DER -out /var/lib/dkms/mok.pub && mokutil --import /var/lib/dkms/mok.pub"
)
_NEW_KEY = {
    "ubuntu": "run there: apt-get install dkms shim-signed && update-secureboot-policy --new-key && mokutil --import "
    "/var/lib/shim-signed/mok/MOK.der; reboot and confirm it at the console, then run again",
    "debian": f"run there: apt-get install dkms mokutil openssl && {_DEBIAN_KEY}; reboot and confirm it at the "
    "console, then run again",
}


def headers(host: Host, facts: HostFacts) -> Iterator[Finding]:
    """DKMS builds for the running kernel, from headers that apt must have on offer."""
    if facts.headers != "missing" or not wants_driver(host, facts) or begun(facts, "nvidia_driver"):
        return
    kernel = facts.os.kernel
    yield Say(host.name, "headers-missing").refuse(
        f"no package source offers linux-headers-{kernel} for its running kernel, so no driver can be built for it",
        f"run there: apt-get update; if it still is not offered, {_other_kernel(facts)}",
    )


def _other_kernel(facts: HostFacts) -> str:
    """How the host gets headers that fit: those of its vendor's kernel, or a kernel that the distribution has."""
    kernel = facts.os.kernel
    if kernel.endswith("-pve"):
        return f"apt-get install proxmox-headers-{kernel}"
    if facts.os.id == "ubuntu":
        return "apt-get install linux-generic, and reboot into that kernel"
    flavour = "arm64" if facts.os.arch == "aarch64" else "amd64"
    return f"apt-get install linux-image-{flavour} linux-headers-{flavour}, and reboot into that kernel"


def library(host: Host, facts: HostFacts) -> Iterator[Finding]:
    """A loaded module without its libraries, as a driver container leaves it; libraries that fail."""
    driver = facts.driver
    if driver.loaded_version is None or not facts.counted_gpus or host.settings.get("cluster_gpu") == "none":
        return
    unfinished = begun(facts, "nvidia_driver") and not complete(facts, "nvidia_driver")
    if driver.library_version is None and driver.nvml_error and not unfinished:
        yield Say(host.name, "driver-lib-missing").refuse(
            f"module {driver.loaded_version} is loaded, and its library libnvidia-ml.so.1 is not on the host",
            "if a container brought the module, remove that container and reboot; else install the driver's libraries",
        )
    elif driver.nvml_error and driver.loaded_version == driver.library_version:
        yield Say(host.name, "nvml-failed").warn(
            f"the driver does not answer: {driver.nvml_error}", "see `dmesg | grep -i nvrm` on the host, and reboot it"
        )


def minikube_program(host: Host, facts: HostFacts) -> Iterator[Finding]:
    """The sum of minikube's program, which gpuctl knows for one processor; a minikube that is there needs none."""
    if facts.os.arch == "aarch64" and not host.settings.get("minikube_sha256") and not complete(facts, "minikube"):
        yield Say(host.name, "arch-unsupported").warn(
            f"gpuctl knows minikube's checksum for {PACKAGED} only, and its processor is aarch64",
            "if no minikube is installed there, set minikube_download_url and minikube_sha256",
        )
