"""Facts about the operating system, its storage and its kernel. Reads only."""

from __future__ import annotations

import ctypes
import fcntl
import glob
import gzip
import os
import re
import stat
import struct
from typing import Any, Iterable

from .gpuctl_base import listdir, read_line, read_text

MODULES = ("overlay", "br_netfilter", "vxlan", "nf_tables", "nvidia", "nouveau")
DATA_PATHS = ("/", "/var/lib/containerd", "/var/lib/docker", "/var/lib/kubelet", "/var/lib/etcd", "/var/lib/gpuctl")
DISKS = ("ext2", "ext3", "ext4", "xfs", "btrfs", "zfs", "f2fs", "jfs", "bcachefs", "tmpfs", "overlay")
PODS = ("/var/lib/kubelet/", "/var/lib/docker/", "/var/lib/containers/", "/run/", "/proc/", "/sys/", "/dev/")
_MANY = 64
DPKG_LOCKS = ("/var/lib/dpkg/lock-frontend", "/var/lib/dpkg/lock", "/var/lib/apt/lists/lock")
GPUCTL_LOCK = "/run/gpuctl/lock"
STA_UNSYNC = 0x0040  # <linux/timex.h>


def parse_os_release(text: str) -> dict[str, str]:
    """KEY=value lines of os-release(5), quotes and backslash escapes undone; everything else is skipped."""
    found = {}
    for line in text.split("\n"):
        match = re.match(r"\s*([A-Z][A-Z0-9_]*)=(.*?)\s*$", line)
        if not match:
            continue
        value = match.group(2)
        if len(value) > 1 and value[0] == value[-1] and value[0] in "\"'":
            value = value[1:-1]
        found[match.group(1)] = re.sub(r"\\(.)", r"\1", value)
    return found


def os_facts() -> dict[str, str]:
    """/etc/os-release and uname as the OsFacts of the controller."""
    release = parse_os_release(read_text("/etc/os-release") or read_text("/usr/lib/os-release") or "")
    names = os.uname()
    return {
        "id": release.get("ID", ""),
        "version_id": release.get("VERSION_ID", ""),
        "codename": release.get("VERSION_CODENAME", ""),
        "pretty": release.get("PRETTY_NAME", ""),
        "arch": names.machine,
        "kernel": names.release,
    }


def memory_bytes() -> int | None:
    """MemTotal of /proc/meminfo, in bytes."""
    match = re.search(r"^MemTotal:\s+(\d+) kB", read_text("/proc/meminfo") or "", re.MULTILINE)
    return int(match.group(1)) * 1024 if match else None


def disk_free(more: Iterable[str] = ()) -> dict[str, int]:
    """Bytes free to root for each data path, measured at the nearest folder that exists.

    So, too, for `more` paths and for the places where other disks of this machine are mounted.
    """
    free = {}
    for path in dict.fromkeys((*DATA_PATHS, *more, *disks(parse_mountinfo(read_text("/proc/self/mountinfo") or "")))):
        place = path
        while not os.path.isdir(place):
            place = os.path.dirname(place)
        found = os.statvfs(place)
        free[path] = found.f_bavail * found.f_frsize
    return free


def disks(mounts: list[tuple[str, str]]) -> list[str]:
    """Where file systems of the machine's own disks are mounted, none of a pod's; the network's may hang."""
    return [point for point, kind in mounts if kind in DISKS and not point.startswith(PODS)][:_MANY]


def parse_mountinfo(text: str) -> list[tuple[str, str]]:
    """(mount point, file system type) for each line of /proc/self/mountinfo; octal escapes undone."""
    mounts = []
    for line in text.split("\n"):
        left, separator, right = line.partition(" - ")
        fields = left.split(" ")
        if not separator or len(fields) < 5 or not right:
            continue
        point = re.sub(r"\\([0-7]{3})", lambda m: chr(int(m.group(1), 8)), fields[4])
        mounts.append((point, right.split(" ")[0]))
    return mounts


