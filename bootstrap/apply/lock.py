"""One run at a time per host: who we are, for whoever finds the hosts locked."""

from __future__ import annotations

import getpass
import socket
from collections.abc import Collection, Iterator
from contextlib import contextmanager

from bootstrap.access import Access
from bootstrap.inventory.model import Inventory
from bootstrap.probe.lock import take_lock


@contextmanager
def hold_locks(
    inventory: Inventory, access: Access, run_id: str, hosts: Collection[str] | None = None
) -> Iterator[None]:
    """Hold the lock of every host of the inventory, or of those named in `hosts`.

    Raises:
        GpuctlError: another run holds one, with its owner and since when (exit 4); nothing is held then.
    """
    owner = f"{_user()}@{socket.gethostname()}"
    chosen = [host for host in inventory.hosts if hosts is None or host.name in hosts]
    with take_lock(chosen, owner, run=run_id, become_password=access.become_password):
        yield


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        return "?"
