"""The probe: every host at once, one round trip each, nothing changed."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from bootstrap.hostside.gpuctl_strictjson import parse_object
from bootstrap.probe.bundle import script
from bootstrap.probe.connect import Sessions
from bootstrap.probe.facts import HostFacts, ProbeResult, Unreachable
from bootstrap.probe.facts_json import from_json
from bootstrap.probe.forms import VERSION, form, number
from bootstrap.probe.lock import is_ours
from bootstrap.probe.remote_python import run_python
from bootstrap.probe.session import DEFAULT_TIMEOUT_S
from bootstrap.probe.ssh_errors import ConnectFailure, answer_unreadable, python_missing

if TYPE_CHECKING:
    from bootstrap.inventory.model import Host

# A host of 16 GPUs with all components answers with 60 KiB; what is far above that is no answer.
ANSWER_BYTES = 4 << 20
_GRACE_S = 2.0  # for a thread to notice its own deadline


def probe_all(
    hosts: Sequence[Host],
    *,
    become_password: str | None = None,
    timeout_s: float = DEFAULT_TIMEOUT_S,
    accept_new_host_keys: bool = False,
    sessions: Sessions | None = None,
) -> dict[str, ProbeResult]:
    """What stands on every host, in the order given; a host that cannot be used is Unreachable with the reason.

    Returns within about `timeout_s` seconds (connecting) plus `timeout_s` (asking). With `sessions`, the connections
    stay open there for later use; else they are closed.
    """
    pool = sessions or Sessions(timeout_s=timeout_s, accept_new_host_keys=accept_new_host_keys)
    results: dict[str, ProbeResult] = {}

    def work(host: Host) -> None:
        results[host.name] = _probe(host, pool, become_password, timeout_s)

    script()  # made once, before the threads ask for it
    # Daemons, so that one that hangs in a name lookup cannot keep the process from ending.
    threads = [threading.Thread(target=work, args=(host,), name=f"probe-{host.name}", daemon=True) for host in hosts]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + 2 * timeout_s + _GRACE_S
    for thread in threads:
        thread.join(max(deadline - time.monotonic(), 0.0))
    finished = dict(results)
    if sessions is None:
        pool.close()
    return {host.name: finished.get(host.name) or _late(host, timeout_s) for host in hosts}


def _late(host: Host, timeout_s: float) -> Unreachable:
    said = f"{host.connection.address} did not answer within {2 * timeout_s:.0f} s"
    return Unreachable(host.name, "unreachable", said, "correct ansible_host or the name service")


def _probe(host: Host, pool: Sessions, become_password: str | None, timeout_s: float) -> ProbeResult:
    try:
        session = pool.get(host)
        sent = time.time()
        done = run_python(session, host, script(), password=become_password, timeout_s=timeout_s, limit=ANSWER_BYTES)
        return replace(read_answer(host, done.out, sent, time.time()), way_notes=session.notes)
    except ConnectFailure as failure:
        return Unreachable(host.name, failure.code, str(failure), failure.fix)
    except Exception as error:  # noqa: BLE001 - a thread must not die in silence: the host is reported instead
        said = f"{type(error).__name__}: {error}"[:300]
        return Unreachable(host.name, "probe-failed", said, "run again; the log has the details")


def read_answer(host: Host, out: str, sent: float, received: float) -> HostFacts:
    """The facts in what a host printed; a lock of our own is not reported. Raises ConnectFailure without facts.

    `sent` and `received` are our clock (seconds since 1970) around the question: as with NTP, the host's clock is ahead
    by the mean of its distance to ours on the way there and on the way back.
    """
    line = next((text for text in reversed(out.splitlines()) if text.startswith("{")), "")
    try:
        found = parse_object(line)
    except ValueError as error:
        raise answer_unreadable(error if line else "it holds no document", out) from None
    if "python_too_old" in found:
        version = form(VERSION)(found["python_too_old"]) or "it does not say which"
        raise python_missing(host.connection.python, f"version {version} is too old")
    began, ended = number(found.get("clock_start")), number(found.get("clock_end"))
    offset = None if began is None or ended is None else ((began - sent) + (ended - received)) / 2
    facts = from_json(host.name, found, offset)
    return replace(facts, lock_holder=None) if is_ours(facts.lock_holder) else facts
