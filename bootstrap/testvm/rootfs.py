"""The root file system that all test hosts share: made once by mmdebstrap, kept under the digest of its recipe."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bootstrap.errors import GpuctlError, Problem
from bootstrap.exit_codes import ExitCode
from bootstrap.testvm import procs
from bootstrap.testvm.apt_sources import DEFAULT_SUITE, Sources, machine_sources

if TYPE_CHECKING:
    from collections.abc import Iterator

Report = Callable[[str, str], None]

PACKAGES = (
    "systemd", "systemd-sysv", "dbus", "openssh-server", "python3", "iproute2", "iptables", "nftables", "kmod",
    "sudo", "ifupdown", "libpam-systemd", "procps", "ca-certificates", "curl", "gnupg",
)  # fmt: skip
APT_OPTIONS = ('Acquire::Languages "none"',)
DPKG_OPTIONS = (
    "force-unsafe-io",
    "path-exclude=/usr/share/man/*",
    "path-exclude=/usr/share/doc/*",
    "path-include=/usr/share/doc/*/copyright",
)
# Jobs of a machine that lives for months; on a host that lives for minutes they only hold the package lock.
MASKED = (
    "apt-daily.timer", "apt-daily-upgrade.timer", "dpkg-db-backup.timer", "e2scrub_all.timer", "fstrim.timer",
    "e2scrub_reap.service", "console-getty.service", "getty@tty1.service", "systemd-pstore.service",
)  # fmt: skip
_REVISION = 1  # raise when `_finish` changes
# A mount and process namespace of its own: if we are killed, the command and its mounts go with us.
SHIELD = (
    "setpriv", "--pdeathsig", "KILL", "unshare", "--mount", "--propagation", "private", "--pid", "--fork",
    "--kill-child=KILL", "--mount-proc",
)  # fmt: skip
_TIMEOUT_S = 1800  # about 60 s on two cores with a near archive; a slow line may take many times that


@dataclass(frozen=True, slots=True)
class Recipe:
    """Everything that decides what the root file system holds."""

    suite: str
    sources: str
    proxy: str
    packages: tuple[str, ...] = PACKAGES
    apt_options: tuple[str, ...] = APT_OPTIONS
    dpkg_options: tuple[str, ...] = DPKG_OPTIONS
    masked: tuple[str, ...] = MASKED
    revision: int = _REVISION

    @property
    def digest(self) -> str:
        """Name in the cache: 16 hexadecimal digits."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:16]


def recipe(sources: Sources | None = None) -> Recipe:
    """The recipe for this machine: its own Debian archive where it has one."""
    found = sources or machine_sources()
    return Recipe(found.suite or DEFAULT_SUITE, found.deb822, found.proxy)


@contextmanager
def locked(cache: Path, report: Report) -> Iterator[None]:
    """One builder at a time; the kernel drops the lock of a killed one."""
    cache.mkdir(parents=True, exist_ok=True)
    fd = os.open(cache, os.O_RDONLY | os.O_DIRECTORY)
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            report("lab", "another gpuctl makes what test hosts start from: waiting for it")
            fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def cached(cache: Path, wanted: Recipe) -> Path | None:
    """The finished root file system of this recipe, if the cache has it."""
    place = cache / wanted.digest
    return place / "root" if (place / "complete.json").is_file() else None


def ensure(cache: Path, wanted: Recipe, report: Report) -> Path:
    """Return the directory of the root file system, made now if it is not in `cache`.

    Raises GpuctlError `rootfs-failed` with mmdebstrap's last lines; nothing half made is left under the digest.
    """
    if found := cached(cache, wanted):
        return found
    with locked(cache, report):
        clean(cache)
        if found := cached(cache, wanted):
            return found
        started = time.monotonic()
        report("lab", f"making the root file system ({wanted.suite}, once, about a minute)")
        part = cache / f"{wanted.digest}.part"
        part.mkdir()
        try:
            _build(part, wanted)
            _finish(part / "root", wanted)
        except BaseException:
            clean(cache)
            raise
        (part / "complete.json").write_text(json.dumps(asdict(wanted), indent=1))
        part.rename(cache / wanted.digest)
        report("lab", f"root file system made in {time.monotonic() - started:.0f} s")
    return cache / wanted.digest / "root"


def clean(cache: Path) -> None:
    """Remove what killed builders left. Call with the lock of the cache held."""
    for part in cache.glob("*.part"):
        shutil.rmtree(part, ignore_errors=True)


def clean_if_idle(cache: Path) -> None:
    """Remove what killed builders left, unless a builder is at work."""
    if not cache.is_dir():
        return
    fd = os.open(cache, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        clean(cache)
    except BlockingIOError:
        return
    finally:
        os.close(fd)


def _command(part: Path, wanted: Recipe) -> list[str]:
    command = [*SHIELD, "mmdebstrap", "--mode=root", "--variant=minbase"]
    command += ["--format=directory", "--skip=cleanup/apt/lists", f"--include={','.join(wanted.packages)}"]
    command += [f"--aptopt={option}" for option in wanted.apt_options]
    command += [f'--aptopt=Acquire::http::Proxy "{wanted.proxy}"'] if wanted.proxy else []
    command += [f"--dpkgopt={option}" for option in wanted.dpkg_options]
    command += [wanted.suite, str(part / "root")]
    if wanted.sources:
        (part / "lab.sources").write_text(wanted.sources)
        command.append(str(part / "lab.sources"))
    return command


def _build(part: Path, wanted: Recipe) -> None:
    log = part / "log"
    with log.open("wb") as out:
        try:
            done = subprocess.run(
                _command(part, wanted),
                stdin=subprocess.DEVNULL, stdout=out, stderr=out, timeout=_TIMEOUT_S, check=False,
                env=procs.environment() | {"TMPDIR": str(part)},
            )  # fmt: skip
            what = "" if done.returncode == 0 else f"mmdebstrap ended with status {done.returncode}"
        except subprocess.TimeoutExpired:
            what = f"mmdebstrap did not end within {_TIMEOUT_S} s"
    if what:
        last = "\n".join(log.read_text(errors="replace").splitlines()[-15:])
        raise GpuctlError(
            ExitCode.STEP_FAILED,
            Problem("rootfs-failed", what, "check that `apt-get update` works on this machine", details=last),
        )


def _finish(root: Path, wanted: Recipe) -> None:
    """Take away what each host must have of its own, and what it must not do."""
    for key in (root / "etc/ssh").glob("ssh_host_*"):
        key.unlink()
    (root / "etc/machine-id").write_text("")
    (root / "var/lib/dbus/machine-id").unlink(missing_ok=True)
    (root / "etc/hostname").unlink(missing_ok=True)
    for unit in wanted.masked:
        link = root / "etc/systemd/system" / unit
        link.unlink(missing_ok=True)
        link.symlink_to("/dev/null")
