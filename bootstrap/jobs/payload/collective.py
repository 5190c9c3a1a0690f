"""An all-reduce over the pods of a job, by plain TCP: proof that they find one another, and how fast they speak.

Runs inside pods with nothing but Python 3.8 or later, beside ranks.py. Every rank tells rank 0 where it listens; rank 0
tells all; then a ring adds a vector up of which every rank knows the right sum, and every link of the ring carries
bytes at once to be measured. Prints one JSON line; exit status 0 when the sum was right, 1 when anything was not.
"""

from __future__ import annotations

import argparse
import array
import json
import os
import re
import socket
import struct
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bootstrap.jobs.payload.ranks import Place, place_of
else:
    sys.path.insert(0, str(Path(__file__).resolve().parent))
    from ranks import Place, place_of

SCHEMA = "gpuctl_collective"
ELEMENTS = 1 << 15
PERIOD = 97
"""Rank r adds (r + 1) * (i % PERIOD + 1) at place i: whole numbers, whose sum a double holds exactly."""
_LENGTH = struct.Struct("!Q")
_PAUSE_S = 0.2
_CHUNK = 1 << 20
_GREETING = 1 << 10


class RingError(Exception):
    """Why the ranks did not come together; `code` is one of gpuctl's."""

    def __init__(self, code: str, words: str) -> None:
        super().__init__(words)
        self.code = code


class Link:
    """A connection to one rank; messages are a length and that many bytes."""

    def __init__(self, connection: socket.socket, peer: int, deadline: float) -> None:
        self.connection, self.peer, self.deadline = connection, peer, deadline
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def send(self, data: bytes) -> None:
        """Raise RingError when the peer is gone or takes nothing."""
        try:
            self._limit()
            self.connection.sendall(_LENGTH.pack(len(data)))
            self.connection.sendall(data)
        except OSError as error:
            raise self._lost(error) from error

    def receive(self, at_most: int = 1 << 40) -> bytearray:
        """One message. Raise RingError when the peer is gone or says nothing, ValueError when it is too long."""
        length = _LENGTH.unpack(self._exactly(_LENGTH.size))[0]
        if length > at_most:
            raise ValueError(f"rank {self.peer} sends {length} bytes")
        return self._exactly(length)

    def _exactly(self, count: int) -> bytearray:
        data = bytearray(count)
        left = memoryview(data)
        while left:
            try:
                self._limit()
                taken = self.connection.recv_into(left, min(len(left), _CHUNK))
            except OSError as error:
                raise self._lost(error) from error
            if not taken:
                raise self._lost(None)
            left = left[taken:]
        return data

    def _limit(self) -> None:
        self.connection.settimeout(max(self.deadline - time.monotonic(), 0.05))

    def _lost(self, error: OSError | None) -> RingError:
        if isinstance(error, socket.timeout):
            return RingError("collective-rank-silent", f"rank {self.peer} says nothing any more")
        return RingError("collective-rank-lost", f"rank {self.peer} ended in the middle")


def listener(port: int) -> socket.socket:
    """A socket on all addresses, of both families where the kernel has both."""
    if socket.has_dualstack_ipv6():
        return socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True)
    return socket.create_server(("", port))


def gather(place: Place, server: socket.socket, own_port: int, deadline: float) -> tuple[list[Any], list[Link]]:
    """Rank 0: have every other rank call; tell all where each of them listens. The addresses, and the links."""
    links: dict[int, Link] = {}
    addresses: list[Any] = [None] * place.pods
    addresses[0] = [place.address, own_port]
    while len(links) < place.pods - 1:
        server.settimeout(max(deadline - time.monotonic(), 0.05))
        try:
            connection, peer = server.accept()
        except OSError as error:
            missing = sorted(set(range(1, place.pods)) - set(links))
            words = f"rank 0 waited at port {place.port}: no call from rank {', '.join(map(str, missing))}"
            raise RingError("collective-rank-missing", words) from error
        found = _greeting(connection, deadline)
        if found is None or not 0 < found["rank"] < place.pods or found["pods"] != place.pods:
            connection.close()
            continue
        rank = found["rank"]
        links[rank] = Link(connection, rank, deadline)
        addresses[rank] = [peer[0], found["port"]]
    table = json.dumps(addresses).encode()
    for link in links.values():
        link.send(table)
    return addresses, list(links.values())


def _greeting(connection: socket.socket, deadline: float) -> dict[str, int] | None:
    """What a caller says of itself; None for a stranger."""
    try:
        found = json.loads(Link(connection, -1, min(deadline, time.monotonic() + 5)).receive(_GREETING))
        return {name: int(found[name]) for name in ("rank", "pods", "port")}
    except (RingError, ValueError, KeyError, TypeError):
        return None


def call_first(place: Place, own_port: int, deadline: float) -> tuple[list[Any], Link]:
    """Another rank: call rank 0 until it answers; the table of addresses, and the link."""
    link = Link(_connect(place.address, place.port, 0, deadline), 0, deadline)
    link.send(json.dumps({"rank": place.rank, "pods": place.pods, "port": own_port}).encode())
    return json.loads(link.receive()), link


def _connect(address: str, port: int, peer: int, deadline: float) -> socket.socket:
    last = "it was not tried"
    while time.monotonic() < deadline:
        try:
            return socket.create_connection((address, port), timeout=max(min(5.0, deadline - time.monotonic()), 0.05))
        except OSError as error:
            last = str(error) or type(error).__name__
            time.sleep(_PAUSE_S)
    raise RingError("collective-rank-missing", f"rank {peer} does not answer at {address} port {port}: {last}")


