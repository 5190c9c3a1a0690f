"""Debian packages on a host: what is there (from dpkg's own status file), versions on offer, install, remove, hold.

Standard library only, Python 3.8 and later: this code runs on the hosts.
"""

from __future__ import annotations

import fcntl
import fnmatch
import os
import struct
import time
from typing import Dict, Iterator, List, NamedTuple, Optional, Sequence, Set, Tuple

from .gpuctl_hostio import HostError, Ran, read_text, run

STATUS = "/var/lib/dpkg/status"
LOCKS = ("/var/lib/dpkg/lock-frontend", "/var/lib/dpkg/lock", "/var/lib/apt/lists/lock")
INSTALL_TIMEOUT_S = 1800  # a driver with its DKMS build takes up to 10 min on a slow host; thrice that is a hang
UPDATE_TIMEOUT_S = 300
_QUIET = {"DEBIAN_FRONTEND": "noninteractive", "NEEDRESTART_MODE": "l"}
_FLOCK = "hhqqi4x"  # struct flock on 64-bit Linux


class Package(NamedTuple):
    """One installed package."""

    version: str
    held: bool


class Wanted(NamedTuple):
    """A package to have; `version` is a glob such as "1.36.3-*", None for any; `at_least` a major version."""

    name: str
    version: Optional[str] = None
    at_least: int = 0

    def satisfied_by(self, have: Optional[Package]) -> bool:
        """Whether what is installed will do."""
        if have is None or major(have.version) < self.at_least:
            return False
        return self.version is None or fnmatch.fnmatchcase(have.version, self.version)


def major(version: str) -> int:
    """The first number of upstream's version, which follows the epoch: 28 of 5:28.5.2-1; 0 where there is none."""
    number = version.split(":")[-1].split(".")[0]
    return int(number) if number.isdigit() else 0


def installed(status_text: Optional[str] = None) -> Dict[str, Package]:
    """Every package in state "installed", by name, from one pass over dpkg's status file."""
    found: Dict[str, Package] = {}
    for name, version, wish, state in _paragraphs(status_text):
        if state == "installed":
            found[name] = Package(version, wish == "hold")
    return found


def present(pattern: str, status_text: Optional[str] = None) -> List[str]:
    """Packages whose name matches and that left anything on the host, be it configuration only."""
    names = [name for name, _, _, state in _paragraphs(status_text) if state != "not-installed"]
    return fnmatch.filter(names, pattern)


def _paragraphs(status_text: Optional[str]) -> Iterator[Tuple[str, str, str, str]]:
    """(name, version, what is wished, state) of each package that dpkg knows."""
    text = read_text(STATUS) if status_text is None else status_text
    for paragraph in text.split("\n\n"):
        fields = {}
        for line in paragraph.split("\n"):
            key, colon, value = line.partition(": ")
            if colon and key in ("Package", "Status", "Version"):
                fields[key] = value.strip()
        state = fields.get("Status", "").split()
        if len(state) == 3 and "Package" in fields:
            yield fields["Package"], fields.get("Version", ""), state[0], state[2]


