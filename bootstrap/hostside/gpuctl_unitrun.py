"""Long commands as named transient systemd units.

A unit outlives the ssh session that started it, so a killed run leaves no half-killed kubeadm behind, and the next run
finds the unit by its name and waits for it. Standard library only, Python 3.8 and later: this code runs on the hosts.
"""

from __future__ import annotations

import contextlib
import os
import re
import time
from typing import Dict, Iterator, List, NamedTuple, Sequence

from .gpuctl_hostio import HostError, read_text, run, write_atomic

LOG_FOLDER = "/run/gpuctl/units"
TAIL_LINES = 40
_POLL_S = 0.2
_STOP_S = 20  # what a unit gets to end after the deadline, before systemd kills it
_PROXIES = ("http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")
_SECRETS = (
    (re.compile(r"\b[a-z0-9]{6}\.[a-z0-9]{16}\b"), "<token>"),  # a bootstrap token
    # A certificate key, where kubeadm prints one: alone on its line, or after its name.
    (re.compile(r"^[0-9a-f]{64}$", re.MULTILINE), "<key>"),
    (re.compile(r"(certificate[ -]key\W{1,3})[0-9a-f]{64}\b", re.IGNORECASE), r"\1<key>"),
)


class UnitState(NamedTuple):
    """A transient unit as systemd sees it: `active` and `sub` as `systemctl show` has them, `rc` of its process."""

    load: str
    active: str
    sub: str
    result: str
    rc: int

    @property
    def running(self) -> bool:
        """Whether its process still works."""
        return self.active in ("activating", "deactivating", "reloading") or (
            self.active == "active" and self.sub != "exited"
        )

    @property
    def succeeded(self) -> bool:
        """Whether its process ended with status 0."""
        return self.active == "active" and self.sub == "exited" and self.result == "success"


class Ended(NamedTuple):
    """How a unit ended. `attached`: an earlier run had started it; `log` is its last lines, without secrets."""

    state: UnitState
    attached: bool
    log: str


def redact(text: str) -> str:
    """The text without bootstrap tokens and certificate keys."""
    for pattern, instead in _SECRETS:
        text = pattern.sub(instead, text)
    return text


def log_path(unit: str) -> str:
    """Where a unit's output goes: readable by root only, gone with the next boot."""
    return os.path.join(LOG_FOLDER, unit + ".log")


def log_tail(unit: str, lines: int = TAIL_LINES) -> str:
    """The last lines that a unit wrote, without secrets."""
    return redact("\n".join(read_text(log_path(unit)).splitlines()[-lines:]))


def _clean_log(unit: str) -> None:
    """Take the secrets out of an ended unit's log: kubeadm prints the token that it made."""
    text = read_text(log_path(unit))
    if redact(text) != text:
        write_atomic(log_path(unit), redact(text).encode(), 0o600)


def unit_state(unit: str) -> UnitState:
    """The state of a transient unit; `load` is not-found when systemd does not know it."""
    names = "LoadState,ActiveState,SubState,Result,ExecMainStatus"
    done = run(["systemctl", "show", f"--property={names}", "--", f"{unit}.service"], 30)
    if done.rc != 0:
        raise HostError("step-failed", f"systemctl show failed: {done.tail(1)}", "check systemd on the host")
    fields = dict(line.split("=", 1) for line in done.out.splitlines() if "=" in line)
    status = fields.get("ExecMainStatus", "")
    return UnitState(
        fields.get("LoadState", "not-found"),
        fields.get("ActiveState", "inactive"),
        fields.get("SubState", "dead"),
        fields.get("Result", ""),
        int(status) if status.isdigit() else 0,
    )


def run_unit(unit: str, argv: Sequence[str], timeout_s: float) -> Ended:
    """Start the command as a unit, or attach to the unit when it already runs, and wait for its end.

    Raises HostError [unit-failed] when systemd cannot start it and [unit-timeout] when the deadline passes (the unit is
    stopped then). A command that ends with another status than 0 is no exception: see `Ended.state`.
    """
    attached = not start_unit(unit, argv)
    return wait_unit(unit, timeout_s, attached)


