"""Tools to interrupt runs: a run in the background with its events, a gate on a host, a watch over all processes."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar

from tests.e2e.tool import GPUCTL, Lab, Ran, secrets_in, wait_for

_GATE = "/usr/local/sbin/systemctl"  # before /usr/sbin and /usr/bin in root's search path
_GATE_PID = "/run/e2e-gate"
_SAMPLE_S = 0.05
# What may stand in no command line: a bootstrap token, kubeadm's certificate key, a private key.
_SECRET = re.compile(rb"\b[a-z0-9]{6}\.[a-z0-9]{16}\b|certificate-?key[ =\0][0-9a-f]{64}|PRIVATE KEY", re.IGNORECASE)


class Started:
    """gpuctl in the background. Use `wait_for_event` to find a moment, then `kill`, `interrupt` or `end`."""

    killed: ClassVar[set[int]] = set()  # process ids of all that were killed

    def __init__(self, lab: Lab, *arguments: str) -> None:
        self.lab = lab
        self._begun = time.monotonic()
        self._said = tempfile.TemporaryFile("w+")  # noqa: SIM115 - a pipe that nobody reads would hold gpuctl up
        self._answer = tempfile.TemporaryFile("w+")  # noqa: SIM115
        self.process = subprocess.Popen(
            [GPUCTL, *arguments],
            cwd=lab.folder,
            env=lab.environment,
            stdin=subprocess.DEVNULL,
            stdout=self._answer,
            stderr=self._said,
        )
        self._run: Path | None = None

    def run_directory(self) -> Path:
        """The run's directory: where the open log of the process lies."""

        def look() -> Path | None:
            assert self.process.poll() is None, f"gpuctl ended by itself: {self.end()}"
            with suppress(OSError):
                for entry in Path(f"/proc/{self.process.pid}/fd").iterdir():
                    target = entry.readlink()
                    if target.name == "log" and target.parent.parent.name == "runs":
                        return target.parent
            return None

        if self._run is None:
            self._run = wait_for("the run's directory", look, 60, 0.02)
            self.lab.runs.append(self._run)
        return self._run

    def wait_for_event(self, host: str, role: str, task: str, event: str = "runner_on_start") -> None:
        """Wait until the event stream of the run says so. `task` is the end of the task's name."""
        events = Events(self.run_directory() / "events.jsonl")

        def seen() -> bool:
            assert self.process.poll() is None, f"gpuctl ended by itself: {self.end()}"
            return any(
                (e.get("host"), e.get("event"), _bare(e.get("role"))) == (host, event, role)
                and str(e.get("task", "")).endswith(task)
                for e in events.new()
            )

        wait_for(f"{event} of {role}: {task} on {host}", seen, 300, 0.03)

    def wait_for_words(self, words: str, deadline_s: float = 300) -> None:
        """Wait until it has said so on its standard error."""

        def seen() -> bool:
            assert self.process.poll() is None, f"gpuctl ended by itself: {self.end()}"
            # Its own place in the file stays: gpuctl writes at the same.
            return words.encode() in os.pread(self._said.fileno(), 1 << 24, 0)

        wait_for(f"gpuctl to say {words!r}", seen, deadline_s, 0.05)

    def kill(self) -> None:
        """End gpuctl, and gpuctl alone, with SIGKILL; its Ansible must end by itself."""
        run, children = self.run_directory(), _descendants(self.process.pid)
        self.killed.add(self.process.pid)
        self.process.kill()
        self.process.wait(30)
        wait_for("Ansible to end with gpuctl", lambda: not [pid for pid in children if _is_ansible(pid)], 30, 0.1)
        self.lab.leaks += secrets_in(run)

    def interrupt(self) -> None:
        """Ctrl-C."""
        self.process.send_signal(signal.SIGINT)

    def end(self, deadline_s: float = 600) -> Ran:
        """Wait for the end."""
        self.process.wait(deadline_s)
        if self._run is not None:
            self.lab.leaks += secrets_in(self._run)
        for stream in (self._answer, self._said):
            stream.seek(0)
        return Ran(self.process.returncode, self._answer.read(), self._said.read(), time.monotonic() - self._begun)