def cgroup_version(mountinfo: str | None) -> int | None:
    """2 when /sys/fs/cgroup is the unified hierarchy, 1 for legacy and hybrid, None when nothing is mounted there."""
    for point, kind in reversed(parse_mountinfo(mountinfo or "")):
        if point == "/sys/fs/cgroup":
            return 2 if kind == "cgroup2" else 1
    return None


def swap() -> list[str]:
    """Active swap devices, and swap entries of /etc/fstab as "fstab:DEVICE"."""
    active = [line.split()[0] for line in (read_text("/proc/swaps") or "").split("\n")[1:] if line.strip()]
    entries = []
    for line in re.split(r"[\r\n]+", read_text("/etc/fstab") or ""):
        fields = line.split()
        if len(fields) >= 3 and not fields[0].startswith("#") and fields[2] == "swap":
            entries.append("fstab:" + fields[0])
    return active + entries


def _kernel_config() -> str:
    text = read_text("/boot/config-" + os.uname().release)
    if text is not None:
        return text
    try:
        with gzip.open("/proc/config.gz", "rt") as handle:
            return handle.read()
    except OSError:
        return ""


CONFIG_NAMES = {"overlay": "OVERLAY_FS", "br_netfilter": "BRIDGE_NETFILTER", "vxlan": "VXLAN", "nf_tables": "NF_TABLES"}
SIGNS = {"overlay": ("/proc/filesystems", "\toverlay\n"), "br_netfilter": ("/proc/sys/net/bridge", "")}


def kernel_modules() -> dict[str, str]:
    """State of each module of interest: loaded, builtin, loadable, missing, or unknown where nothing tells."""
    loaded = {line.split(" ", 1)[0] for line in (read_text("/proc/modules") or "").split("\n")}
    folder = "/lib/modules/" + os.uname().release
    dep, builtin = read_text(folder + "/modules.dep"), read_text(folder + "/modules.builtin") or ""
    config: str | None = None
    states = {}
    for name in MODULES:
        file_name = re.compile(r"/%s\.ko" % name.replace("_", "[-_]"))
        if name in loaded:
            states[name] = "loaded"
        elif file_name.search(builtin) or _sign_of(name):
            states[name] = "builtin"
        elif dep is not None:
            states[name] = "loadable" if file_name.search(dep) else "missing"
        else:
            config = _kernel_config() if config is None else config
            symbol = CONFIG_NAMES.get(name)
            states[name] = "builtin" if symbol and "CONFIG_%s=y" % symbol in config else "unknown"
    return states


def _sign_of(name: str) -> bool:
    path, text = SIGNS.get(name, ("", ""))
    if not path:
        return False
    return os.path.isdir(path) if not text else text in (read_text(path) or "")


def inotify() -> dict[str, int]:
    """The two limits of fs.inotify that pods run into."""
    found = {}
    for name in ("max_user_instances", "max_user_watches"):
        value = read_line("/proc/sys/fs/inotify/" + name)
        if value is not None:
            found[name] = int(value)
    return found


def bpf_jit_harden() -> int | None:
    """net.core.bpf_jit_harden, which only root may read and only the host's own network has."""
    value = read_line("/proc/sys/net/core/bpf_jit_harden")
    return None if value is None else int(value)


def secure_boot() -> bool | None:
    """Whether UEFI Secure Boot is on; None when there is no such variable to read."""
    for path in glob.glob("/sys/firmware/efi/efivars/SecureBoot-*"):
        with open(path, "rb") as handle:
            return handle.read()[4:5] == b"\x01"
    return None


def time_synchronised() -> bool | None:
    """Whether the kernel clock is disciplined: adjtimex(2) with no change asked for; None where it may not be asked."""
    libc = ctypes.CDLL(None, use_errno=True)
    timex = ctypes.create_string_buffer(512)  # struct timex is 208 bytes on 64-bit; modes = 0 reads
    if libc.adjtimex(timex) < 0:
        return None
    status = struct.unpack_from("@i", timex, struct.calcsize("@Illl0l"))[0]
    return not status & STA_UNSYNC