def ring(place: Place, server: socket.socket, addresses: Sequence[Any], deadline: float) -> tuple[Link, Link]:
    """Links to the next rank and from the one before; in a ring of two these are one rank and two connections."""
    following, before = (place.rank + 1) % place.pods, (place.rank - 1) % place.pods
    address, port = addresses[following]
    onward = Link(_connect(address, port, following, deadline), following, deadline)
    server.settimeout(max(deadline - time.monotonic(), 0.05))
    try:
        connection, _ = server.accept()
    except OSError as error:
        words = f"rank {place.rank} waited in the ring: no call from rank {before}"
        raise RingError("collective-rank-missing", words) from error
    return onward, Link(connection, before, deadline)


def exchange(onward: Link, back: Link, data: bytes) -> bytearray:
    """Send to the next while receiving from the one before. Raise RingError of whichever failed first."""
    failed: list[RingError] = []

    def send() -> None:
        try:
            onward.send(data)
        except RingError as error:
            failed.append(error)

    sender = threading.Thread(target=send, daemon=True)
    sender.start()
    received = back.receive()
    sender.join()
    if failed:
        raise failed[0]
    return received


def vector(rank: int) -> array.array[float]:
    """What a rank adds."""
    return array.array("d", ((rank + 1) * (i % PERIOD + 1) for i in range(ELEMENTS)))


def all_reduce(place: Place, onward: Link, back: Link) -> array.array[float]:
    """The sum of all ranks' vectors, by a ring: parts travel and are added up, then travel once more."""
    pods, values = place.pods, vector(place.rank)
    bounds = [ELEMENTS * part // pods for part in range(pods + 1)]
    for step in range(2 * (pods - 1)):
        adding = step < pods - 1
        mine = (place.rank - step + (0 if adding else pods)) % pods
        sent = (mine if adding else (place.rank + 1 - (step - pods + 1))) % pods
        taken = (sent - 1) % pods
        part = array.array("d", exchange(onward, back, values[bounds[sent] : bounds[sent + 1]].tobytes()))
        if adding:
            old = values[bounds[taken] : bounds[taken + 1]]
            part = array.array("d", (a + b for a, b in zip(old, part)))  # noqa: B905 - not before Python 3.10
        values[bounds[taken] : bounds[taken + 1]] = part
    return values


def wrong_at(values: Sequence[float], pods: int) -> int | None:
    """The first place where the sum is not what it must be."""
    factor = pods * (pods + 1) // 2
    return next((i for i, value in enumerate(values) if value != factor * (i % PERIOD + 1)), None)


def measure(onward: Link, back: Link, size: int) -> float:
    """Bytes per second that went out of this pod while as many came in."""
    exchange(onward, back, b"")  # all begin together
    begun = time.monotonic()
    exchange(onward, back, bytes(size))
    return size / (time.monotonic() - begun)


def run(place: Place, deadline: float, size: int) -> dict[str, Any]:
    """The whole of it for one rank: what it reports."""
    begun = time.monotonic()
    rate = None
    values = vector(0)
    if place.pods > 1:
        with listener(0) as own:
            port = own.getsockname()[1]
            if place.rank == 0:
                with listener(place.port) as door:
                    addresses, kept = gather(place, door, port, deadline)
            else:
                addresses, link = call_first(place, port, deadline)
                kept = [link]
            onward, back = ring(place, own, addresses, deadline)
            met = time.monotonic()
            values = all_reduce(place, onward, back)
            rate = measure(onward, back, size)
            exchange(onward, back, b"")  # nobody leaves before all have measured
            del kept
    else:
        met = begun
    wrong = wrong_at(values, place.pods)
    return {
        "sum_right": wrong is None,
        "wrong_at": wrong,
        "bytes_per_s": rate,
        "measured_bytes": size if rate else 0,
        "met_s": round(met - begun, 3),
        "elapsed_s": round(time.monotonic() - begun, 3),
    }


def main(arguments: Sequence[str]) -> int:
    """Take part as this pod's rank; its report is one line on standard output."""
    parser = argparse.ArgumentParser(description="An all-reduce over the pods of a job.")
    parser.add_argument("--timeout", type=float, default=120.0, help="seconds for all of it")
    parser.add_argument("--bytes", type=int, default=1 << 26, help="how much every link carries to be measured")
    chosen = parser.parse_args(arguments)
    devices = [name for name in os.listdir("/dev") if re.match(r"nvidia[0-9]+$", name)]  # noqa: PTH208
    report: dict[str, Any] = {SCHEMA: 1, "host": socket.gethostname(), "gpus": len(devices), "transport": "tcp"}
    error = ""
    try:
        place = place_of(os.environ)
        report.update(rank=place.rank, pods=place.pods, said_by=place.said_by)
        report.update(run(place, time.monotonic() + chosen.timeout, chosen.bytes))
        if not report["sum_right"]:
            error, report["code"] = f"the sum is wrong at place {report['wrong_at']}", "collective-sum-wrong"
    except RingError as failure:
        error, report["code"] = str(failure), failure.code
    except (ValueError, OSError) as failure:
        error, report["code"] = str(failure), "collective-failed"
    report["error"] = error
    print(json.dumps(report), flush=True)  # noqa: T201 - the log is its answer
    if error:
        sys.stderr.write(f"{error}\n")
    return 1 if error else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
