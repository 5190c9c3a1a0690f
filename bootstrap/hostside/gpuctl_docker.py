"""Docker's engine on a host: its version, its configuration among other people's keys, reload and restart.

Standard library only, Python 3.8 and later: this code runs on the hosts.
"""

from __future__ import annotations

import json
import os
import re
import tempfile
from typing import Any, Dict, List, Mapping, Optional, Sequence

from . import gpuctl_systemd as systemd
from .gpuctl_hostio import HostError, read_text, run, write_atomic
from .gpuctl_jsonfile import Plan, read, restore
from .gpuctl_jsonkeys import KeyPath, name_of

CONFIG = "/etc/docker/daemon.json"
UNIT = "docker.service"
DATA = "/var/lib/docker"
PREFIX = "docker-config"  # of the codes -conflict and -invalid
# Keys that were written and that the running daemon does not follow yet; gone with the daemon at the next boot.
PENDING = "/run/gpuctl/docker-pending.json"
# What dockerd reads anew at SIGHUP (its reference, "Configuration reload behavior"). The rest takes a restart.
RELOADABLE = frozenset(
    (
        *("authorization-plugins", "debug", "default-runtime", "features", "insecure-registries", "labels"),
        *("live-restore", "max-concurrent-downloads", "max-concurrent-uploads", "max-download-attempts"),
        *("registry-mirrors", "runtimes", "shutdown-timeout"),
    )
)
RESTART_TIMEOUT_S = 180  # its containers get 15 s each to end where they do not live on
# The one-letter flags that say what a key says (dockerd's reference).
SHORT_FLAGS = {
    "-b": "bridge",
    "-D": "debug",
    "-G": "group",
    "-H": "hosts",
    "-l": "log-level",
    "-p": "pidfile",
    "-s": "storage-driver",
}
ASKED_S = 60


def engine_version() -> Optional[str]:
    """The version of the engine that is installed; None when there is none."""
    done = run(["dockerd", "--version"], ASKED_S)
    found = re.search(r"\bversion (\d[^\s,]*)", done.out)
    return found.group(1) if done.rc == 0 and found else None


def refuse_old(at_least: int) -> Optional[str]:
    """The engine's version, None without one; HostError minikube-docker-old when it is too old."""
    version = engine_version()
    if version and int(version.split(".")[0]) < at_least:
        raise HostError(
            "minikube-docker-old",
            f"Docker {version} is too old: {at_least} or newer is needed",
            "upgrade it on the host, or remove it and let gpuctl install one",
        )
    return version


def info() -> Dict[str, Any]:
    """What the running daemon says of itself; HostError service-failed when it does not answer."""
    done = run(["docker", "info", "--format", "{{json .}}"], ASKED_S)
    try:
        found: Dict[str, Any] = json.loads(done.out)
    except ValueError as error:
        raise systemd.failure(UNIT, f"`docker info` failed: {done.tail(1)}") from error
    return found


def flags() -> List[str]:
    """What the running daemon was started with."""
    pid = run(["systemctl", "show", "--property=MainPID", "--value", "--", UNIT], 15).out.strip()
    return read_text(f"/proc/{pid}/cmdline").split("\0")[1:] if pid.isdigit() and pid != "0" else []


def flag_for(key: str, words: Sequence[str]) -> Optional[str]:
    """The flag that says the same as a key: dockerd does not start with both."""
    names = {f"--{key}", f"--{key[:-1]}" if key.endswith("s") else f"--{key}", f"--add-{key[:-1]}"}
    return next((word for word in words if word.split("=")[0] in names or SHORT_FLAGS.get(word[:2]) == key), None)


def plan(component: str, keys: Mapping[str, Any], defaults: Sequence[Mapping[str, Any]]) -> Plan:
    """What has to become of daemon.json. A default that a flag, or Docker's own swarm mode, contradicts is left out.

    HostError docker-config-conflict, docker-config-invalid.
    """
    words = flags()
    for key in keys:
        flag = flag_for(key, words)
        if flag:
            raise HostError(
                PREFIX + "-conflict",
                f"dockerd is started with {flag}, and with {key} in {CONFIG} it would not start",
                f"remove the flag from the unit (`systemctl cat {UNIT}`), or from /etc/default/docker",
            )
    named = read(CONFIG, PREFIX + "-invalid")[1].get("runtimes")
    possible = [group for group in defaults if not any(flag_for(key, words) for key in group)]
    possible = [group for group in possible if not _is_named(group, named)]
    if in_swarm():
        possible = [group for group in possible if "live-restore" not in group]
    return Plan(component, CONFIG, keys, possible, PREFIX)


def _is_named(group: Mapping[str, Any], runtimes: Any) -> bool:
    """Whether a runtime of the group is there by its type: dockerd takes none with a path as well."""
    there = runtimes if isinstance(runtimes, dict) else {}
    return any("runtimeType" in (there.get(name) or {}) for name in group.get("runtimes") or ())


def in_swarm() -> bool:
    """Whether the daemon is a node of a swarm, in which it refuses live-restore."""
    tree = read(CONFIG, PREFIX + "-invalid")[1]
    return os.path.exists(os.path.join(str(tree.get("data-root") or DATA), "swarm", "docker-state.json"))


