"""Units of systemd on a host: their state, since when, start, restart, stop, enable.

Standard library only, Python 3.8 and later: this code runs on the hosts.
"""

from __future__ import annotations

import glob
import os
import time
from datetime import datetime, timezone
from typing import Dict, List, NamedTuple, Optional, Sequence

from .gpuctl_hostio import HostError, run

_PROPERTIES = "Id,LoadState,ActiveState,SubState,UnitFileState,ActiveEnterTimestamp,NeedDaemonReload,ConditionResult"
_SETTLE_S = 0.2  # between two looks at a unit that is still starting


class Unit(NamedTuple):
    """One unit as systemd sees it; `since` is the Unix time at which it became active, None when it never was."""

    name: str
    load: str
    active: str
    sub: str
    enabled: str
    since: Optional[float]
    stale: bool  # its file changed since systemd read it
    condition: bool  # False: a Condition…= of the unit kept it from starting

    @property
    def exists(self) -> bool:
        """Whether systemd knows a file for it."""
        return self.load not in ("not-found", "")


def show(names: Sequence[str]) -> Dict[str, Unit]:
    """The state of each unit, asked in one call."""
    done = run(["systemctl", "show", "--timestamp=us+utc", f"--property={_PROPERTIES}", "--", *names], 30)
    if done.rc != 0:
        raise HostError("service-failed", f"systemctl show failed: {done.tail(1)}", "check systemd on the host")
    blocks = done.out.strip("\n").split("\n\n")
    return {name: _unit(name, block) for name, block in zip(names, blocks)}  # noqa: B905 - Python 3.8 has no strict=


def _unit(name: str, block: str) -> Unit:
    fields = dict(line.split("=", 1) for line in block.splitlines() if "=" in line)
    return Unit(
        name,
        fields.get("LoadState", ""),
        fields.get("ActiveState", ""),
        fields.get("SubState", ""),
        fields.get("UnitFileState", ""),
        unix_time(fields.get("ActiveEnterTimestamp", "")),
        fields.get("NeedDaemonReload") == "yes",
        fields.get("ConditionResult", "yes") == "yes",
    )


def unix_time(stamp: str) -> Optional[float]:
    """Seconds since 1970 of "Sun 2026-11-22 17:17:13.250000 UTC"; None for an empty stamp or "n/a"."""
    parts = stamp.split()
    if len(parts) != 4:
        return None
    pattern = "%Y-%m-%d %H:%M:%S.%f" if "." in parts[2] else "%Y-%m-%d %H:%M:%S"
    return datetime.strptime(f"{parts[1]} {parts[2]}", pattern).replace(tzinfo=timezone.utc).timestamp()


def newest_change(patterns: Sequence[str]) -> float:
    """When one of the files last changed (Unix time; 0 when there is none).

    The inode's change time counts too: dpkg gives files the modification time of the build, not of the installation.
    """
    newest = 0.0
    for pattern in patterns:
        for path in glob.glob(pattern):
            status = os.stat(path)
            newest = max(newest, status.st_mtime, status.st_ctime)
    return newest


def control(verb: str, names: Sequence[str], timeout_s: float = 120) -> None:
    """Run systemctl VERB; a failure carries the unit's last journal lines."""
    done = run(["systemctl", verb, *(["--"] if names else []), *names], timeout_s)
    if done.rc != 0:
        raise failure(names[0] if names else "systemd", f"systemctl {verb} failed: {done.tail(1)}")


def failure(name: str, message: str) -> HostError:
    """The error of a unit, with what it wrote last."""
    log = run(["journalctl", "--no-pager", "--output=cat", "--lines=15", f"--unit={name}"], 15)
    return HostError("service-failed", f"{name}: {message}", f"see `journalctl -u {name}` on the host", log.out.strip())


def wait_active(name: str, timeout_s: float) -> Unit:
    """Wait until the unit is active, or kept from starting by its own condition; HostError at the deadline."""
    end = time.monotonic() + timeout_s
    while True:
        unit = show([name])[name]
        if unit.active == "active" or (not unit.condition and unit.active == "inactive"):
            return unit
        if unit.active == "failed":
            raise failure(name, f"it failed ({unit.sub})")
        if time.monotonic() >= end:
            raise failure(name, f"not active after {timeout_s:g} s; it is {unit.active} ({unit.sub})")
        time.sleep(_SETTLE_S)


def unknown(units: Dict[str, Unit]) -> List[str]:
    """The names that systemd knows no file for."""
    return [name for name, unit in units.items() if not unit.exists]