class Events:
    """The events of a run as they come."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._read = 0  # bytes

    def new(self) -> Iterator[dict[str, Any]]:
        """Those since the last call; a line that is being written is left for the next."""
        with suppress(FileNotFoundError), self._path.open("rb") as stream:
            stream.seek(self._read)
            for line in stream:
                if not line.endswith(b"\n"):
                    return
                self._read += len(line)
                yield json.loads(line)


@dataclass
class Gate:
    """Holds one systemctl command on a host: what runs it hangs there, as if the host had stopped at that moment."""

    lab: Lab
    host: str
    command: str  # all arguments of systemctl, as in "restart -- containerd.service"
    _installed: bool = field(default=False, init=False)

    def __enter__(self) -> Gate:
        script = (
            f'#!/bin/sh\nif [ "$*" = "{self.command}" ]; then echo $$ > {_GATE_PID}; exec sleep 900; fi\n'
            'exec /usr/bin/systemctl "$@"\n'
        )
        self.lab.ssh(self.host, "sh", "-c", f"rm -f {_GATE_PID}; cat > {_GATE}; chmod 755 {_GATE}", stdin=script)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.lab.ssh(self.host, "rm", "-f", _GATE)
        self.fail()

    def reached(self) -> bool:
        """Whether something hangs in the gate."""
        return self.lab.ssh(self.host, "cat", _GATE_PID, expect=None).strip() != ""

    def fail(self) -> None:
        """End what hangs in the gate: its command never happens."""
        self.lab.ssh(
            self.host, "sh", "-c", f"[ ! -s {_GATE_PID} ] || kill $(cat {_GATE_PID}); rm -f {_GATE_PID}", expect=None
        )


class ProcessWatch:
    """Looks at the command lines of all processes (those of test hosts are among them) many times per second."""

    def __init__(self, lab: Lab) -> None:
        self._lab = lab.name.encode()
        self.found: set[str] = set()
        self.samples = 0
        self.seen_on_hosts = False
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> ProcessWatch:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join(10)

    def _watch(self) -> None:
        while not self._stop.wait(_SAMPLE_S):
            self.samples += 1
            for process in Path("/proc").glob("[0-9]*"):
                with suppress(OSError):
                    line = (process / "cmdline").read_bytes()
                    self.seen_on_hosts |= line.startswith((b"kubeadm\0join", b"/usr/bin/kubeadm\0join"))
                    if (match := _SECRET.search(line)) and self._ours(int(process.name)):
                        shown = line[: match.start()].replace(b"\0", b" ").decode("utf-8", "replace")
                        self.found.add(f"{shown[-200:]}…")

    def _ours(self, pid: int) -> bool:
        """Whether the process is a host's of this lab, or comes from this test."""
        with suppress(OSError):
            if self._lab in Path(f"/proc/{pid}/cgroup").read_bytes():
                return True
        return os.getpid() in _ancestors(pid)


def _bare(role: Any) -> str:
    return str(role or "").rsplit(".", 1)[-1]


def _parents() -> dict[int, int]:
    found = {}
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            found[int(process.name)] = int((process / "stat").read_text().rpartition(")")[2].split()[1])
    return found


def _ancestors(pid: int) -> set[int]:
    parents, found = _parents(), set()
    while pid in parents and pid not in found:
        found.add(pid)
        pid = parents[pid]
    return found


def _descendants(pid: int) -> set[int]:
    parents, found = _parents(), {pid}
    while more := {child for child, parent in parents.items() if parent in found} - found:
        found |= more
    return found - {pid}


def _is_ansible(pid: int) -> bool:
    try:
        line = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False
    return b"ansible_child" in line or b"ansible-playbook" in line
