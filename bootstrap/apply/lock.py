"""One run at a time per host: who we are, for whoever finds the hosts locked, and what becomes of a lost lock."""

from __future__ import annotations

import getpass
import socket
import threading
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from bootstrap.access import Access
from bootstrap.errors import Problem
from bootstrap.inventory.model import Inventory
from bootstrap.probe.lock import HeldLocks, take_lock
from bootstrap.probe.ssh_errors import ConnectFailure

_LOOK_EVERY_S = 0.5


class LockWatch:
    """Looks after locks while a run works, and has it stop after the component under way when one is lost.

    A host that the run itself may reboot takes its lock with it: it is taken again when the host is back.
    """

    def __init__(self, held: HeldLocks | None = None) -> None:
        self._held = held
        self._end = threading.Event()
        self._stop_file: Path | None = None
        self._restarting: Collection[str] = ()
        self._lost: dict[str, Problem] = {}

    @property
    def problems(self) -> tuple[Problem, ...]:
        """One for each host whose lock was lost."""
        return tuple(self._lost[name] for name in sorted(self._lost))

    @contextmanager
    def stopping(self, stop_file: Path, restarting: Collection[str] = ()) -> Iterator[None]:
        """Make `stop_file` when a lock is lost while the block lasts, or was before. `restarting` may be rebooted."""
        self._restarting, self._stop_file = restarting, stop_file
        if self._lost:
            stop_file.touch()
        try:
            yield
        finally:
            self._stop_file = None

    @contextmanager
    def running(self) -> Iterator[LockWatch]:
        """Look after the locks while the block lasts."""
        thread = threading.Thread(target=self._work, daemon=True, name="locks")
        thread.start()
        try:
            yield self
        finally:
            self._end.set()
            thread.join(2 * _LOOK_EVERY_S)

    def _work(self) -> None:
        while self._held is not None and not self._end.wait(_LOOK_EVERY_S):
            for name in self._held.lost():
                if name not in self._lost and not (name in self._restarting and self._is_back(name)):
                    self._give_up(name)

    def _is_back(self, name: str) -> bool:
        """Whether a host that may be rebooted has its lock again, or is not to be reached yet."""
        assert self._held is not None  # noqa: S101 - only asked while locks are held
        try:
            self._held.retake(name)
        except ConnectFailure as failure:
            return failure.code != "lock-held"
        return True

    def _give_up(self, name: str) -> None:
        words = "the lock of the host was lost in mid-run: another run may work on it"
        fix = "see that nobody else runs gpuctl on it and that ssh holds, then run the same command again"
        self._lost[name] = Problem("lock-lost", words, fix, name)
        if self._stop_file is not None:
            self._stop_file.touch()


@contextmanager
def hold_locks(
    inventory: Inventory, access: Access, run_id: str, hosts: Collection[str] | None = None
) -> Iterator[LockWatch]:
    """Hold the lock of every host of the inventory, or of those named in `hosts`.

    Raises:
        GpuctlError: another run holds one, with its owner and since when (exit 4); nothing is held then.
    """
    owner = f"{_user()}@{socket.gethostname()}"
    chosen = [host for host in inventory.hosts if hosts is None or host.name in hosts]
    with (
        take_lock(chosen, owner, run=run_id, become_password=access.become_password) as held,
        LockWatch(held).running() as watch,
    ):
        yield watch


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        return "?"
