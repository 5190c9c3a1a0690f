"""The image that virtual machines of labs start from: the containers' root file system with Debian's cloud kernel.

Made once per root file system and recipe, and kept under the digest of both.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from bootstrap.errors import GpuctlError, Problem
from bootstrap.exit_codes import ExitCode
from bootstrap.testvm import cpio, procs, rootfs

Report = Callable[[str, str], None]

KERNEL = "linux-image-cloud-amd64"
SHELL = "busybox-static"
# In the order in which they load; what stands between the kernel and its disk and network card.
MODULES = (
    "drivers/virtio/virtio_ring", "drivers/virtio/virtio", "drivers/virtio/virtio_pci_modern_dev",
    "drivers/virtio/virtio_pci_legacy_dev", "drivers/virtio/virtio_pci", "drivers/block/virtio_blk",
    "net/core/failover", "drivers/net/net_failover", "drivers/net/virtio_net",
)  # fmt: skip
# Without KVM each of these costs between a tenth of a second and several of them, before ssh.
MASKED = (
    "dev-hugepages.mount", "dev-mqueue.mount", "sys-kernel-debug.mount", "sys-kernel-tracing.mount",
    "sys-fs-fuse-connections.mount", "sys-kernel-config.mount", "modprobe@configfs.service", "modprobe@dm_mod.service",
    "modprobe@drm.service", "modprobe@efi_pstore.service", "modprobe@fuse.service", "modprobe@loop.service",
    "networking.service", "ifupdown-pre.service", "serial-getty@ttyS0.service", "getty.target",
    "kmod-static-nodes.service", "systemd-tmpfiles-setup-dev.service", "systemd-sysusers.service",
    "systemd-remount-fs.service", "systemd-update-utmp.service", "systemd-update-utmp-runlevel.service",
    "systemd-journal-flush.service", "systemd-binfmt.service", "proc-sys-fs-binfmt_misc.automount",
    "systemd-ask-password-console.path", "systemd-ask-password-wall.path", "systemd-random-seed.service",
    "systemd-journald-audit.socket", "systemd-tmpfiles-clean.timer",
)  # fmt: skip
# Generators look for what these hosts do not have, one process each.
GENERATORS = (
    "systemd-cryptsetup-generator", "systemd-debug-generator", "systemd-getty-generator", "systemd-gpt-auto-generator",
    "systemd-hibernate-resume-generator", "systemd-integritysetup-generator", "systemd-rc-local-generator",
    "systemd-run-generator", "systemd-system-update-generator", "systemd-sysv-generator",
    "systemd-veritysetup-generator",
)  # fmt: skip
SIZE_GIB = 16  # what a host sees; a file with holes, about 0.5 GiB at first
INODES = 400_000
_REVISION = 1  # raise when what `_finish` does, or INIT, changes
_DOWNLOAD_S = 900
# What a blank disk would have to be told: nothing is asked of a journal's age, and no background job fills in tables.
_MKE2FS = ("-q", "-F", "-t", "ext4", "-m", "0", "-J", "size=32", "-E", "lazy_itable_init=0,lazy_journal_init=0",
           "-O", "^metadata_csum,^64bit")  # fmt: skip

# `gpuctl.probe` on the kernel's command line asks only whether the kernel comes this far.
INIT = """\
#!/bin/busybox sh
set -e
b=/bin/busybox
$b mount -t devtmpfs dev /dev
$b mount -t proc proc /proc
if $b grep -q gpuctl.probe /proc/cmdline; then
  echo {marker} > /dev/ttyS0
  $b poweroff -f
fi
for module in {modules}; do $b insmod /modules/$module.ko; done
tries=0
until [ -b /dev/vda ]; do
  tries=$((tries + 1))
  [ $tries -lt 600 ] || {{ echo "no disk after 30 s" > /dev/console; exit 1; }}
  $b usleep 50000
done
$b mount -t ext4 -o noatime /dev/vda /root
if [ ! -e /root/var/lib/gpuctl-lab/seeded ]; then
  $b cp -a /seed/. /root/
  $b mkdir -p /root/var/lib/gpuctl-lab
  $b touch /root/var/lib/gpuctl-lab/seeded
fi
. /lab/network
$b ip link set dev eth0 mtu $mtu up
$b ip address add $address dev eth0
$b ip route add default via $gateway
$b umount /proc
$b mount -o move /dev /root/dev
exec $b switch_root /root /sbin/init
"""
MARKER = "gpuctl: the kernel runs"


@dataclass(frozen=True, slots=True)
class Image:
    """The files of a finished image."""

    place: Path

    @property
    def disk(self) -> Path:
        """An ext4 file system, as a file with holes."""
        return self.place / "disk.raw"

    @property
    def kernel(self) -> Path:
        """The kernel (bzImage)."""
        return self.place / "vmlinuz"

    @property
    def initrd(self) -> Path:
        """The initial root file system without what is a host's own."""
        return self.place / "initrd.cpio"


