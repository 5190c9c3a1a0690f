"""One gpuctl at a time per host: a flock held there by a process that lives as long as our connection does."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from bootstrap.errors import GpuctlError, Problem
from bootstrap.exit_codes import ExitCode
from bootstrap.probe.connect import Sessions
from bootstrap.probe.remote_python import become_password_of, start_python
from bootstrap.probe.ssh_errors import ConnectFailure

if TYPE_CHECKING:
    from bootstrap.inventory.model import Host
    from bootstrap.probe.session import Channel

LOCK_PATH = "/run/gpuctl/lock"  # gpuctl_facts_os reads it

# Runs on the host. The kernel frees the lock with the process, so a killed owner leaves nothing behind; standard input
# ends when our connection does. Folder and file are root's alone: whoever may open a file, may lock it.
_HOLDER = """\
import fcntl, os, stat, sys, time
place, name = os.path.split(sys.argv[1])
try:
    os.mkdir(place, 0o700)
except FileExistsError:
    pass
def check(handle, what, right):
    found = os.fstat(handle)
    if found.st_uid != os.geteuid() or not right(found.st_mode):
        sys.exit("%s is of somebody else: remove it" % what)
folder = os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
check(folder, place, stat.S_ISDIR)
os.fchmod(folder, 0o700)
handle = os.open(name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600, dir_fd=folder)
check(handle, sys.argv[1], stat.S_ISREG)
os.fchmod(handle, 0o600)
try:
    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
except BlockingIOError:
    sys.stdout.write("busy " + (os.read(handle, 400).decode("utf-8", "replace").strip() or "another gpuctl"))
    sys.exit(0)
since = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
os.ftruncate(handle, 0)
os.write(handle, ("%s since %s, run %s\\n" % (sys.argv[2], since, sys.argv[3])).encode())
sys.stdout.write("held\\n")
sys.stdout.flush()
sys.stdin.read()
os.ftruncate(handle, 0)
"""


_ours: set[str] = set()  # ids of the runs for which this process holds locks


def is_ours(holder: str | None) -> bool:
    """Whether what a probe read in a lock was written by a run of this process."""
    return any((holder or "").endswith(f", run {run}") for run in _ours)


@dataclass(slots=True)
class HeldLocks:
    """The locks of a run. They end with `release`, or with this process."""

    hosts: tuple[str, ...]
    _sessions: Sessions
    _own_sessions: bool
    _lock: Callable[[str], Channel]
    _channels: dict[str, Channel] = field(default_factory=dict)

    def lost(self) -> tuple[str, ...]:
        """Hosts whose lock ended unasked: the connection or the holder is gone."""
        found = tuple(self._channels.items())
        return tuple(name for name, channel in found if channel.closed or channel.eof_received)

    def retake(self, host: str) -> None:
        """Take a lock that was lost anew. Raises ConnectFailure: the host does not answer, or another run has it."""
        self._channels[host] = self._lock(host)

    def release(self) -> None:
        """Free all locks."""
        for channel in self._channels.values():
            with contextlib.suppress(OSError, EOFError):
                channel.shutdown_write()
                channel.status_event.wait(1.0)  # the next run may start at once
                channel.close()
        self._channels.clear()
        if self._own_sessions:
            self._sessions.close()


@contextmanager
def take_lock(
    hosts: Sequence[Host],
    owner: str,
    *,
    run: str = "-",
    sessions: Sessions | None = None,
    become_password: str | None = None,
    timeout_s: float = 15.0,
) -> Iterator[HeldLocks]:
    """Hold the lock of every host for as long as the block lasts.

    `owner` (who@where) and `run` (its id) are what another run will name. The first host by name is locked before the
    others, so that of two runs one gets through.

    Raises:
        GpuctlError: exit 4, one lock-held problem per busy host, or why a host cannot be locked; nothing is held then.
    """
    pool, by_name = sessions or Sessions(timeout_s=timeout_s), {host.name: host for host in hosts}

    def lock(name: str) -> Channel:
        password = become_password_of(by_name[name], become_password)
        return _lock(pool, by_name[name], (owner, run), password, timeout_s)

    held = HeldLocks(tuple(by_name), pool, sessions is None, lock)
    problems: dict[str, Problem] = {}

    def work(host: Host) -> None:
        try:
            held.retake(host.name)
        except ConnectFailure as failure:
            problems[host.name] = Problem(failure.code, str(failure), failure.fix, host.name)

    ordered = sorted(hosts, key=lambda host: host.name)
    try:
        for group in (ordered[:1], ordered[1:]):
            threads = [threading.Thread(target=work, args=(host,), daemon=True) for host in group if not problems]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(2 * timeout_s + 2)
        for name in sorted({h.name for h in hosts} - set(held._channels) - set(problems) if not problems else ()):  # noqa: SLF001
            problems[name] = Problem("unreachable", "the lock was not taken in time", "run again", name)
        if problems:
            raise GpuctlError(ExitCode.PREFLIGHT, *(problems[name] for name in sorted(problems)))
        _ours.add(run)
        yield held
    finally:
        _ours.discard(run)
        held.release()


def _lock(sessions: Sessions, host: Host, words: tuple[str, str], password: str | None, timeout_s: float) -> Channel:
    channel = start_python(sessions.get(host), host, _HOLDER, (LOCK_PATH, *words), password, timeout_s)
    channel.settimeout(timeout_s)
    try:
        said = channel.recv(500).decode("utf-8", "replace").strip()
    except TimeoutError:
        said = ""
    if said == "held":
        return channel
    error = channel.recv_stderr(500).decode("utf-8", "replace").strip() if channel.recv_stderr_ready() else ""
    channel.close()
    if said.startswith("busy "):
        raise ConnectFailure("lock-held", f"locked by {said[5:]}", "wait for that run, or end it")
    raise ConnectFailure("probe-failed", f"the lock was not taken: {error or said or 'no answer'}", "run again")
