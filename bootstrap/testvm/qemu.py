"""Test hosts as virtual machines under qemu: a kernel, a disk and memory of their own."""

from __future__ import annotations

import json
import signal
import subprocess
from dataclasses import replace
from functools import lru_cache
from ipaddress import IPv4Address
from typing import TYPE_CHECKING

from bootstrap.testvm import cpio, procs, seed, ssh, state, vmimage
from bootstrap.testvm.names import images_cache, lab_object, machine
from bootstrap.testvm.supervised import Supervised, orders_file

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from bootstrap.testvm.backend import HostSpec
    from bootstrap.testvm.names import LabPaths
    from bootstrap.testvm.seed import SeedFacts
    from bootstrap.testvm.vmimage import Image

QEMU = "qemu-system-x86_64"
MEMORY_MIB = 640
CPUS = 1
# What qemu may use for translated code; its own default is a GiB per host. A boot fills about 60 MiB.
_TRANSLATED_MIB = 192
# Emulated, a processor without AVX is the faster one: a third less time to ssh, half of it in apt, than with `max`.
_ACCELERATORS = {
    "kvm": ("-accel", "kvm", "-cpu", "host"),
    "tcg": ("-accel", f"tcg,thread=multi,tb-size={_TRANSLATED_MIB}", "-cpu", "Nehalem-v1"),
}
# No drivers and checks that an emulated machine makes slow or senseless: mitigations, self-tests, hardware clocks.
# An emulated machine's TSC is this machine's own, and jumps where that one's processors differ: deadlines passed early.
# Programs at the same addresses each time are translated once, not at each start: half the time for perl and logins.
KERNEL_OPTIONS = (
    "console=ttyS0 quiet net.ifnames=0 panic=10 mitigations=off nokaslr norandmaps cryptomgr.notests "
    "tsc=unstable no_timer_check "
    "lsm= audit=0 random.trust_cpu=on systemd.show_status=auto"
)
_PROBE_S = 10.0  # a working KVM gets there in under 1 s


class QemuBackend(Supervised):
    """The `Backend` for qemu: KVM where a kernel runs under it, else emulation (TCG)."""

    # Emulated, three hosts at once on two busy cores have taken two minutes.
    patience = ssh.Patience(boot_s=420, greet_s=4, command_s=60)

    def prepare(self, rootfs: Path, report: Callable[[str, str], None]) -> None:
        """Make the image for this root file system, and find out how it runs here."""
        image = vmimage.ensure(images_cache(), rootfs, report)
        how = accelerator(image)
        report("lab", "virtual machines run under KVM" if how == "kvm" else "no usable KVM: hosts are emulated (TCG)")

    def create(self, spec: HostSpec) -> None:
        """Lay down the host's disk, its initrd and the supervisor's orders (which are written last)."""
        image = vmimage.of(images_cache(), spec.rootfs)
        home = spec.paths.host(spec.host.name)
        copy_sparse(image.disk, home / "disk.raw")
        own = home / "initrd.cpio"
        own.touch(mode=0o600)  # the host's key is in it
        own.write_bytes(image.initrd.read_bytes() + host_archive(spec.seed))
        orders = {
            "paths": {"status": str(spec.paths.runtime / spec.host.name / "status.json")},
            "bridge": lab_object(spec.paths.name),
            "qemu": command(spec, image, accelerator(image)),
        }
        state.write(orders_file(spec.paths, spec.host.name), json.dumps(orders, indent=1))

    def reboot(self, paths: LabPaths, host: str) -> None:
        """Have the host's init reboot, without needing ssh; a host that is down is started."""
        asked = [procs.send(pid, self._proof(paths, host), signal.SIGHUP) for pid in self._supervisors(paths, host)]
        if not any(asked):
            self.start(paths, host)


def copy_sparse(source: Path, target: Path) -> None:
    """Copy a file with holes: shared blocks where the file system can, else only what is not zero."""
    procs.run(["cp", "--sparse=always", "--reflink=auto", str(source), str(target)], timeout=600)


def host_archive(facts: SeedFacts) -> bytes:
    """The part of the initrd that is one host's own: its files (copied to its disk once) and its network."""
    facts = replace(facts, is_machine=True)
    files = {f"seed/{name}": (text.encode(), mode) for name, (text, mode) in seed.files(facts).items()}
    network = f"address={facts.host.address}/24\ngateway={facts.gateway}\nmtu={facts.mtu}\n"
    files["lab/network"] = (network.encode(), 0o644)
    return cpio.archive(cpio.members(files, private=("seed/root",)))


def hardware_address(address: str) -> str:
    """The network card's address: the private range that qemu uses, then the host's IPv4 address."""
    return ":".join(f"{byte:02x}" for byte in (0x52, 0x54, *IPv4Address(address).packed))


def command(spec: HostSpec, image: Image, how: str) -> list[str]:
    """The command line of qemu but for the network and the monitor, which the supervisor holds open."""
    home = spec.paths.host(spec.host.name)
    # cache=unsafe leaves writing to this machine: a killed qemu loses nothing, a power cut of this machine might.
    disk = f"file={_escaped(home / 'disk.raw')},format=raw,if=virtio,cache=unsafe"
    return [
        *base_command(how), "-name", machine(spec.paths.name, spec.host.name),
        "-m", str(spec.memory_mib or MEMORY_MIB), "-smp", str(spec.cpus or CPUS),
        "-kernel", str(image.kernel), "-initrd", str(home / "initrd.cpio"), "-append", KERNEL_OPTIONS,
        "-serial", "stdio", "-drive", disk,
        "-device", f"virtio-net-pci,netdev=lab,romfile=,mac={hardware_address(spec.host.address)}",
    ]  # fmt: skip


def _escaped(path: Path) -> str:
    return str(path).replace(",", ",,")  # qemu's own rule for option values


def base_command(how: str) -> list[str]:
    """A bare machine, the same for hosts and for the proof of KVM."""
    bare = ["-machine", "pc", "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"]
    return [QEMU, *_ACCELERATORS[how], *bare]


@lru_cache(maxsize=4)
def accelerator(image: Image) -> str:
    """`kvm` if this image's kernel starts under it here, else `tcg`: a device node alone proves nothing."""
    probe = [
        *base_command("kvm"), "-m", "256", "-kernel", str(image.kernel), "-initrd", str(image.initrd),
        "-append", "console=ttyS0 quiet panic=-1 gpuctl.probe", "-serial", "stdio",
    ]  # fmt: skip
    try:
        done = subprocess.run(
            probe, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            timeout=_PROBE_S, check=False, env=procs.environment(),
        )  # fmt: skip
    except (subprocess.TimeoutExpired, OSError):
        return "tcg"
    return "kvm" if vmimage.MARKER.encode() in done.stdout else "tcg"