@dataclass(frozen=True, slots=True)
class Recipe:
    """Everything that decides what the image holds, besides the archive's state on the day."""

    rootfs: str
    packages: tuple[str, ...] = (KERNEL, SHELL)
    modules: tuple[str, ...] = MODULES
    masked: tuple[str, ...] = MASKED
    generators: tuple[str, ...] = GENERATORS
    init: str = INIT
    mke2fs: tuple[object, ...] = (*_MKE2FS, SIZE_GIB, INODES)
    revision: int = _REVISION

    @property
    def digest(self) -> str:
        """Name in the cache: 16 hexadecimal digits."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:16]


def of(cache: Path, root: Path) -> Image:
    """The image that belongs to a cached root file system (its directory `root`), made or not."""
    return Image(cache / Recipe(root.parent.name).digest)


def ensure(cache: Path, root: Path, report: Report) -> Image:
    """Return the image for `root`, made now if it is not in `cache`. Raises GpuctlError `image-failed`."""
    image = of(cache, root)
    with rootfs.locked(cache, report):
        rootfs.clean(cache)
        if (image.place / "complete.json").is_file():
            return image
        started = time.monotonic()
        report("lab", "making the image of the virtual machines (once, less than a minute)")
        part = cache / f"{image.place.name}.part"
        part.mkdir()
        try:
            with _explained():
                version = _make(part, root)
        except BaseException:
            rootfs.clean(cache)
            raise
        (part / "complete.json").write_text(json.dumps({"kernel": version, "rootfs": str(root)}))
        part.rename(image.place)
        report("lab", f"image made in {time.monotonic() - started:.0f} s")
    return image


@contextmanager
def _explained() -> Iterator[None]:
    try:
        yield
    except GpuctlError as error:
        [problem] = error.problems
        raise GpuctlError(
            ExitCode.STEP_FAILED,
            Problem(
                "image-failed", problem.message, "check that `apt-get update` works on this machine",
                details=problem.details,
            ),
        ) from error  # fmt: skip


def _run(argv: list[str], timeout: float = 30) -> str:
    """A tool that ends with us, however that is."""
    return procs.run(["setpriv", "--pdeathsig", "KILL", *argv], timeout=timeout)


def _make(part: Path, root: Path) -> str:
    tree, unpacked = part / "tree", part / "unpacked"
    _run(["cp", "--archive", "--reflink=auto", str(root), str(tree)], timeout=_DOWNLOAD_S)
    for package in _download(part, tree):
        _run(["dpkg-deb", "--extract", str(package), str(unpacked)], timeout=300)
    [modules] = (unpacked / "lib/modules").iterdir()
    shutil.move(modules, tree / "usr/lib/modules" / modules.name)
    version = modules.name
    _run(["chroot", str(tree), "depmod", "--all", version], timeout=120)
    _finish(tree)
    shutil.copyfile(unpacked / f"boot/vmlinuz-{version}", part / "vmlinuz")
    busybox = (unpacked / "bin/busybox").read_bytes()
    (part / "initrd.cpio").write_bytes(_initrd(tree / "usr/lib/modules" / version / "kernel", busybox))
    with (part / "disk.raw").open("wb") as disk:
        disk.truncate(SIZE_GIB * 2**30)
    make = ["mke2fs", *_MKE2FS, "-N", str(INODES), "-L", "gpuctl", "-d", str(tree), str(part / "disk.raw")]
    _run(make, timeout=600)
    shutil.rmtree(tree)
    shutil.rmtree(unpacked)
    return version


def _download(part: Path, tree: Path) -> tuple[Path, ...]:
    """Fetch the kernel and the initial shell with the hosts' own apt configuration; they are not installed."""
    into = part / "archives"
    (into / "partial").mkdir(parents=True)
    options = [f"Dir={tree}", f"Dir::State::status={tree}/var/lib/dpkg/status", "APT::Sandbox::User=root"]
    apt = [word for option in options for word in ("-o", option)]
    _run(["apt-get", *apt, "-qq", "update"], timeout=_DOWNLOAD_S)
    shown = _run(["apt-cache", *apt, "show", "--no-all-versions", KERNEL])
    kernel = kernel_package(shown)
    fetch = ["env", f"--chdir={into}", "apt-get", *apt, "-qq", "download", kernel, SHELL]
    _run(fetch, timeout=_DOWNLOAD_S)
    return tuple(sorted(into.glob("*.deb")))


def kernel_package(shown: str) -> str:
    """The package with the kernel itself, from what `apt-cache show` says of the one that depends on it."""
    match = re.search(r"^Depends:.*?\b(linux-image-[0-9][^\s,]*)", shown, re.MULTILINE)
    if not match:
        raise GpuctlError(
            ExitCode.STEP_FAILED, Problem("image-failed", f"the package archive has no kernel in {KERNEL}")
        )
    return match[1]


def _finish(tree: Path) -> None:
    """Take away what costs time at every start and is of no use to such a host."""
    units = tree / "etc/systemd/system"
    generators = tree / "etc/systemd/system-generators"
    generators.mkdir(exist_ok=True)
    for place in (*(units / unit for unit in MASKED), *(generators / name for name in GENERATORS)):
        place.unlink(missing_ok=True)
        place.symlink_to("/dev/null")
    # logind starts when it is asked for; a login does not ask, or each ssh command would start a user manager.
    (tree / "usr/lib/systemd/system/multi-user.target.wants/systemd-logind.service").unlink(missing_ok=True)
    session = tree / "etc/pam.d/common-session"
    lines = session.read_text().splitlines(keepends=True)
    session.write_text("".join(line for line in lines if "pam_systemd.so" not in line))


def _initrd(kernel: Path, busybox: bytes) -> bytes:
    init = INIT.format(marker=MARKER, modules=" ".join(Path(module).name for module in MODULES))
    files = {"init": (init.encode(), 0o755), "bin/busybox": (busybox, 0o755)}
    files |= {f"modules/{Path(m).name}.ko": ((kernel / f"{m}.ko").read_bytes(), 0o644) for m in MODULES}
    empty = [cpio.Member(name, 0o40755) for name in ("dev", "proc", "root", "seed")]
    return cpio.archive((*empty, *cpio.members(files)))