def configure(
    component: str, keys: Mapping[str, Any], defaults: Sequence[Mapping[str, Any]], check: bool
) -> List[KeyPath]:
    """Have our keys in daemon.json; those that changed. dockerd accepts the new file before it replaces the old one."""
    wanted = plan(component, keys, defaults)
    if not check:
        if wanted.changed:
            _validate(wanted.new_text)
            _add_pending(wanted.changed)
        wanted.write()
    return wanted.changed


def take_out(component: str, check: bool) -> List[KeyPath]:
    """Bring the component's keys in daemon.json back to what they were; those that changed."""
    changed = restore(component, CONFIG, PREFIX + "-invalid", check=True)
    if changed and not check:
        _add_pending(changed)
        restore(component, CONFIG, PREFIX + "-invalid", check=False)
    return changed


def _validate(text: str) -> None:
    with tempfile.NamedTemporaryFile("w", prefix="gpuctl-", suffix=".json", encoding="utf-8") as trial:
        trial.write(text)
        trial.flush()
        done = run(["dockerd", "--validate", f"--config-file={trial.name}"], ASKED_S)
    if done.rc not in (0, 127):  # 127: none is installed, when its configuration is taken out
        raise HostError(
            PREFIX + "-invalid",
            f"dockerd does not accept the new {CONFIG}: {done.tail(1)}",
            "correct docker_daemon_config, or the file itself; it was not changed",
            done.tail(),
        )


def pending(since: Optional[float]) -> List[str]:
    """Keys that were written and that a daemon, which became active then, does not follow yet."""
    return _noted() if (since or 0.0) < systemd.newest_change([PENDING]) else []


def _noted() -> List[str]:
    try:
        return [str(key) for key in json.loads(read_text(PENDING, "[]"))]
    except ValueError:
        return []


def _add_pending(changed: Sequence[KeyPath]) -> None:
    """Before the file: a run that is killed after it must leave word of what the daemon does not follow."""
    names = sorted({*_noted(), *(path[0] for path in changed)})
    os.makedirs(os.path.dirname(PENDING), mode=0o700, exist_ok=True)
    write_atomic(PENDING, json.dumps(names).encode(), 0o600)


def actions(newer_than: Sequence[str], enabled: bool = True) -> List[str]:
    """What has to be done to the daemon, as "reload docker.service": nothing that would not change what it does."""
    unit = systemd.show([UNIT])[UNIT]
    found = []
    if enabled and unit.enabled not in ("enabled", "static", "generated", "indirect", "alias"):
        found.append(f"enable {UNIT}")
    if unit.active != "active":
        return [*found, f"start {UNIT}"] if enabled else []
    since = unit.since or 0.0
    if since < systemd.newest_change(newer_than):
        return [*found, f"restart {UNIT}"]
    keys = pending(since)
    if keys:
        found.append(f"{'reload' if RELOADABLE.issuperset(keys) else 'restart'} {UNIT}")
    return found


def follow(newer_than: Sequence[str], check: bool, enabled: bool = True) -> List[str]:
    """Have the daemon running, by what is in its files and in its folders now; what was done.

    HostError service-failed. Containers live on over a restart where live-restore is, or can be, in force before.
    """
    todo = actions(newer_than, enabled)
    if check:
        return todo
    unit = systemd.show([UNIT])[UNIT]
    if not unit.exists:
        raise HostError(
            "service-failed", f"there is no unit {UNIT} on the host", "check how Docker was installed there"
        )
    if unit.stale:
        systemd.control("daemon-reload", [])
    for action in todo:
        verb = action.split(" ", 1)[0]
        if verb == "restart":
            _keep_containers()
        if verb != "enable":
            # Docker's unit may start three times in a minute, which an installation uses up.
            run(["systemctl", "reset-failed", "--", UNIT], 30)
        systemd.control(verb, [UNIT], RESTART_TIMEOUT_S)
    if todo or enabled:
        systemd.wait_active(UNIT, RESTART_TIMEOUT_S)
        info()
    if os.path.exists(PENDING):
        os.unlink(PENDING)
    return todo


def _keep_containers() -> None:
    """Let containers live on: live-restore takes effect by a reload, so it can be in force before the restart."""
    said = info()
    wanted = read(CONFIG, PREFIX + "-invalid")[1].get("live-restore")
    if said.get("ContainersRunning") and wanted is True and not said.get("LiveRestoreEnabled"):
        systemd.control("reload", [UNIT])


def stop_containers(runtime: str, check: bool) -> List[str]:
    """End the running containers of a runtime, which nothing can end once its program is gone; what was done."""
    listed = run(["docker", "ps", "--quiet", "--no-trunc"], ASKED_S)
    if listed.rc != 0 or not listed.out.split():
        return []
    form = "{{.Id}} {{.HostConfig.Runtime}} {{.Name}}"
    rows = [
        line.split(" ", 2)
        for line in run(["docker", "inspect", "--format", form, *listed.out.split()]).out.splitlines()
    ]
    mine = {row[0]: row[2].lstrip("/") for row in rows if len(row) == 3 and row[1] == runtime}
    if mine and not check:
        done = run(["docker", "stop", *mine], RESTART_TIMEOUT_S)
        if done.rc != 0:
            raise HostError(
                "step-failed", f"docker stop failed: {done.tail(1)}", "stop the containers by hand", done.tail()
            )
    return [f"stop container {name}" for name in mine.values()]


def names(changed: Sequence[KeyPath]) -> List[str]:
    """Keys as people write them."""
    return [name_of(path) for path in changed]
