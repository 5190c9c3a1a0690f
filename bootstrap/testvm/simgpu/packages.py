"""Driver packages for simulated GPUs, under the names that NVIDIA's repository for Debian 12 uses.

The version suffix `+sim` is what tells them from NVIDIA's; they refuse to install outside a lab.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from bootstrap.testvm.components import tools
from bootstrap.testvm.simgpu.compile import compile_doubles
from bootstrap.testvm.simgpu.hardware import MODULE_PROC, STATE_TARGET, doubles_dir

RELEASES = ("580.178.04", "580.150.02")
"""Driver releases that are built, newest first: the second is there to be downgraded to."""
BRANCH = "580"
_LIB = "usr/lib/x86_64-linux-gnu"
_UNITS = "usr/lib/systemd/system"
_SIM = "usr/lib/nvidia-simulated"
_FLAVOURS = {
    "nvidia-kernel-open-dkms": "NVIDIA UNIX Open Kernel Module for x86_64",
    "nvidia-kernel-dkms": "NVIDIA UNIX x86_64 Kernel Module",
}
"""What the open and the closed module call themselves in /proc/driver/nvidia/version."""
_EPOCH = "1767225600"
"""All files carry this time (2026-01-01 UTC), so that the same sources give the same packages."""


@dataclass(frozen=True, slots=True)
class Package:
    """One Debian package: `files` maps a path to a template or built file, `texts` to text, `links` to a target."""

    name: str
    version: str
    summary: str
    depends: tuple[str, ...] = ()
    conflicts: tuple[str, ...] = ()
    provides: tuple[str, ...] = ()
    files: Mapping[str, Path] = field(default_factory=dict)
    texts: Mapping[str, str] = field(default_factory=dict)
    links: Mapping[str, str] = field(default_factory=dict)
    scripts: Mapping[str, str] = field(default_factory=dict)
    architecture: str = "amd64"


def build_driver_packages(workdir: Path, out: Path) -> list[Path]:
    """Compile the doubles and build all driver packages of `RELEASES` into `out`; returns the .deb files.

    `workdir` is emptied first. Raises GpuctlError "tool-missing" (no C compiler, no dpkg-deb) and
    "component-build-failed".
    """
    shutil.rmtree(workdir, ignore_errors=True)
    out.mkdir(parents=True, exist_ok=True)
    debs = [_build(_pinning(BRANCH, f"{BRANCH}-1+sim", f"{BRANCH}.*"), workdir, out)]
    for release in RELEASES:
        built = workdir / f"built-{release}"
        compile_doubles(built, release)
        debs += [_build(package, workdir, out) for package in packages(release, built)]
    return debs


def packages(release: str, built: Path) -> list[Package]:
    """The packages of one driver release, from the doubles that were compiled into `built`."""
    version = f"{release}-1+sim"
    same = f"(= {version})"
    kernels = [_kernel(name, release, version) for name in _FLAVOURS]
    return [
        _pinning(release, version, f"{release}-*"),
        _library("libnvidia-ml1", "libnvidia-ml", release, built),
        _library("libcuda1", "libcuda", release, built, (f"libnvidia-ml1 {same}",)),
        Package(
            "nvidia-smi", version, "NVIDIA System Management Interface", ("libc6", f"libnvidia-ml1 {same}"),
            files={"usr/bin/nvidia-smi": built / "nvidia-smi"},
        ),
        Package(
            "nvidia-modprobe", version, "utility to load NVIDIA kernel modules and create device nodes",
            files={"usr/bin/nvidia-modprobe": _template("nvidia-modprobe")},
        ),
        *kernels,
        Package(
            "nvidia-persistenced", version, "daemon to maintain persistent software state in the NVIDIA driver",
            (f"nvidia-modprobe (>= {BRANCH})",),
            files={
                "usr/bin/nvidia-persistenced": _template("nvidia-persistenced"),
                f"{_UNITS}/nvidia-persistenced.service": _template("nvidia-persistenced.service"),
            },
            scripts={"postinst": "postinst-persistenced", "prerm": "prerm-persistenced"},
        ),
        Package(
            "nvidia-driver-cuda", version, "NVIDIA driver, the parts for computing",
            (
                f"libcuda1 {same}", f"libnvidia-ml1 {same}", f"nvidia-smi {same}", f"nvidia-persistenced (>= {BRANCH})",
                f"nvidia-kernel-open-dkms {same} | nvidia-kernel-dkms {same}",
            ),
            scripts={"postinst": "postinst-cuda"},
        ),
    ]  # fmt: skip


def _template(name: str) -> Path:
    return doubles_dir() / "package" / name


def _pinning(what: str, version: str, pin: str) -> Package:
    name = f"nvidia-driver-pinning-{what}"
    text = _template("pinning").read_text(encoding="utf-8").replace("@PIN@", pin)
    return Package(
        name, version, f"keeps the NVIDIA driver at {what}", architecture="all",
        conflicts=("nvidia-driver-pinning",), provides=("nvidia-driver-pinning",),
        # apt passes over preferences whose name has an extension other than .pref, such as ".04".
        texts={f"etc/apt/preferences.d/{name.replace('.', '-')}": text},
    )  # fmt: skip


def _library(name: str, library: str, release: str, built: Path, depends: tuple[str, ...] = ()) -> Package:
    """A driver library with its links.

    The NVML package also carries two names that end in the driver version and lead to the simulated hardware: the
    container toolkit mounts what is so named, so containers see the same hardware. They do not begin with "lib",
    which keeps ldconfig from complaining that they are no libraries.
    """
    links = {f"{_LIB}/{library}.so.1": f"{library}.so.{release}", f"{_LIB}/{library}.so": f"{library}.so.1"}
    if library == "libnvidia-ml":
        links[f"{_LIB}/nvidia-simulated-gpus.so.{release}"] = f"../../..{STATE_TARGET}/state"
        links[f"{_LIB}/nvidia-simulated-module.so.{release}"] = f"../../..{MODULE_PROC}/version"
    return Package(
        name, f"{release}-1+sim", f"NVIDIA driver library {library}", ("libc6", *depends),
        files={f"{_LIB}/{library}.so.{release}": built / f"{library}.so.{release}"}, links=links,
    )  # fmt: skip


def _kernel(name: str, release: str, version: str) -> Package:
    text = (
        f"NVRM version: {_FLAVOURS[name]}  {release}  Release Build  (lab@simulated)  Thu Jan  1 00:00:00 UTC 2026\n"
        "GCC version:  gcc version 12.2.0 (Debian 12.2.0-14+deb12u1)\n"
    )
    unit = "nvidia-simulated-module.service"
    return Package(
        name, version, "NVIDIA kernel module", (f"nvidia-modprobe (>= {BRANCH})",),
        conflicts=tuple(other for other in _FLAVOURS if other != name),
        files={
            f"{_SIM}/load-module": _template("load-module"),
            f"{_SIM}/module/params": _template("params"),
            f"{_UNITS}/{unit}": _template(unit),
            "usr/lib/modprobe.d/nvidia-simulated.conf": _template("modprobe.conf"),
        },
        texts={f"{_SIM}/module/version": text, f"{_SIM}/module/release": f"{release}\n"},
        links={f"{_UNITS}/sysinit.target.wants/{unit}": f"../{unit}"},
        scripts={"postinst": "postinst-kernel", "postrm": "postrm-kernel"},
    )  # fmt: skip


def _control(package: Package) -> str:
    fields = {
        "Package": package.name,
        "Version": package.version,
        "Architecture": package.architecture,
        "Maintainer": "gpuctl component mirror <root@localhost>",
        "Depends": ", ".join(package.depends),
        "Conflicts": ", ".join(package.conflicts),
        "Provides": ", ".join(package.provides),
        "Section": "admin",
        "Priority": "optional",
        "Description": f"{package.summary} (simulated)\n Test double for gpuctl lab hosts: no NVIDIA code, no GPU.",
    }
    return "".join(f"{name}: {value}\n" for name, value in fields.items() if value)


def _build(package: Package, workdir: Path, out: Path) -> Path:
    tree = workdir / f"{package.name}_{package.version}"
    for path, source in package.files.items():
        target = _parent(tree / path)
        if source.parent == doubles_dir() / "package":
            target.write_text(_fill(source.read_text(encoding="utf-8"), package), encoding="utf-8")
        else:
            shutil.copyfile(source, target)
        executable = "/bin/" in f"/{path}" or path.endswith("load-module")
        target.chmod(0o755 if executable else 0o644)
    for path, text in package.texts.items():
        _parent(tree / path).write_text(text, encoding="utf-8")
    for path, link in package.links.items():
        _parent(tree / path).symlink_to(link)
    _write_metadata(package, tree)
    deb = out / f"{package.name}_{package.version}_{package.architecture}.deb"
    argv = [tools.need("dpkg-deb", "dpkg"), "--root-owner-group", "-Znone", "--build", str(tree), str(deb)]
    environment = dict(os.environ, SOURCE_DATE_EPOCH=_EPOCH)
    tools.run(package.name, argv, log=workdir / "dpkg-deb.log", timeout_s=60, env=environment)
    return deb


def _write_metadata(package: Package, tree: Path) -> None:
    debian = tree / "DEBIAN"
    debian.mkdir(parents=True)
    (debian / "control").write_text(_control(package), encoding="utf-8")
    for script, template in {"preinst": "preinst", **package.scripts}.items():
        target = debian / script
        target.write_text(_fill(_template(template).read_text(encoding="utf-8"), package), encoding="utf-8")
        target.chmod(0o755)
    conffiles = [f"/{path}\n" for path in (*package.files, *package.texts) if path.startswith("etc/")]
    if conffiles:
        (debian / "conffiles").write_text("".join(conffiles), encoding="utf-8")
    if any(path.startswith(_LIB) for path in package.files):
        (debian / "triggers").write_text("activate-noawait ldconfig\n", encoding="utf-8")
    # Clamping alone would keep times older than the epoch's: the tree gets one time throughout.
    for path in [tree, *tree.rglob("*")]:
        os.utime(path, (int(_EPOCH), int(_EPOCH)), follow_symlinks=False)


def _fill(text: str, package: Package) -> str:
    release = package.version.partition("-")[0]
    filled = text.replace("@PACKAGE_VERSION@", package.version).replace("@PACKAGE@", package.name)
    return filled.replace("@VERSION@", release)


def _parent(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path
