"""The connection to the machine that a profile is on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from bootstrap.access import Access
from bootstrap.errors import GpuctlError, Problem
from bootstrap.exit_codes import ExitCode
from bootstrap.inventory.model import Inventory
from bootstrap.probe.remote import reach
from bootstrap.probe.session import Session
from bootstrap.probe.ssh_errors import ConnectFailure

_OF_THE_HOST = frozenset({"minikube-bundle-invalid", "minikube-failed"})


@contextmanager
def connected(inventory: Inventory, access: Access) -> Iterator[Session]:
    """A connection to the minikube host of the inventory.

    Raises:
        GpuctlError: it cannot be reached, is lost on the way, or sudo refuses (exit 4).
    """
    host = inventory.hosts[0]
    with reach(host, access) as session:
        try:
            yield session
        except ConnectFailure as failure:
            problem = Problem(failure.code, str(failure), failure.fix, host.name)
            raise GpuctlError(ExitCode.PREFLIGHT, problem) from failure
        except GpuctlError as error:
            named = (replace(p, host=p.host or host.name) if p.code in _OF_THE_HOST else p for p in error.problems)
            raise GpuctlError(error.exit_code, *named) from error