def start_unit(unit: str, argv: Sequence[str]) -> bool:
    """Start the command as a unit and do not wait for it; False when the unit already runs. HostError [unit-failed]."""
    state = unit_state(unit)
    if state.running:
        return False
    forget_unit(unit, state)
    _start(unit, argv)
    return True


def wait_unit(unit: str, timeout_s: float, attached: bool = True) -> Ended:
    """Wait for the end of a unit that was started, or give how it ended. HostError [unit-timeout], as `run_unit`."""
    ended = Ended(_wait(unit, timeout_s), attached, log_tail(unit))
    _clean_log(unit)
    return ended


def forget_unit(unit: str, state: UnitState) -> None:
    """Make systemd forget an ended unit, so that the name is free."""
    if state.load == "not-found":
        return
    run(["systemctl", "stop", "--", f"{unit}.service"], 60)
    run(["systemctl", "reset-failed", "--", f"{unit}.service"], 30)


def _start(unit: str, argv: Sequence[str]) -> None:
    os.makedirs(LOG_FOLDER, mode=0o700, exist_ok=True)
    log = log_path(unit)
    os.close(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600))
    command = ["systemd-run", f"--unit={unit}", "--quiet", "--no-ask-password"]
    properties = {
        "Type": "exec",
        "RemainAfterExit": "yes",
        "StandardOutput": f"append:{log}",
        "StandardError": f"append:{log}",
        "TimeoutStopSec": str(_STOP_S),
    }
    command += [f"--property={name}={value}" for name, value in properties.items()]
    command += [f"--setenv={name}={value}" for name, value in _environment().items()]
    with _proxies(unit) as extra:
        done = run([*command, *extra, "--", *argv], 60)
    if done.rc != 0:
        raise HostError("unit-failed", f"{unit}: systemd-run: {done.tail(3)}", f"see `systemctl status {unit}`")


def _environment() -> Dict[str, str]:
    """What the command may see of our environment besides proxies: whose run it belongs to."""
    run_name = os.environ.get("GPUCTL_RUN")
    return {"HOME": "/root", "LC_ALL": "C.UTF-8", **({"GPUCTL_RUN": run_name} if run_name else {})}


@contextlib.contextmanager
def _proxies(unit: str) -> Iterator[List[str]]:
    """Options that give the unit our proxies, by a file: their passwords would be in argv and in `systemctl show`.

    systemd has read the file when the command runs; then it goes.
    """
    found = {name: os.environ[name] for name in _PROXIES if os.environ.get(name)}
    path = os.path.join(LOG_FOLDER, unit + ".env")
    if not found:
        yield []
        return
    write_atomic(path, "".join(f"{name}={quoted(value)}\n" for name, value in found.items()).encode(), 0o600)
    try:
        yield [f"--property=EnvironmentFile={path}"]
    finally:
        os.unlink(path)


def quoted(value: str) -> str:
    """A value as systemd reads it in an environment file."""
    return '"' + re.sub(r'([\\"$`])', r"\\\1", value) + '"'


def _wait(unit: str, timeout_s: float) -> UnitState:
    end = time.monotonic() + timeout_s
    while True:
        state = unit_state(unit)
        if not state.running:
            return state
        if time.monotonic() >= end:
            log = log_tail(unit)
            said = (log.splitlines() or ["nothing"])[-1]
            run(["systemctl", "stop", "--", f"{unit}.service"], _STOP_S + 30)
            raise HostError(
                "unit-timeout",
                f"{unit} did not end within {timeout_s:g} s and was stopped; it last said: {said}",
                f"see {log_path(unit)} on the host, then run again",
                log,
            )
        time.sleep(_POLL_S)