def lock_holder(path: str) -> Optional[str]:
    """Who holds a lock of dpkg or apt, as "unattended-upgr (pid 812)"; None when it is free."""
    try:
        handle = os.open(path, os.O_RDWR)
    except OSError:
        return None
    try:
        asked = struct.pack(_FLOCK, fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
        kind, _whence, _start, _length, pid = struct.unpack(_FLOCK, fcntl.fcntl(handle, fcntl.F_GETLK, asked))
    finally:
        os.close(handle)
    if kind == fcntl.F_UNLCK:
        return None
    command = read_text(f"/proc/{pid}/cmdline").replace("\0", " ").strip() or read_text(f"/proc/{pid}/comm").strip()
    return f"{command or 'a process'} (pid {pid})"


def wait_for_locks(timeout_s: float) -> None:
    """Wait until nobody holds dpkg's or apt's locks; HostError package-lock names the holder at the deadline."""
    end = time.monotonic() + timeout_s
    while True:
        holders = [holder for holder in map(lock_holder, LOCKS) if holder]
        if not holders:
            return
        if time.monotonic() >= end:
            raise HostError(
                "package-lock",
                f"the package database is held by {holders[0]} for more than {timeout_s:g} s",
                "let it finish, or end it, and run gpuctl again",
            )
        time.sleep(1)


def apt_get(arguments: Sequence[str], lock_timeout_s: float, timeout_s: float = INSTALL_TIMEOUT_S) -> Ran:
    """apt-get without questions; configuration files that are there stay as they are."""
    wait_for_locks(lock_timeout_s)
    argv = ["apt-get", "-y", "-q", "-o", "Dpkg::Use-Pty=0", "-o", "Dpkg::Options::=--force-confdef"]
    argv += ["-o", "Dpkg::Options::=--force-confold", "-o", f"DPkg::Lock::Timeout={int(lock_timeout_s)}"]
    return run([*argv, *arguments], timeout_s, _QUIET)


def update(lock_timeout_s: float, source: Optional[str] = None) -> None:
    """Fetch the package lists: those of one .sources file, or all.

    One source that fails is an error (HostError repository-unreachable or key-mismatch). Of all sources, some may be
    the host's own and broken; whether what is needed is on offer then shows by itself.
    """
    if source is None:
        apt_get(["update"], lock_timeout_s, UPDATE_TIMEOUT_S)
        return
    only = [f"Dir::Etc::sourcelist={source}", "Dir::Etc::sourceparts=-", "APT::Get::List-Cleanup=0"]
    arguments = [word for option in only for word in ("-o", option)]
    done = apt_get([*arguments, "-o", "APT::Update::Error-Mode=any", "update"], lock_timeout_s, UPDATE_TIMEOUT_S)
    if done.rc != 0:
        wrong_key = any(word in done.err for word in ("NO_PUBKEY", "not signed", "BADSIG"))
        raise HostError(
            "key-mismatch" if wrong_key else "repository-unreachable",
            f"apt-get update failed: {_said(done)}",
            f"check the address, the key and the CA of the source ({source})",
            done.tail(),
        )


_BROKEN_FIX = "the package is not the one that the source's signed index names: have the mirror brought up to date"


def versions(names: Sequence[str]) -> Dict[str, List[str]]:
    """The versions on offer of each package, newest first."""
    found: Dict[str, List[str]] = {name: [] for name in names}
    if not names:
        return found
    for line in run(["apt-cache", "madison", *names], 60).out.splitlines():
        parts = [part.strip() for part in line.split("|")]
        if len(parts) == 3 and parts[0] in found and parts[1] not in found[parts[0]]:
            found[parts[0]].append(parts[1])
    return found


def candidates(names: Sequence[str]) -> Dict[str, str]:
    """The version that apt would install of each package, by its pins; without those that it knows no source for."""
    found, name = {}, ""
    for line in run(["apt-cache", "policy", *names], 60).out.splitlines() if names else ():
        if not line.startswith(" "):
            name = line.rstrip(":")
        elif line.startswith("  Candidate: ") and "(none)" not in line:
            found[name] = line.split(": ", 1)[1].strip()
    return found


def install(wanted: Sequence[Wanted], lock_timeout_s: float) -> bool:
    """Install the newest versions that fit; False when no source offers one of them.

    apt takes the patterns as they are, which saves a look at what is on offer. HostError package-install-failed.
    """
    arguments = ["--no-install-recommends", "--allow-change-held-packages", "--allow-downgrades"]
    arguments += ["install", *[f"{p.name}={p.version}" if p.version else p.name for p in wanted]]
    done = apt_get(arguments, lock_timeout_s)
    if done.rc != 0 and _mend(done, lock_timeout_s):
        done = apt_get(arguments, lock_timeout_s)
    if done.rc != 0 and any(words in done.err for words in _NOT_ON_OFFER):
        return False
    if done.rc != 0:
        raise HostError(
            "package-install-failed",
            f"apt-get could not install {', '.join(p.name for p in wanted)}: {_said(done)}",
            _BROKEN_FIX if "Hash Sum mismatch" in done.err else "read the last lines of apt-get below",
            done.tail(20),
        )
    return True


_NOT_ON_OFFER = ("was not found", "Unable to locate package", "has no installation candidate")


def _mend(done: Ran, lock_timeout_s: float) -> bool:
    """Remove the causes that a second try overcomes; whether there was one."""
    if "404" in done.err or "Hash Sum mismatch" in done.err:  # the repository moved on since its lists were fetched
        update(lock_timeout_s)
        return True
    if "dpkg --configure -a" in done.err:  # an earlier run, anyone's, was killed within dpkg
        run(["dpkg", "--force-confold", "--configure", "-a"], INSTALL_TIMEOUT_S, _QUIET)
        return True
    if "--fix-broken" in done.err:  # the same, between unpacking and configuring
        apt_get(["--fix-broken", "install"], lock_timeout_s)
        return True
    return False


def not_needed_any_more(lock_timeout_s: float) -> Set[str]:
    """What `apt-get autoremove` would remove: nothing that is installed depends on it or recommends it.

    A suggestion keeps nothing: by one, `mount` would keep all that NFS takes.
    """
    done = apt_get(["--simulate", "-o", "APT::AutoRemove::SuggestsImportant=false", "autoremove"], lock_timeout_s, 120)
    return {line.split()[1] for line in done.out.splitlines() if line.startswith("Remv ")}


def purge(names: Sequence[str], lock_timeout_s: float) -> None:
    """Remove packages with their configuration; HostError package-remove-failed."""
    done = apt_get(["--allow-change-held-packages", "purge", *names], lock_timeout_s)
    if done.rc != 0:
        raise HostError(
            "package-remove-failed",
            f"apt-get could not remove {', '.join(names)}: {_said(done)}",
            "read the last lines of apt-get below",
            done.tail(20),
        )


def mark(action: str, names: Sequence[str]) -> None:
    """apt-mark hold or unhold."""
    done = run(["apt-mark", action, *names], 60)
    if done.rc != 0:
        raise HostError("package-install-failed", f"apt-mark {action} failed: {_said(done)}", details=done.tail())


def _said(done: Ran) -> str:
    errors: List[str] = [line for line in done.err.splitlines() if line.startswith("E:")]
    return (errors or done.tail(1).splitlines() or [f"exit status {done.rc}"])[0]
