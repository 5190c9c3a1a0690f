"""What systemd says of the Launch agent on the hosts that it is to run on."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

from bootstrap.access import Access
from bootstrap.errors import GpuctlError, Problem
from bootstrap.inventory.model import Host
from bootstrap.launch.agent_model import UNIT, Fact, Seen, State
from bootstrap.probe.remote import reach, run_as_root
from bootstrap.probe.ssh_errors import ConnectFailure

_ASKED = (
    "LoadState",
    "ActiveState",
    "SubState",
    "UnitFileState",
    "NRestarts",
    "ActiveEnterTimestamp",
    "ExecMainStatus",
)
_LOG_LINES = "6"
# Says until when the token is valid, and nothing of it; there is no such program of an older release.
_TOKEN = ["/usr/bin/python3", "-I", "/etc/gpuctl/launch-agent/renew.py", "/var/lib/gpuctl-launch/token"]
_SAID = re.compile(r"(until|lapsed) ([0-9]{1,12})")


def hosts_seen(hosts: Sequence[Host], access: Access) -> Seen:
    """All hosts at once; one that cannot be reached is a fact like others."""
    if not hosts:
        return Seen()
    with ThreadPoolExecutor(len(hosts)) as pool:
        return sum(pool.map(lambda host: _ask(host, access), hosts), Seen())


def _ask(host: Host, access: Access) -> Seen:
    properties = [word for name in _ASKED for word in ("--property", name)]
    try:
        with reach(host, access) as session:
            shown = run_as_root(session, host, ["systemctl", "show", *properties, "--", UNIT], access)
            journal = ["journalctl", "--unit", UNIT, "--lines", _LOG_LINES, "--output", "cat", "--no-pager"]
            log = run_as_root(session, host, journal, access)
            token = run_as_root(session, host, _TOKEN, access)
    except (GpuctlError, ConnectFailure) as error:
        problem = error.problems[0] if isinstance(error, GpuctlError) else Problem(error.code, str(error), error.fix)
        told = Problem(problem.code, problem.message, problem.fix, host.name)
        return Seen((Fact(f"{UNIT} on {host.name}", State.UNKNOWN, problem.message),), (told,))
    unit = dict(line.partition("=")[::2] for line in shown.out.splitlines())
    return unit_seen(host.name, unit, log.out.strip()) + token_seen(host.name, token.out.strip())


def token_seen(host: str, said: str) -> Seen:
    """The fact of one host's token, from what its own program says of it."""
    found, subject = _SAID.fullmatch(said), f"token on {host}"
    if found is None and said != "missing":
        return Seen()
    end = datetime.fromtimestamp(int(found[2]), UTC).strftime("%Y-%m-%d %H:%M UTC") if found else ""
    if found and found[1] == "until":
        return Seen((Fact(subject, State.OK, f"valid until {end}"),))
    told = f"it has lapsed ({end})" if found else "there is none: one that has lapsed is removed"
    words = f"the token by which the agent reaches the cluster is not valid: {told}"
    problem = Problem("launch-token-lapsed", words, "run `gpuctl bootstrap`: it makes a new one", host)
    return Seen((Fact(subject, State.BAD, told),), (problem,))


def unit_seen(host: str, unit: Mapping[str, str], log: str) -> Seen:
    """The fact of one host, from the properties that systemd shows and the last lines of the journal."""
    subject = f"{UNIT} on {host}"
    restarts = unit.get("NRestarts", "0")
    again = f", started again {restarts} times" if restarts not in {"", "0"} else ""
    state = f"{unit.get('ActiveState', 'unknown')} ({unit.get('SubState', '')})"
    if unit.get("LoadState") != "loaded":
        fix = "run `gpuctl bootstrap`, which installs it"
        problem = Problem("launch-agent-down", f"{UNIT} is not installed", fix, host)
        return Seen((Fact(subject, State.BAD, "not installed"),), (problem,))
    if unit.get("ActiveState") == "active" and unit.get("SubState") == "running":
        since = unit.get("ActiveEnterTimestamp", "")
        return Seen((Fact(subject, State.OK, f"running since {since}{again}"),))
    fix = f"look at `journalctl --unit {UNIT}` there; `systemctl start {UNIT}` starts it"
    problem = Problem("launch-agent-down", f"{UNIT} is {state}{again}", fix, host, details=log)
    return Seen((Fact(subject, State.BAD, f"{state}{again}"),), (problem,))
