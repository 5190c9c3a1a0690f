"""The double inside a test's own process."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.doubles.wandb_api import control
from tests.doubles.wandb_api.record import Log
from tests.doubles.wandb_api.service import Service
from tests.doubles.wandb_api.store import LEASE_S, Record, Store, new_key
from tests.doubles.wandb_api.web import Server


@dataclass(frozen=True, slots=True)
class Double:
    """A server that runs, with one user (`api_key`) in one team (`entity`)."""

    server: Server
    service: Service
    api_key: str
    entity: str

    @property
    def url(self) -> str:
        """The base URL for clients."""
        return self.server.url

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self.server.server_address[1])

    def log(self, op: str | None = None) -> list[dict[str, Any]]:
        """What was asked so far, oldest first."""
        return self.service.log.lines(op)

    def state(self) -> dict[str, Any]:
        """Everything that the server knows, without API keys."""
        found: dict[str, Any] = control.state(self.service, {})
        return found

    def fail(self, op: str, status: int, times: int = 1, message: str = "") -> None:
        """The next `times` requests of `op` (an operation's name, file_stream, upload, *) answer `status`."""
        self.service.faults.add(op, status, times, message)

    def outage(self, seconds: float) -> None:
        """Close every connection without an answer for so long."""
        self.service.faults.go_away(seconds)

    def clear_faults(self) -> None:
        """No failures any more."""
        self.service.faults.clear()

    def stop_agents(self) -> None:
        """Every agent stops at its next poll."""
        control.stop_agents(self.service, {})

    def stop_run(self, run: str) -> None:
        """The run is told to stop."""
        control.stop_run(self.service, {"run": run})

    def push(self, queue: str, run_spec: Record, entity: str | None = None) -> str:
        """Put a job into a queue as it is; the id of its item."""
        body = {"entity": entity or self.entity, "queue": queue, "runSpec": run_spec}
        return str(control.push(self.service, body)["item"])


@contextmanager
def running(
    *,
    state: Path | None = None,
    log: Path | None = None,
    address: tuple[str, int] = ("127.0.0.1", 0),
    user: str = "tester",
    teams: Sequence[str] = ("lab",),
    api_key: str | None = None,
    tls: tuple[Path, Path] | None = None,
    lease_s: float = LEASE_S,
) -> Iterator[Double]:
    """A double for the time of a `with`; port 0 is any free one. A user in the state file keeps its key."""
    service = Service(Store(state), log=Log(log), lease_s=lease_s)
    known = service.store.data["users"].get(user)
    key = api_key or (known["key"] if known else new_key())
    if known is None or known["key"] != key:
        service.store.add_user(user, key, list(teams))
    server = Server(address, service, tls)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield Double(server, service, key, (list(teams) or [user])[0])
    finally:
        server.shutdown()
        server.server_close()
        thread.join(timeout=5)
