"""Whether Docker can give a node GPUs, found out by one container: minikube begins a node, and takes half a minute.

Only what the container toolkit is to blame for counts. What else goes wrong in the trial's empty container may go well
in the node's, and is minikube's to find.
"""

from __future__ import annotations

from bootstrap.access import Access
from bootstrap.errors import Problem
from bootstrap.inventory.model import Host
from bootstrap.minikube.failures import toolkit_problem
from bootstrap.minikube.options import ProfileOptions
from bootstrap.probe.session import Session
from bootstrap.verify.container import NO_END, ContainerGpus, container_gpus


def toolkit_fault(session: Session, host: Host, access: Access, options: ProfileOptions) -> Problem | None:
    """What keeps Docker from giving a new node its GPUs, in the way that the options choose; None where nothing does.

    Raises:
        ConnectFailure: the connection was lost, or sudo refuses.
    """
    found = container_gpus(session, host, access, options.gpus)
    return fault_of(found, host.name, options.profile)


def fault_of(found: ContainerGpus, host: str, profile: str) -> Problem | None:
    """Likewise, of what the trial came to; a card that is short is for the layers above to name."""
    if not found.fault or found.got:
        return None
    if found.rc == NO_END:  # nor would the node begin
        fix = "there, `journalctl -u docker` says what ails it; then the same command again"
        return Problem("minikube-docker-away", found.fault, fix, host)
    if found.rc:
        return toolkit_problem(found.said, host, profile)
    fix = "run the same command again: it sets the toolkit up and restarts Docker"
    return Problem("minikube-toolkit-missing", found.fault, fix, host, details=found.said)