def package_lock() -> str | None:
    """Who holds one of dpkg's or apt's locks, as "apt-get (pid 12)"; None when they are free."""
    for path in DPKG_LOCKS:
        try:
            handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            continue
        try:
            asked = struct.pack("@hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
            kind, _, _, _, pid = struct.unpack("@hhqqi4x", fcntl.fcntl(handle, fcntl.F_GETLK, asked))
        finally:
            os.close(handle)
        if kind != fcntl.F_UNLCK:
            return "%s (pid %d)" % (read_line("/proc/%d/comm" % pid) or "a process", pid)
    return None


def lock_holder() -> str | None:
    """What the holder of the gpuctl lock wrote into it; None when nobody holds it. Looks without taking it."""
    try:
        found = os.stat(GPUCTL_LOCK)
    except OSError:
        return None
    wanted = "%02x:%02x:%d" % (os.major(found.st_dev), os.minor(found.st_dev), found.st_ino)
    for line in (read_text("/proc/locks") or "").split("\n"):
        if " FLOCK " in line and " " + wanted + " " in line and " -> " not in line:
            return read_line(GPUCTL_LOCK) or "another gpuctl"
    return None


def _ancestors() -> set[int]:
    pids, pid = set(), os.getpid()
    while pid > 1 and pid not in pids:
        pids.add(pid)
        fields = (read_text("/proc/%d/stat" % pid) or "").rpartition(")")[2].split()
        pid = int(fields[1]) if len(fields) > 1 else 0
    return pids


def unfinished() -> list[str]:
    """Processes of an earlier run that still work here ("pid 12: apt-get install …"); not ourselves or our parents.

    Root's alone: anybody may set GPUCTL_RUN, for a program with the setuid bit as well.
    """
    own = _ancestors()
    found = []
    for name in listdir("/proc"):
        if not name.isdigit() or int(name) in own:
            continue
        try:
            with open("/proc/%s/environ" % name, "rb") as handle:
                environ = handle.read()
        except OSError:
            continue
        if (environ.startswith(b"GPUCTL_RUN=") or b"\0GPUCTL_RUN=" in environ) and _started_by_root(name):
            words = (read_text("/proc/%s/cmdline" % name) or "").replace("\0", " ").strip()
            found.append("pid %s: %s" % (name, words[:160]))
    return found


def _started_by_root(pid: str) -> bool:
    """Whether all user ids of a process are root's, and its program did not make them so."""
    ids = next((x for x in (read_text("/proc/%s/status" % pid) or "").split("\n") if x.startswith("Uid:")), "")
    try:
        changes_user = bool(os.stat("/proc/%s/exe" % pid).st_mode & stat.S_ISUID)
    except OSError:  # it has ended, or is a thread of the kernel's
        return False
    return ids.split()[1:] == ["0"] * 4 and not changes_user


def is_container() -> bool:
    """Whether the host is a container: what its manager says (systemd.io, "Container Interface")."""
    if os.path.exists("/run/systemd/container"):
        return True
    environ = (read_text("/proc/1/environ") or "").split("\0")
    return any(entry.startswith("container=") and entry != "container=" for entry in environ)


def identity() -> dict[str, Any]:
    """Host name, machine-id, product UUID and serial, boot id, processors, and whether it is a container."""
    return {
        "hostname": os.uname().nodename,
        "machine_id": read_line("/etc/machine-id"),
        "product_uuid": read_line("/sys/class/dmi/id/product_uuid"),
        "product_serial": read_line("/sys/class/dmi/id/product_serial"),
        "container": is_container(),
        "boot_id": read_line("/proc/sys/kernel/random/boot_id") or "",
        "cpus": len(os.sched_getaffinity(0)),
    }
