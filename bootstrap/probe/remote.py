"""Single commands as root on a host, for the few things that neither the probe nor a role does."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from bootstrap.access import Access
from bootstrap.errors import GpuctlError, Problem
from bootstrap.exit_codes import ExitCode
from bootstrap.inventory.model import Host
from bootstrap.probe.ssh import Completed, Session, connect
from bootstrap.probe.ssh_errors import ConnectFailure

_ROOT_TIMEOUT_S = 20.0


@contextmanager
def reach(host: Host, access: Access) -> Iterator[Session]:
    """A connection to the host.

    Raises:
        GpuctlError: it cannot be reached, or is lost on the way (exit 4).
    """
    try:
        with connect(host, accept_new_host_keys=access.accept_new_host_keys) as session:
            yield session
    except ConnectFailure as failure:
        problem = Problem(failure.code, str(failure), failure.fix, host.name)
        raise GpuctlError(ExitCode.PREFLIGHT, problem) from failure


def run_as_root(
    session: Session, host: Host, argv: Sequence[str], access: Access, timeout_s: float = _ROOT_TIMEOUT_S
) -> Completed:
    """Run a command with root's rights: directly for root, else through sudo; a password goes in on standard input."""
    if host.connection.user == "root" and not host.connection.become:
        return session.run(argv, timeout_s=timeout_s)
    if access.become_password is None:
        return session.run(["sudo", "-n", "--", *argv], timeout_s=timeout_s)
    stdin = access.become_password + "\n"
    return session.run(["sudo", "-S", "-p", "", "--", *argv], stdin=stdin, timeout_s=timeout_s)
