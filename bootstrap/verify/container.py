"""What Docker gives a container that is to have all GPUs, on the host of a minikube cluster. It needs no image."""

from __future__ import annotations

from dataclasses import dataclass

from bootstrap.access import Access
from bootstrap.inventory.model import Host
from bootstrap.probe.bundle import packed
from bootstrap.probe.remote import last_object
from bootstrap.probe.remote_python import run_python
from bootstrap.probe.session import Session

# As minikube calls Docker for a node with `--gpus` of that name (pkg/drivers/kic/oci).
WAYS = {"all": ("--gpus", "all"), "nvidia.com": ("--device", "nvidia.com/gpu=all")}
_FILES = ("gpuctl_hostio", "gpuctl_dockergpus")
_TIMEOUT_S = 150.0  # three calls of Docker, and a busy one answers late
_REFUSED = 125  # Docker's own exit status, as against that of what ran in the container
NO_END = 124  # as timeout(1) has it


@dataclass(frozen=True, slots=True)
class ContainerGpus:
    """`got` of the host's `have` GPUs by one of WAYS. `said` are Docker's words; `error`: it could not be tried."""

    way: tuple[str, ...] = WAYS["all"]
    have: int = 0
    got: int = 0
    rc: int = 0
    said: str = ""
    error: str = ""

    @property
    def tells(self) -> bool:
        """Whether it says something of GPUs; the host's own program may fail in a container for its own reasons."""
        return not self.error and (self.rc in {0, _REFUSED, NO_END} or "nvidia" in self.said)

    @property
    def fault(self) -> str:
        """What is wrong, in a sentence; empty where nothing is, or nothing can be told."""
        if not self.tells or (self.rc == 0 and self.got >= self.have):
            return ""
        last = self.said.strip().splitlines()[-1:] or ["it said nothing"]
        return f"docker run {' '.join(self.way)}: " + (
            last[0] if self.rc else f"the container sees {self.got} of {self.have} GPUs"
        )


def container_gpus(session: Session, host: Host, access: Access, gpus: str) -> ContainerGpus:
    """Try it, as root; `gpus` is one of WAYS.

    Raises:
        ConnectFailure: the connection was lost, sudo refuses, or Docker does not come to an end.
    """
    program = packed(_FILES, WAYS[gpus])
    done = run_python(session, host, program, password=access.become_password, timeout_s=_TIMEOUT_S)
    answer = last_object(done)
    have, got, rc = (found if isinstance(found := answer.get(key), int) else 0 for key in ("have", "got", "rc"))
    said, error = (str(answer.get(key) or "") for key in ("said", "error"))
    return ContainerGpus(WAYS[gpus], have, got, rc, said, error)
