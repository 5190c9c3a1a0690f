"""What systemd says of the Launch agent on the hosts that it is to run on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

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
    except (GpuctlError, ConnectFailure) as error:
        problem = error.problems[0] if isinstance(error, GpuctlError) else Problem(error.code, str(error), error.fix)
        told = Problem(problem.code, problem.message, problem.fix, host.name)
        return Seen((Fact(f"{UNIT} on {host.name}", State.UNKNOWN, problem.message),), (told,))
    return unit_seen(host.name, dict(line.partition("=")[::2] for line in shown.out.splitlines()), log.out.strip())


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
