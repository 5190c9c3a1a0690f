"""The Launch agent's service, by what it writes to the journal. Standard library only, Python 3.8 and later."""

from __future__ import annotations

import re
import time
from typing import NamedTuple

from .gpuctl_hostio import HostError, run

POLLING = re.compile(r"\bpolling on queues\b|\brunning \d+ out of a maximum of\b")
# What the client (wandb 0.31) says when it ends by itself; the first that fits is the reason.
_ENDS = (
    ("launch-key-refused", re.compile(r"not logged in|No API key configured|API key must have|\b401\b")),
    ("launch-queue-unknown", re.compile(r"Not all of requested queues|check that you have access to this entity")),
    (
        "launch-server-unreachable",
        re.compile(r"did not respond in time|connection refused|timed out|no such host|certificate|Failed to execute"),
    ),
)
_LAST = re.compile(r"^(wandb: )?(ERROR|Error)|Error:")
FIXES = {
    "launch-key-refused": "check launch_agent_api_key_file and launch_agent_base_url",
    "launch-queue-unknown": "make the queue with `gpuctl launch queue apply`, or correct launch_agent_entity and "
    "launch_agent_queues; the agent tries again every 10 s",
    "launch-server-unreachable": "check launch_agent_base_url and the way there from this host; the agent tries again "
    "every 10 s",
    "launch-agent-down": "see `journalctl -u gpuctl-launch-agent` on the host",
}
_LOOK_S = 0.5


class Seen(NamedTuple):
    """What the agent's last start came to: an empty finding when it polls; `said` is the line that tells."""

    finding: str
    said: str
    log: str = ""


def judge(text: str, ended: bool) -> Seen | None:
    """What a start that wrote `text` came to; None while that is open."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    log = "\n".join(lines[-15:])
    polls = [line for line in lines if POLLING.search(line)]
    if polls and not ended:
        return Seen("", polls[-1], log)
    if not ended:
        return None
    for finding, pattern in _ENDS:
        told = [line for line in lines if pattern.search(line)]
        if told:
            return Seen(finding, told[-1], log)
    errors = [line for line in lines if _LAST.search(line)] or lines or ["it said nothing"]
    return Seen("launch-agent-down", errors[-1], log)


def _state(unit: str) -> tuple[bool, str]:
    """Whether the service's last start has ended, and what that start has written."""
    done = run(["systemctl", "show", "--property=ActiveState,InvocationID", "--", unit], 30)
    if done.rc != 0:
        raise HostError("service-failed", f"systemctl show failed: {done.tail(1)}", "check systemd on the host")
    fields = dict(line.split("=", 1) for line in done.out.splitlines() if "=" in line)
    start = fields.get("InvocationID", "")
    log = run(["journalctl", "--no-pager", "--output=cat", f"_SYSTEMD_INVOCATION_ID={start}"], 30).out if start else ""
    return fields.get("ActiveState") != "active", log


def watch(unit: str, timeout_s: float) -> Seen:
    """Wait until the service polls or has ended; at the deadline its server counts as one that does not answer."""
    end = time.monotonic() + timeout_s
    while True:
        ended, text = _state(unit)
        found = judge(text, ended)
        if found is not None:
            return found
        if time.monotonic() >= end:
            last = ([line for line in text.splitlines() if line.strip()] or ["nothing"])[-1]
            words = f"after {timeout_s:g} s it does not poll yet; it last said: {last.strip()}"
            return Seen("launch-server-unreachable", words, text[-2000:])
        time.sleep(_LOOK_S)
