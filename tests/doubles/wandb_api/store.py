"""What the server knows, as one JSON tree in memory and in a file, so that it survives a stop and a start."""

from __future__ import annotations

import base64
import json
import secrets
import string
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

Record = dict[str, Any]
PENDING, LEASED, CLAIMED, FAILED, DONE = "PENDING", "LEASED", "CLAIMED", "FAILED", "FINISHED"
LEASE_S = 60.0  # an item that was handed out and not acknowledged for so long is handed out again
_TABLES = ("users", "entities", "projects", "configs", "queues", "items", "agents", "runs", "files", "switches")


class Store:
    """All records, by table and key. Work on `data` inside `with store.change():` or `with store.lock:`."""

    def __init__(self, path: Path | None = None) -> None:
        self.lock = threading.RLock()
        self._path = path
        self.data: dict[str, Record] = {name: {} for name in _TABLES}
        self.data["counters"] = {}
        if path is not None and path.exists():
            self.data.update(json.loads(path.read_text(encoding="utf-8")))

    @contextmanager
    def change(self) -> Iterator[dict[str, Record]]:
        """Hold the lock, and write the file afterwards."""
        with self.lock:
            yield self.data
            self.save()

    def save(self) -> None:
        """Write the file whole or not at all: the process may be killed at any time. It holds API keys: mode 0600."""
        if self._path is None:
            return
        fresh = self._path.with_name(self._path.name + ".new")
        fresh.touch(mode=0o600)
        fresh.write_text(json.dumps(self.data, indent=1, sort_keys=True), encoding="utf-8")
        fresh.replace(self._path)

    def number(self, kind: str) -> int:
        """The next number of a kind of record, from 1."""
        counters = self.data["counters"]
        counters[kind] = counters.get(kind, 0) + 1
        return int(counters[kind])

    def identity(self, kind: str) -> str:
        """A new opaque id, as the service has them: base64 of its kind and a number."""
        return opaque(kind, self.number(kind))

    def dump(self) -> dict[str, Any]:
        """A copy of everything, without API keys."""
        with self.lock:
            copy: dict[str, Any] = json.loads(json.dumps(self.data))
        copy["users"] = [{k: v for k, v in user.items() if k != "key"} for user in copy["users"].values()]
        return copy

    # --- accounts -------------------------------------------------------------------------------------------------

    def add_entity(self, name: str, *, team: bool) -> Record:
        """Make an entity; one that exists is left as it is."""
        with self.change() as data:
            fresh = {"id": self.identity("Entity"), "name": name, "team": team}
            found: Record = data["entities"].setdefault(name, fresh)
            return found

    def add_user(self, name: str, key: str, teams: list[str]) -> Record:
        """Make a user, its own entity and its teams. `teams[0]`, or else the user's own entity, is the default one."""
        self.add_entity(name, team=False)
        for team in teams:
            self.add_entity(team, team=True)
        with self.change() as data:
            email = f"{name}@example.org"
            user = {"id": self.identity("User"), "name": name, "key": key, "teams": teams, "email": email}
            data["users"][name] = user
            return user

    def user_of(self, key: str) -> Record | None:
        """The user whose API key this is."""
        with self.lock:
            return next((user for user in self.data["users"].values() if user["key"] == key), None)

    def project(self, entity: str, name: str) -> Record:
        """A project, made when it is new."""
        projects, key = self.data["projects"], f"{entity}/{name}"
        if key not in projects:
            number = self.number("Project")
            names = {"id": opaque("Project", number), "number": number, "entity": entity, "name": name}
            projects[key] = {**names, "createdAt": now()}
        found: Record = projects[key]
        return found

    # --- look-ups -------------------------------------------------------------------------------------------------

    def queue(self, entity: str, project: str, name: str) -> Record | None:
        """The queue of that name."""
        wanted = (entity, project, name)
        queues = self.data["queues"].values()
        return next((q for q in queues if (q["entity"], q["project"], q["name"]) == wanted), None)

    def items_of(self, queue: str) -> list[Record]:
        """The items of a queue (its id), oldest first."""
        return [item for item in self.data["items"].values() if item["queue"] == queue]

    def run(self, entity: str, project: str, name: str) -> Record | None:
        """The run of that id."""
        found: Record | None = self.data["runs"].get(f"{entity}/{project}/{name}")
        return found

    def settle_leases(self, lease_s: float) -> None:
        """Give back to the queue what was handed out and never acknowledged. `lease_s`: seconds."""
        for item in self.data["items"].values():
            if item["state"] == LEASED and time.time() - item["leasedAt"] >= lease_s:
                item.update(state=PENDING, leasedAt=None, agent=None)


def opaque(kind: str, number: int) -> str:
    """An id as clients see it."""
    return base64.b64encode(f"{kind}:{number}".encode()).decode()


def now() -> str:
    """The time as the service writes it (UTC)."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def short_name() -> str:
    """Eight random letters and digits: what the service calls an agent or a run."""
    return "".join(secrets.choice(string.ascii_lowercase + string.digits) for _ in range(8))


def new_key() -> str:
    """A random API key of the shape that clients take (40 hexadecimal characters)."""
    return secrets.token_hex(20)
