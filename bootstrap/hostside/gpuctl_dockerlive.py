"""What a restart of Docker ends: running containers, unless they live on without the daemon.

Standard library only, Python 3.8 and later: this code runs on the hosts.
"""

from __future__ import annotations

from typing import Any, Mapping, Sequence

from . import gpuctl_apt as apt
from . import gpuctl_docker as docker
from . import gpuctl_systemd as systemd
from .gpuctl_hostio import HostError, run
from .gpuctl_jsonfile import Plan

_NAMED = 3


def refuse_end(plan: Plan, newer_than: Sequence[str], packages: Sequence[Mapping[str, Any]]) -> None:
    """HostError docker-containers-end where what is to be done restarts Docker and running containers end with that.

    `packages` (name, and version as a glob) are those whose installation the daemon has to be restarted for. Docker is
    asked only where a restart is due.
    """
    if not _restarts([path[0] for path in plan.changed], newer_than, packages):
        return
    said = docker.info()
    kept = plan.tree.get("live-restore", said.get("LiveRestoreEnabled"))
    if not said.get("ContainersRunning") or kept:
        return
    names = run(["docker", "ps", "--format", "{{.Names}}"], docker.ASKED_S).out.split()
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    raise HostError(
        "docker-containers-end",
        f"Docker has to be restarted, and running containers would end with it: {', '.join(names[:_NAMED])}{more}",
        f"{_way_to_keep()}stop them, or allow it with docker_end_containers=true in the inventory",
    )


def _restarts(changed: Sequence[str], newer_than: Sequence[str], packages: Sequence[Mapping[str, Any]]) -> bool:
    unit = systemd.show([docker.UNIT])[docker.UNIT]
    if unit.active != "active":
        return False
    keys = {*changed, *docker.pending(unit.since)}
    if not docker.RELOADABLE.issuperset(keys) or (unit.since or 0.0) < systemd.newest_change(newer_than):
        return True
    there = apt.installed() if packages else {}
    wanted = [apt.Wanted(item["name"], item.get("version")) for item in packages]
    return not all(package.satisfied_by(there.get(package.name)) for package in wanted)


def _way_to_keep() -> str:
    flag = docker.flag_for("live-restore", docker.flags())
    if flag:
        return f"remove the flag {flag} from the unit, "
    return "" if docker.in_swarm() else f'set "live-restore": true in {docker.CONFIG}, '
